"""Beam's options as the user wrote them: what is filled in, what is refused, and where workers are."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    TypeOptions,
    WorkerOptions,
)

from pipelines.errors import UserError, one_line
from pipelines.storage import files
from pipelines.storage.remote import uses_emulator

Config = TypeVar("Config", bound=Any)

_LOCAL_RUNNERS = (
    "DirectRunner",
    "BundleBasedDirectRunner",
    "SwitchingDirectRunner",
    "FnApiRunner",
)
# The fields of a config whose paths workers open; what is read besides them, the launcher reads.
_PATHS_OF_WORKERS = ("input", "output", "word_counts")
_SERVER_SECONDS = 20


def pipeline_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Beam's options as the user wrote them, with the local defaults filled in."""
    options = PipelineOptions(list(beam_args))
    if options.view_as(StandardOptions).runner is None:
        options.view_as(StandardOptions).runner = "DirectRunner"
    if options.view_as(StandardOptions).runner == "DirectRunner":
        direct = options.view_as(DirectOptions)
        if not any(argument.startswith("--direct_running_mode") for argument in beam_args):
            direct.direct_running_mode = "multi_threading"
        if not any(argument.startswith("--direct_num_workers") for argument in beam_args):
            direct.direct_num_workers = 0
        # Without it this runner (Beam 2.77) hands every pipeline that it can to Prism, for which it
        # fetches a program from the network, and the two options above mean nothing. No triggers here.
        options.view_as(TypeOptions).allow_unsafe_triggers = True
    options.view_as(SetupOptions).save_main_session = False
    if uses_emulator():
        options.view_as(GoogleCloudOptions).no_auth = True
    return options


def check_options(beam_args: Sequence[str]) -> None:
    """Raises UserError for options that Beam cannot run with, such as an unknown runner."""
    options = pipeline_options(beam_args)
    workers = options.view_as(DirectOptions).direct_num_workers
    if workers < 0:
        raise UserError(f"--direct_num_workers {workers}: must be at least 1, or 0 for all cores")
    portable = options.view_as(PortableOptions)
    if _runner(options) == "PortableRunner":
        if not portable.job_endpoint:
            raise UserError("--runner PortableRunner: add --job_endpoint HOST:PORT, its job server")
        if not portable.environment_type:
            raise UserError(
                "--runner PortableRunner: add --environment_type, which says what workers are: LOOPBACK "
                "(this process), PROCESS, EXTERNAL, or DOCKER with an image that holds this package"
            )
    try:
        beam.Pipeline(options=options)
    except Exception as error:
        raise UserError(
            f"Beam cannot run with {' '.join(beam_args)}: {one_line(error)[:300]}"
        ) from None


def runs_here(beam_args: Sequence[str]) -> bool:
    """True if all workers are on this machine and share its disk."""
    return _runner(pipeline_options(beam_args)) in _LOCAL_RUNNERS


def count_workers(beam_args: Sequence[str]) -> int:
    """How many cores will work: as the options say, else all of this machine; remotely at least 1, and
    as many as an engine that adds workers may have."""
    options = pipeline_options(beam_args)
    if runs_here(beam_args):
        return options.view_as(DirectOptions).direct_num_workers or os.cpu_count() or 1
    workers = options.view_as(WorkerOptions)
    asked = (
        options.view_as(FlinkRunnerOptions).parallelism,
        workers.num_workers,
        workers.max_num_workers,
    )
    return max(1, *(number or 1 for number in asked))


def reach_workers(config: Config, beam_args: Sequence[str]) -> Config:
    """The config with local paths that mean the same in the working folder of another process.

    Raises UserError for a local path where no worker can see this machine's disk.
    """
    if runs_here(beam_args):
        return config
    runner = _runner(pipeline_options(beam_args))
    changed = {}
    for name in _PATHS_OF_WORKERS:
        value = getattr(config, name, None)
        paths = [value] if isinstance(value, str) else [*(value or ())]
        local = [path for path in paths if not files.is_remote(path)]
        if local and runner == "DataflowRunner":
            raise UserError(
                f"--{name} {local[0]}: the workers of {runner} do not see this machine's disk; "
                "give a path at gs://"
            )
        paths = [path if files.is_remote(path) else _absolute(path) for path in paths]
        if paths:
            changed[name] = paths[0] if isinstance(value, str) else tuple(paths)
    return replace(config, **changed)


def add_server_options(parser: argparse.ArgumentParser, endpoint: str) -> None:
    """Adds the options of an engine, which only its job server knows.

    Raises UserError if none answers there.
    """
    from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

    with grpc.insecure_channel(endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        try:
            known = service.DescribePipelineOptions(
                beam_job_api_pb2.DescribePipelineOptionsRequest(),
                timeout=_SERVER_SECONDS,
                wait_for_ready=True,
            )
        except grpc.RpcError:
            raise UserError(
                f"--job_endpoint {endpoint}: no job server of Beam answers there in "
                f"{_SERVER_SECONDS} s; check the address, and that it runs"
            ) from None
    boolean = beam_job_api_pb2.PipelineOptionType.BOOLEAN
    for option in known.options:
        flag = f"--{option.name}"
        if flag not in parser._option_string_actions:
            parser.add_argument(flag, action="store_true" if option.type == boolean else "store")


def _runner(options: PipelineOptions) -> str:
    return str(options.view_as(StandardOptions).runner).rpartition(".")[2]


def _absolute(path: str) -> str:
    # Not normalised: a link may stand before "..".
    return os.path.join(os.getcwd(), os.path.expanduser(path))
