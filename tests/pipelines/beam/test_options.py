"""What a pipeline makes of Beam's options where its workers are elsewhere."""

from __future__ import annotations

from concurrent import futures
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from pipelines.beam.options import check_options, count_workers, reach_workers
from pipelines.command.parse import parse_command
from pipelines.errors import UserError
from pipelines.mask.config import MaskStageConfig
from pipelines.tokenize.config import TokenizeConfig
from pipelines.vocab.config import VocabConfig

_PORTABLE = ("--runner=PortableRunner", "--job_endpoint=127.0.0.1:1")


class _JobServer(beam_job_api_pb2_grpc.JobServiceServicer):
    def DescribePipelineOptions(self, request, context):  # noqa: N802 - gRPC's name
        kinds = beam_job_api_pb2.PipelineOptionType
        return beam_job_api_pb2.DescribePipelineOptionsResponse(
            options=[
                beam_job_api_pb2.PipelineOptionDescriptor(name=name, type=kind)
                for name, kind in (
                    ("number_of_execution_retries", kinds.INTEGER),
                    ("object_reuse", kinds.BOOLEAN),
                    ("runner", kinds.STRING),
                )
            ]
        )


@pytest.fixture(scope="module")
def endpoint():
    server = grpc.server(futures.ThreadPoolExecutor(1))
    beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(_JobServer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def parse(*beam_args: str) -> tuple[str, ...]:
    arguments = ["--input=a", "--output=b", *beam_args]
    return parse_command(MaskStageConfig, "mask", "pipelines.mask", arguments, beam=True)[
        1
    ].beam_args


def test_options_that_only_the_job_server_knows_pass(endpoint):
    given = (f"--job_endpoint={endpoint}", "--number_of_execution_retries", "3", "--object_reuse")
    assert parse(*given) == given


def test_options_that_the_job_server_does_not_know_are_refused(endpoint):
    with pytest.raises(UserError, match="--number_of_retries; did you mean --number_of_exec"):
        parse(f"--job_endpoint={endpoint}", "--number_of_retries=3")


def test_a_job_server_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr("pipelines.beam.options._SERVER_SECONDS", 0.2)
    with pytest.raises(UserError, match="--job_endpoint 127.0.0.1:1: no job server"):
        parse("--job_endpoint=127.0.0.1:1", "--object_reuse")


@pytest.mark.parametrize(
    ("beam_args", "message"),
    [
        (_PORTABLE, "--runner PortableRunner: add --environment_type"),
        (("--runner=PortableRunner",), "--runner PortableRunner: add --job_endpoint"),
    ],
)
def test_what_would_fail_minutes_later_is_said_at_once(beam_args, message):
    with pytest.raises(UserError, match=message):
        check_options(beam_args)


def test_a_whole_set_of_options_is_accepted():
    check_options((*_PORTABLE, "--environment_type=LOOPBACK"))


@pytest.mark.parametrize(
    ("beam_args", "workers"),
    [
        ("--direct_num_workers=3", 3),
        ("--runner=FlinkRunner", 1),
        ("--runner=FlinkRunner --parallelism=8", 8),
        ("--runner=DataflowRunner --num_workers=5", 5),
        ("--runner=DataflowRunner --max_num_workers=100", 100),
        ("--runner=DataflowRunner --num_workers=5 --max_num_workers=100", 100),
    ],
)
def test_workers_are_counted_as_the_runner_does(beam_args, workers):
    assert count_workers(tuple(beam_args.split())) == workers


def test_paths_mean_the_same_in_other_working_folders():
    config = TokenizeConfig(input=("a/*.txt", "gs://b/c", "/d"), vocab="v", output="rows")
    here = Path.cwd()
    moved = reach_workers(config, ("--runner=FlinkRunner",))
    assert moved.input == (f"{here}/a/*.txt", "gs://b/c", "/d")
    assert (moved.output, moved.vocab) == (f"{here}/rows", "v")
    assert reach_workers(config, ()) == config
    words = VocabConfig(input=("a",), output="/v", word_counts="words.tsv")
    assert reach_workers(words, ("--runner=PrismRunner",)).word_counts == f"{here}/words.tsv"


@pytest.mark.parametrize("name", ["input", "output"])
def test_local_paths_are_refused_where_no_worker_sees_them(name):
    paths = {"input": ("gs://b/a",), "output": "gs://b/rows"}
    config = TokenizeConfig(vocab="v", **paths)
    assert reach_workers(config, ("--runner=DataflowRunner",)) == config
    local = TokenizeConfig(vocab="v", **paths | {name: ("c",) if name == "input" else "c"})
    with pytest.raises(UserError, match=f"--{name} c: the workers of DataflowRunner do not see"):
        reach_workers(local, ("--runner=DataflowRunner",))
