"""``launch/dataflow.sh``: its command stages to the storage emulator and submits to a stand-in of
Dataflow's API. The job that arrives there is opened, and its functions run where only an image's
packages are installed. That Dataflow itself takes and runs it is not tested."""

from __future__ import annotations

import base64
import bz2
import os
import pickletools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.storage import files
from tests.command_here import run_command_here
from tests.launch.dataflow_service import dataflow_service

pytest.importorskip("google.cloud.storage", reason="needs the extra gcp")

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = _ROOT / "launch" / "dataflow.sh"
_IMAGE = "us-docker.pkg.dev/p/bertmill/worker:1"
_TEXTS = "".join(f"some words of text number {i} that stand in a line\n" for i in range(400))


def dry_run(*arguments):
    done = subprocess.run(
        ["bash", _SCRIPT, *arguments], capture_output=True, text=True, check=True, cwd="/"
    )
    return [shlex.split(line) for line in done.stdout.splitlines()]


def command(bucket, stage, *options, flags):
    where = ["--project", "p", "--region", "r", "--bucket", bucket, "--image", _IMAGE]
    return dry_run(stage, *where, *options, "--dry_run", "--", *flags)


@pytest.fixture
def corpus(bucket_folder):
    files.publish_bytes(f"{bucket_folder}/corpus/a.txt", _TEXTS.encode())
    return bucket_folder


def submit(bucket, stage, *options, flags):
    """The recorded job, and the local path of the pipeline that was staged for it."""
    with dataflow_service() as service:
        more = [*flags, "--dataflow_endpoint", service.address]
        *_, (_, _, module, *arguments) = command(bucket, stage, *options, flags=more)
        status, said = run_command_here(module, *arguments)
        # The service says that the job is done, yet nothing was executed.
        assert status == 2, said
        assert "manifest" in said
        (job,) = service.jobs.values()
        assert list(service.jobs) == ["p r"]
    return job


def options_of(job):
    return job["environment"]["sdkPipelineOptions"]["options"]


def staged(job):
    """The names of what was staged, and the pipeline."""
    url = options_of(job)["pipelineUrl"]
    names = set(files.names_in(url.rpartition("/")[0]))
    return names, files.read_bytes(url)


def modules_in(pipeline):
    """The modules that the pickled functions of a pipeline import."""
    from apache_beam.portability.api import beam_runner_api_pb2 as api

    proto = api.Pipeline.FromString(pipeline)
    found = set()
    for transform in proto.components.transforms.values():
        if transform.spec.urn == "beam:transform:pardo:v1":
            payload = api.ParDoPayload.FromString(transform.spec.payload).do_fn.payload
            texts = []
            for operation, argument, _ in pickletools.genops(
                bz2.decompress(base64.b64decode(payload))
            ):
                if isinstance(argument, str):
                    texts.append(argument)
                found |= {argument} if operation.name == "GLOBAL" else set()
                if operation.name == "STACK_GLOBAL":
                    found |= set(texts[-2:])
    return {
        name for name in found if re.match(r"(pipelines|trainer|tests|launch|__main__)\b", name)
    }


