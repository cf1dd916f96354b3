"""``bertmill doctor``: what is installed, what is missing and for what, and which devices there are.

Versions are read without importing anything; only the devices need JAX, in a process that may fail or
hang without harm.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from tabulate import tabulate

from pipelines.command.run import show

# Extra of the distribution ("": always needed): what for, and its packages.
PARTS = {
    "": (
        "pipelines",
        "apache-beam array-record google-crc32c nanotoken numpy orjson pyarrow pyyaml tabulate tqdm "
        "wcwidth",
    ),
    "train": ("training", "h5py jax jinja2 keras safetensors scipy tensorboard"),
    "hub": ("presets by their names at Kaggle and Hugging Face", "kagglehub huggingface-hub"),
    "gcp": ("gs:// and Dataflow", "gcsfs google-cloud-storage"),
    "tensorflow": ("the KerasNLP API inside tf.data", "tensorflow tensorflow-text"),
}
_OURS = ("pipelines", "trainer")
_SECONDS = 6
_LIST_DEVICES = (
    "import jax; print(*(f'{d.platform} {d.device_kind}' for d in jax.devices()), sep='\\n')"
)


def show_state() -> None:
    """Prints everything; takes a few seconds."""
    show(f"bertmill {_version('bertmill') or '(not installed, run from its folder)'}")
    show(f"Python {platform.python_version()} ({sys.executable}), {os.cpu_count()} cores")
    show(
        f"\n{tabulate(list(_describe_parts()), ['for', 'installed', 'missing'], maxcolwidths=56)}\n"
    )
    show(f"devices: {describe_devices()}")
    for folder in find_shadows(os.getcwd()):
        show(
            f"{folder} hides a package of bertmill of the same name from python -m in this folder: use "
            "bertmill STAGE, or rename it"
        )


def _describe_parts() -> list[list[str]]:
    """A row for each part: what for, what is installed of it, and how to get what is missing."""
    rows = []
    for purpose, names in PARTS.values():
        versions = {name: _version(name) for name in names.split()}
        there = [f"{name} {found}" for name, found in versions.items() if found]
        missing = " ".join(name for name, found in versions.items() if not found)
        rows.append([purpose, ", ".join(there), f"pip install {missing}" if missing else ""])
    return rows


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def describe_devices() -> str:
    """What JAX finds, or why it finds nothing."""
    if not _version("jax"):
        return "unknown without jax"
    command = [sys.executable, "-c", _LIST_DEVICES]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"JAX does not answer within {_SECONDS} s: it is busy, or another process has them"
    if done.returncode:
        return f"JAX fails: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    return ", ".join(done.stdout.strip().splitlines())


def find_shadows(folder: str) -> list[str]:
    """Packages and modules in a folder that have the names of ours and are others."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if os.path.samefile(folder, root):
        return []
    paths = [os.path.join(folder, name) for name in _OURS]
    packages = [path for path in paths if os.path.exists(os.path.join(path, "__init__.py"))]
    return packages + [f"{path}.py" for path in paths if os.path.exists(f"{path}.py")]
