"""Runs the project's commands, each once, and tells figures of several runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.records.manifest import MANIFEST
from trainer.finetuning.scores import mean_and_spread


def run_command(module: str, section: str, settings: dict[str, Any]) -> Path:
    """``python -m MODULE`` with a config of that section, unless that has made its output already.

    Returns the output. Ends this program where the command fails: it has said why. An output of other
    settings it refuses itself.
    """
    output, text = Path(settings["output"]), json.dumps({section: settings})
    config = output.with_name(f"{output.name}.json")  # which is YAML too
    if (output / MANIFEST).exists() and config.exists() and config.read_text() == text:
        return output
    print(f"== {module} {output}", file=sys.stderr, flush=True)
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", module, "--config", str(config), "--section", section],
        env={"KERAS_BACKEND": "jax", **os.environ},
    )
    if done.returncode:
        config.unlink()  # else a finished output of other settings would be taken for its own
        raise SystemExit(done.returncode)
    return output


@contextmanager
def runs_at_once(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """A pool for that many runs at once; when one is found to have failed, no other is begun."""
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def last_line(run: Path) -> dict[str, Any]:
    """The last line of a run's log."""
    return dict(json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]))


def describe(values: Sequence[float], scale: float = 1) -> str:
    """Mean ± sd."""
    mean, spread = mean_and_spread([scale * value for value in values])
    return f"{mean:.4g}" + f" ± {spread:.2g}" * (len(values) > 1)
