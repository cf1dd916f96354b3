"""Trying many inputs in a process of their own, which may be ended or stopped by one of them."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz.target import Outcome, Target, try_input

_HANG_SECONDS = 60
_MEMORY = 4 << 30


def all_targets(work: Path) -> list[Target]:
    """What is fuzzed; ``work`` is an empty folder that must stay as long as they are."""
    from tests.fuzz import commands, documents, presets, records, runs

    modules = (documents, records, commands, presets)
    return [target for module in modules for target in module.targets()] + runs.targets(work)


def output_targets(work: Path) -> list[Target]:
    """As ``all_targets``: whole outputs, with the commands that read them."""
    from tests.fuzz import outputs

    return outputs.targets(work)


def run_until_it_dies(
    make: Callable[[Path], list[Target]], seed: int, numbers: range, work: Path
) -> Iterator[Outcome]:
    """The outcomes of inputs tried in a process of their own, up to one that ends or stops it.

    ``make``: ``all_targets`` or ``output_targets``.
    """
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(writer, make, seed, numbers, str(work)))
    process.start()
    writer.close()
    number, ended = numbers[0], "hang"
    try:
        # The first has to wait until everything is made.
        while reader.poll(_HANG_SECONDS if number > numbers[0] else 20 * _HANG_SECONDS):
            outcome = reader.recv()
            number = outcome.number + 1
            yield outcome
    except EOFError:
        process.join()
        code = process.exitcode
        ended = f"crash: the process ended with status {code}" if code else ""
    finally:
        process.kill()
        process.join()
    if ended:
        kind, _, message = ended.partition(": ")
        yield Outcome(number, "", kind, message)


def _work(
    writer: Connection,
    make: Callable[[Path], list[Target]],
    seed: int,
    numbers: range,
    work: str,
) -> None:
    """The process that tries inputs."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    # What one command compiles the next finds, of all processes.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(work) / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    from trainer.pretraining.startup import without_tensorflow

    # Beside those of an earlier process that died.
    folder = Path(tempfile.mkdtemp(dir=work))
    tempfile.tempdir = str(folder)
    (folder / "made").mkdir()
    targets = without_tensorflow(make)(folder / "made")
    faulthandler.enable()
    limit = _virtual_memory() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in numbers:
        # Where a hang is; what ends the process says so too.
        faulthandler.dump_traceback_later(_HANG_SECONDS * 0.8)
        writer.send(try_input(seed, number, targets, folder / "tried"))


def _virtual_memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
