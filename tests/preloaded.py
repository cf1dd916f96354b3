"""The libraries of the commands, imported once for all processes that ``command_process`` forks.

Only libraries: what a command's own modules do when they are imported happens in each process.
"""

from __future__ import annotations

import gc
import importlib
import os

from pipelines.beam.lean_import import import_beam

os.environ["KERAS_BACKEND"] = "jax"
import_beam([])
for library in (
    "array_record.python.array_record_module",
    "h5py",
    "jax.numpy",
    "jinja2",
    "keras",
    "nanotoken",
    "pyarrow.parquet",
    "scipy.stats",
    "yaml",
):
    importlib.import_module(library)
# Nothing of it becomes garbage in a forked process: its pages stay shared.
gc.freeze()
