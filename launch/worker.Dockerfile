# The image of a Beam worker: this code with the versions of requirements.lock. Nothing is fetched when a
# worker starts. For other Pythons change both 3.11; BEAM is the version in requirements.lock.
#
#   docker build --file launch/worker.Dockerfile --tag IMAGE .
ARG BEAM=2.77.0
FROM apache/beam_python3.11_sdk:${BEAM} AS beam

FROM python:3.11-slim
COPY --from=beam /opt/apache/beam /opt/apache/beam
WORKDIR /opt/bertmill
COPY requirements.lock pyproject.toml setup.py README.md LICENSE ./
COPY pipelines pipelines
COPY trainer trainer
RUN pip install --no-cache-dir --constraint requirements.lock '.[gcp]' && rm -r /opt/bertmill/*
# Workers use these packages, not an environment of their own.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
ENTRYPOINT ["/opt/apache/beam/boot"]
