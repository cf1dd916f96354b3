"""Runs every function ``check_…`` of the modules beside this one; prints the outcomes as JSON.

``PYTHONPATH=. KERAS_BACKEND=jax python tests/trainer/models/checks/run.py jax presets`` says on the
way how far ours and KerasHub's outputs are apart.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path


class _Blocked:
    """An import hook for which TensorFlow is not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] in ("tensorflow", "tensorflow_text", "keras_hub"):
            raise ImportError(f"{name} is blocked")


def main(backend: str, *modules: str) -> None:
    if backend.endswith("-without-tensorflow"):
        sys.meta_path.insert(0, _Blocked())
    outcomes = {}
    for name in modules:
        path = Path(__file__).with_name(f"check_{name}.py")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # AutoGraph looks functions' modules up there
        spec.loader.exec_module(module)
        for key, function in list(vars(module).items()):
            if not key.startswith("check_"):
                continue
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                try:
                    function(Path(folder))
                    outcomes[key] = "passed"
                except ImportError as error:
                    outcomes[key] = f"skipped: {error}"
                except Exception:
                    outcomes[key] = traceback.format_exc()
            seconds = time.perf_counter() - started
            print(f"{seconds:6.1f} s {key} {outcomes[key][-2000:]}", file=sys.stderr, flush=True)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
