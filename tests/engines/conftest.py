"""A small corpus, what DirectRunner makes of it, and the engines, each started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import parts
from tests.engines.flink import Flink
from tests.engines.services import start_job_server
from tests.engines.stages import describe, run_stages, sums_of
from tests.golden.corpus import write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("engines") / "corpus"
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def whole(corpus) -> Path:
    """What all stages write on DirectRunner."""
    output = corpus.parent / "whole"
    print(describe("DirectRunner", run_stages(corpus, output, ["--direct_num_workers=2"])))
    return output


@pytest.fixture(scope="session")
def expected(whole) -> dict[str, str]:
    return sums_of(whole)


@pytest.fixture(scope="session")
def flink(tmp_path_factory) -> Iterator[Flink]:
    """Flink with two TaskManagers, whose workers have only the base install."""
    cluster = Flink(tmp_path_factory.mktemp("flink"), parts.worker_environment())
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def spark(tmp_path_factory) -> Iterator[list[str]]:
    """Beam's options of a job on Spark ``local[2]``."""
    service, endpoint = start_job_server(
        tmp_path_factory.mktemp("spark"),
        parts.spark_job_server(),
        "org.apache.beam.runners.spark.SparkJobServerDriver",
        "--spark-master-url=local[2]",
        options=(
            "-Dspark.ui.enabled=false",
            "-Dspark.driver.bindAddress=127.0.0.1",
            "-Dspark.driver.host=127.0.0.1",
        ),
    )
    try:
        yield [
            "--runner=PortableRunner",
            f"--job_endpoint={endpoint}",
            "--environment_type=LOOPBACK",
        ]
    finally:
        service.stop()
