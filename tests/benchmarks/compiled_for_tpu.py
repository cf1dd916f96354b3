r"""What the compiler for TPUs makes of a training step, found without a TPU.

The compiler is in libtpu, which needs none. Keep it outside the environment, where JAX would look for
a TPU whenever it starts::

    pip install --no-deps --target /tmp/for_tpus 'libtpu==0.0.42.*'
    TPU_LIBRARY_PATH=/tmp/for_tpus/libtpu/libtpu.so python -m tests.benchmarks.compiled_for_tpu \
        --topology v5e:1x1 v5e:2x2 --model bert_base --batch_size 32

The version is the one that ``jax[tpu]`` asks for. A step is ``trainer.pretrain``'s own, on packed rows
that all chips share, with the form of attention that it takes on a TPU. Told of each chip: the bytes
that the step holds at most, and of those the weights', the optimizer's and the batch's; how often a
kernel of attention is called; the bytes that all else reads and writes (a loop's once); the model's own
count of operations; and what comes from other chips, in MB, by each kind of exchange.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any
from unittest import mock

# Before JAX is there: it shall not look for a TPU, nor libtpu for the other hosts of one.
os.environ |= {"JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "jax", "TPU_WORKER_HOSTNAMES": "localhost"}
os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4"}

import jax
import numpy as np
from jax.experimental import topologies
from tabulate import tabulate

from tests.benchmarks.accelerator import build_step, lower_step, random_batch, step_flops
from tests.trainer.pretraining.exchanged_bytes import OPERATIONS, exchanged_bytes
from trainer.pretraining.array_axes import axes_of
from trainer.pretraining.cluster import Cluster

_COLUMNS = [
    "model",
    "rows",
    "chips",
    "GB held",
    "state",
    "kernels",
    "GB moved",
    "TFLOP",
    *OPERATIONS,
    "s",
]


class PlannedCluster(Cluster):
    """The chips of a TPU that is not there: arrays on them have a shape and a place, no values."""

    def __init__(self, topology: str):
        dimensions = topology.partition(":")[2].split("x")
        # A host has four chips, unless there is but one.
        one = {"chips_per_host_bounds": [1, 1, 1]} if set(dimensions) == {"1"} else {}
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology, **one)
        chips = np.array(described.devices).reshape(-1, 1)
        super().__init__(jax.sharding.Mesh(chips, ("batch", "model")))
        self.chip = described.devices[0].device_kind

    def place(self, name: str, array: Any) -> Any:
        """The array's shape on its chips."""
        sharding = self._sharding(*axes_of(name, array.shape, self.devices))
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    def place_batch(self, arrays: Any) -> dict[str, Any]:
        """The shapes of a batch, its rows shared by all chips."""
        rows = self._sharding("batch")
        return {
            name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=rows)
            for name, array in arrays.items()
        }


def compile_step(topology: str, model: str, length: int, rows: int) -> Any:
    """The compiled step of ``rows`` rows a chip."""
    cluster = PlannedCluster(topology)
    step = build_step(model, "chosen", cluster)
    batch = cluster.place_batch(random_batch(rows * cluster.devices, length))
    with mock.patch.object(jax, "default_backend", return_value="tpu"), cluster.mesh():
        return lower_step(step, "chosen", batch).compile()


def describe(topology: str, model: str, length: int, rows: int) -> list[Any]:
    """The line of the table."""
    began = time.perf_counter()
    compiled = compile_step(topology, model, length, rows)
    seconds = time.perf_counter() - began
    program, memory, cost = compiled.as_text(), compiled.memory_analysis(), compiled.cost_analysis()
    state = memory.argument_size_in_bytes
    received = exchanged_bytes(program)
    return [
        model,
        f"{rows} x {length}",
        topology,
        f"{(state + memory.temp_size_in_bytes) / 1e9:.2f}",
        f"{state / 1e9:.2f}",
        program.count('custom_call_target="tpu_custom_call"'),
        f"{cost['bytes accessed'] / 1e9:.1f}",
        f"{step_flops(model, random_batch(rows, length)) / 1e12:.2f}",
        *(f"{received[operation] / 1e6:.0f}" for operation in OPERATIONS),
        f"{seconds:.0f}",
    ]


def main() -> None:
    """Prints a line as soon as a step is compiled."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topology", nargs="+", default=["v5e:1x1"], help="v5e:2x2, v5p:2x2x1, …")
    parser.add_argument("--model", nargs="+", default=["bert_tiny"], help="size names")
    parser.add_argument("--seq_length", nargs="+", type=int, default=[512])
    parser.add_argument("--batch_size", type=int, default=32, help="rows of a chip")
    options = parser.parse_args()
    if not os.path.isfile(os.environ.get("TPU_LIBRARY_PATH", "")):
        parser.error("TPU_LIBRARY_PATH must name libtpu.so; --help tells where to get it")
    jax.config.update("jax_enable_compilation_cache", False)
    rows = []
    for model in options.model:
        for length in options.seq_length:
            for topology in options.topology:
                rows.append(describe(topology, model, length, options.batch_size))
                print(tabulate(rows[-1:], _COLUMNS, disable_numparse=True), flush=True)
    print(tabulate(rows, _COLUMNS, "github", disable_numparse=True))


if __name__ == "__main__":
    main()
