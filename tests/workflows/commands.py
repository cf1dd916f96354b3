"""Runs the project's commands, each once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipelines.records.manifest import MANIFEST


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