def test_the_job_is_what_the_script_says(corpus):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(_TEXTS.split()))]
    files.publish_bytes(f"{corpus}/vocab.txt", "\n".join(pieces).encode())
    flags = ["--input", f"{corpus}/corpus/*.txt", "--vocab", f"{corpus}/vocab.txt"]
    flags += ["--lowercase", "true", "--seq_length", "32"]
    options = ["--machine", "n2-standard-4", "--max_workers", "7", "--labels", "team=text,run=a"]
    job = submit(corpus, "tokenize", *options, flags=[*flags, "--output", f"{corpus}/rows"])
    environment = job["environment"]
    (pool,) = environment["workerPools"]
    assert pool["workerHarnessContainerImage"] == _IMAGE
    assert [one["containerImage"] for one in pool["sdkHarnessContainerImages"]] == [_IMAGE]
    assert pool["machineType"] == "n2-standard-4"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 7
    assert pool["autoscalingSettings"]["algorithm"]
    assert job["labels"] == {"team": "text", "run": "a"}
    assert options_of(job)["sdk_location"] == "container"
    assert environment["tempStoragePrefix"].startswith(
        f"storage.googleapis.com/{corpus.removeprefix('gs://')}/temp/"
    )
    assert not any("appliance" in name for name in environment["experiments"])
    # The image holds the code: neither it nor anything else of this machine is staged.
    names, pipeline = staged(job)
    assert names == {"pipeline.pb", "submission_environment_dependencies.txt"}
    modules = modules_in(pipeline)
    assert "pipelines.tokenize.transforms" in modules
    assert {name.split(".")[0] for name in modules} == {"pipelines"}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The python of an environment with what worker.Dockerfile installs, and no way to this checkout."""
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, capture_output=True)
    text = (_ROOT / "launch" / "worker.Dockerfile").read_text()
    copied = [
        name for line in re.findall(r"^COPY ([^-].*) \S+$", text, re.M) for name in line.split()
    ]
    code = folder / "code"
    code.mkdir()
    subprocess.run(["cp", "-r", *(_ROOT / name for name in copied), code], check=True)
    (install,) = re.findall(r"^RUN (pip install .*?) &&", text, re.M)
    subprocess.run(
        shlex.split(install),
        check=True,
        cwd=code,
        capture_output=True,
        env=os.environ | {"PATH": f"{folder}/venv/bin:{os.environ['PATH']}", "PYTHONPATH": ""},
    )
    return folder / "venv" / "bin" / "python"


@pytest.mark.long
def test_recorded_jobs_run_in_the_image_with_equal_bytes(corpus, image, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text(_TEXTS)
    stages = {
        "vocab": [
            "--input",
            "PLACE/corpus/*.txt",
            "--output",
            "PLACE/vocab",
            "--vocab_size",
            "100",
        ],
        "tokenize": [
            "--input",
            "PLACE/corpus/*.txt",
            "--vocab",
            "PLACE/vocab",
            "--output",
            "PLACE/rows",
            "--seq_length",
            "32",
            "--num_shards",
            "2",
        ],
        "mask": ["--input", "PLACE/rows", "--output", "PLACE/examples", "--copies", "2"],
    }
    for stage, flags in stages.items():
        here = [flag.replace("PLACE", str(tmp_path)) for flag in flags]
        # Not in this process: Beam as local runs import it is without Dataflow's client.
        subprocess.run([sys.executable, "-m", f"pipelines.{stage}", *here], check=True)
        job = submit(corpus, stage, flags=[flag.replace("PLACE", corpus) for flag in flags])
        (tmp_path / "pipeline.pb").write_bytes(staged(job)[1])
        done = subprocess.run(
            [image, Path(__file__).with_name("run_staged.py"), tmp_path / "pipeline.pb"],
            capture_output=True,
            text=True,
            cwd=tmp_path / "corpus",
            env={n: v for n, v in os.environ.items() if n != "PYTHONPATH"},
        )
        assert done.returncode == 0, done.stderr
        output = flags[flags.index("--output") + 1].removeprefix("PLACE/")
        local = {
            path.name: path.read_bytes()
            for path in (tmp_path / output).iterdir()
            if path.name not in ("run.json", ".lock")
        }
        remote = f"{corpus}/{output}"
        assert local == {
            name: files.read_bytes(f"{remote}/{name}")
            for name in files.names_in(remote)
            if name != "run.json"
        }


def test_dry_runs_show_every_command():
    flags = ["--output", "gs://b/my rows"]
    build, push, install, run = command(
        "gs://b/", "mask", "--build", "--workers", "3", "--shuffle", "workers", flags=flags
    )
    assert build == f"docker build --file launch/worker.Dockerfile --tag {_IMAGE} .".split()
    assert push == ["docker", "push", _IMAGE]
    assert install == ["bash", "launch/install.sh", "gcp"]
    assert run[:5] == [".venv/bin/python", "-m", "pipelines.mask", *flags]
    said = " ".join(run)
    assert "--temp_location gs://b/temp --staging_location gs://b/staging" in said
    assert (
        "--num_workers 3 --autoscaling_algorithm NONE --experiments shuffle_mode=appliance" in said
    )


_WHERE = ["mask", "--project", "p", "--region", "r", "--bucket", "gs://b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--project", "p"], "which stage: vocab, tokenize or mask?"),
        (["inspect"], "unknown option inspect; the stage's flags stand behind --"),
        (["mask"], "--project NAME: who pays?"),
        (_WHERE[:3], "--region REGION: where?"),
        ([*_WHERE[:5], "--bucket", "b"], "--bucket 'b': give a folder at gs://"),
        (_WHERE, "--image IMAGE: what do workers run? --build makes it"),
        ([*_WHERE, "--image", "i"], "no flags for pipelines.mask; write them behind --"),
        ([*_WHERE, "--image", "i", "--workers", "x"], "--workers x: give a whole number"),
        ([*_WHERE, "--image", "i", "--shuffle", "x"], "--shuffle x: give service or workers"),
        (
            [*_WHERE, "--image", "i", "--workers", "1", "--max_workers", "2"],
            "--workers and --max_workers: give one of them",
        ),
    ],
)
def test_wrong_options(arguments, message):
    done = subprocess.run(["bash", _SCRIPT, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"dataflow: {message}")
    assert len(done.stderr.splitlines()) == 1


def test_the_image_has_the_beam_of_the_lock():
    (image,) = re.findall(
        r"^ARG BEAM=(\S+)$", (_ROOT / "launch" / "worker.Dockerfile").read_text(), re.M
    )
    assert f"apache-beam=={image}" in (_ROOT / "requirements.lock").read_text().splitlines()
