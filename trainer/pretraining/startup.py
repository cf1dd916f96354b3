"""How a training process starts: on huge pages, and on a Keras that does not import TensorFlow."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.command.run import run_command

_TUNABLE = "glibc.malloc.hugetlb"
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages(setting: Path = _SETTING) -> None:
    """Restarts this command in the same process, with huge pages; returns if that would not help.

    On CPUs small pages cost a tenth of the speed (README.md, "Pretraining"); results are the same.
    Where Linux gives pages of 2 MB to those who ask (its setting "madvise"), glibc asks for them if
    GLIBC_TUNABLES says so when a process starts. ``GLIBC_TUNABLES=glibc.malloc.hugetlb=0`` keeps
    this from being done.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if _TUNABLE in tunables or not setting.exists() or "[madvise]" not in setting.read_text():
        return
    os.environ["GLIBC_TUNABLES"] = f"{tunables}:{_TUNABLE}=1".lstrip(":")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def without_tensorflow(main: Callable[..., Any]) -> Callable[..., Any]:
    """The ``main`` of a command, run on JAX (or what KERAS_BACKEND names), where Keras does not
    import TensorFlow.

    Keras imports it, where it is installed, merely to ask whether a value is one of its tensors:
    ten seconds and a page of log lines for nothing. Our commands hand Keras numpy arrays only, so on
    JAX they tell it not to ask. Libraries that import ``trainer`` are not affected.
    """

    @functools.wraps(main)
    def run(*arguments: Any) -> Any:
        if os.environ.setdefault("KERAS_BACKEND", "jax") == "jax":
            from keras.src.utils import module_utils

            # Where Keras notes that TensorFlow is not installed. If a later Keras notes it elsewhere,
            # this line does nothing, and nothing breaks.
            module_utils.tensorflow._available = False
        return main(*arguments)

    return run


def run_trainer_command(
    config_class: type, main: Callable[..., Any], name: str, **options: Any
) -> None:
    """``run_command`` for the command ``name`` of the trainer; ``options`` are passed on to it."""
    module = f"trainer.{name}"
    run_command(config_class, without_tensorflow(main), stage=name, module=module, **options)
