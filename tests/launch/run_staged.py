"""``python run_staged.py PIPELINE``: runs the staged pipeline of a recorded job in this environment, on
Beam's local runner. Only what the job's own functions import may be installed."""

from __future__ import annotations

import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2

staged = beam_runner_api_pb2.Pipeline()
with open(sys.argv[1], "rb") as file:
    staged.ParseFromString(file.read())
for missing in ("trainer.presets", "tests", "launch", "jax", "keras", "tensorflow"):
    assert missing not in sys.modules
options = PipelineOptions(["--no_auth"])
beam.Pipeline.from_runner_api(staged, "DirectRunner", options).run().wait_until_finish()
