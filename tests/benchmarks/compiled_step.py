r"""What the compilers for TPUs and GPUs make of a training step, found without such a device.

The compiler for TPUs is in libtpu. Keep it outside the environment, where JAX would look for a TPU
whenever it starts::

    pip install --no-deps --target /tmp/for_tpus 'libtpu==0.0.42.*'
    TPU_LIBRARY_PATH=/tmp/for_tpus/libtpu/libtpu.so python -m tests.benchmarks.compiled_step \
        --devices v5e:1x1 v5e:2x2 --model bert_base --batch_size 32

The version is the one that ``jax[tpu]`` asks for. That for NVIDIA's GPUs comes with ``jax[cuda12]`` of
JAX's own version; ``--devices h100:1 h100:4`` are those of one machine. A step is ``trainer.pretrain``'s
own, on packed rows that all devices share, with the form of attention that it takes there. Told of each
device: the bytes that the step holds at most, and of those the weights', the optimizer's and the
batch's; how often a kernel of attention is called; the bytes that all else reads and writes (a loop's
once; on GPUs without those of products); the model's own count of operations; and what comes from other
devices, in MB, by each kind of exchange.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from typing import Any
from unittest import mock

# Before JAX is there: it shall not look for a TPU, nor libtpu for the other hosts of one.
os.environ |= {"JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "jax", "TPU_WORKER_HOSTNAMES": "localhost"}
os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4"}
# Nor can the forms of a product be timed, so all are cuBLAS'.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
)

import jax
import numpy as np
from jax._src import xla_bridge
from jax._src.lib import xla_client
from jax.experimental import topologies
from tabulate import tabulate

from tests.benchmarks.accelerator import build_step, lower_step, random_batch, step_flops
from tests.trainer.pretraining.exchanged_bytes import OPERATIONS, exchanged_bytes
from trainer.pretraining.array_axes import axes_of
from trainer.pretraining.cluster import Cluster

_COLUMNS = [
    "model",
    "rows",
    "devices",
    "GB held",
    "state",
    "kernels",
    "GB moved",
    "TFLOP",
    *OPERATIONS,
    "s",
]
# As CUDA describes an H100 SXM, in XLA's terms.
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 3352320000000
  device_memory_size: 84929347584
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
_KERNELS = ('custom_call_target="tpu_custom_call"', 'custom_call_target="__cudnn$fmha')


def described_devices(name: str) -> Any:
    """Devices that are not there: of a TPU, as v5e:2x2, or GPUs of one machine, as h100:4."""
    kind, _, extent = name.partition(":")
    if kind == "h100":
        options = {"target_config": _H100, "topology": f"1x1x{extent or 1}"}
        return topologies.get_topology_desc(platform="cuda", topology_name="", **options).devices
    # A host has four chips, unless there is but one.
    one = {"chips_per_host_bounds": [1, 1, 1]} if set(extent.split("x")) == {"1"} else {}
    return topologies.get_topology_desc(platform="tpu", topology_name=name, **one).devices


class PlannedCluster(Cluster):
    """Devices that are not there: arrays on them have a shape and a place, no values."""

    def __init__(self, devices: Any, model_parallel: int):
        grid = np.array(devices).reshape(-1, model_parallel)
        super().__init__(jax.sharding.Mesh(grid, ("batch", "model")))

    def place(self, name: str, array: Any) -> Any:
        """The array's shape on its devices."""
        sharding = self._sharding(*axes_of(name, array.shape, self.devices))
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    def place_batch(self, arrays: Any) -> dict[str, Any]:
        """The shapes of a batch, its rows shared by all devices."""
        rows = self._sharding("batch")
        return {
            name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=rows)
            for name, array in arrays.items()
        }


def compile_step(devices: Any, model: str, length: int, rows: int, model_parallel: int) -> Any:
    """The compiled step of ``rows`` rows a device."""
    cluster = PlannedCluster(devices, model_parallel)
    step = build_step(model, "chosen", cluster)
    batch = cluster.place_batch(random_batch(rows * len(devices), length))
    platform = {"cuda": "gpu"}.get(devices[0].platform, devices[0].platform)
    with (
        mock.patch.object(jax, "default_backend", return_value=platform),
        mock.patch.object(jax, "local_devices", return_value=devices),
        cluster.mesh(),
    ):
        return lower_step(step, "chosen", batch).compile()


def bytes_accessed(compiled: Any) -> float:
    """What the program's operations read and write, as XLA counts it."""
    if cost := compiled.cost_analysis():
        return float(cost["bytes accessed"])
    # Only on GPUs, which programs are not counted for where there is none.
    (module,) = compiled.runtime_executable().hlo_modules()
    client = xla_bridge.get_backend("cpu")
    return float(xla_client._xla.hlo_module_cost_analysis(client, module)["bytes accessed"])


def describe(name: str, model: str, length: int, rows: int, model_parallel: int) -> list[Any]:
    """The line of the table."""
    began = time.perf_counter()
    compiled = compile_step(described_devices(name), model, length, rows, model_parallel)
    seconds = time.perf_counter() - began
    program, memory = compiled.as_text(), compiled.memory_analysis()
    state = memory.argument_size_in_bytes
    received = exchanged_bytes(program)
    return [
        model,
        f"{rows} x {length}",
        name,
        f"{(state + memory.temp_size_in_bytes) / 1e9:.2f}",
        f"{state / 1e9:.2f}",
        sum(program.count(kernel) for kernel in _KERNELS),
        f"{bytes_accessed(compiled) / 1e9:.1f}",
        f"{step_flops(model, random_batch(rows, length)) / 1e12:.2f}",
        *(f"{received[operation] / 1e6:.0f}" for operation in OPERATIONS),
        f"{seconds:.0f}",
    ]


def main() -> None:
    """Prints a line as soon as a step is compiled."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", nargs="+", required=True, help="v5e:2x2, v5p:2x2x1, h100:4, …")
    parser.add_argument("--model", nargs="+", default=["bert_tiny"], help="size names")
    parser.add_argument("--seq_length", nargs="+", type=int, default=[512])
    parser.add_argument("--batch_size", type=int, default=32, help="rows for each device")
    parser.add_argument("--model_parallel", type=int, default=1, help="devices that share a model")
    options = parser.parse_args()
    on_gpus = [name.startswith("h100") for name in options.devices]
    if any(on_gpus) and not importlib.util.find_spec("jax_plugins"):
        parser.error("no compiler for GPUs here; --help tells where to get it")
    if not all(on_gpus) and not os.path.isfile(os.environ.get("TPU_LIBRARY_PATH", "")):
        parser.error("TPU_LIBRARY_PATH must name libtpu.so; --help tells where to get it")
    jax.config.update("jax_enable_compilation_cache", False)
    rows = []
    for model in options.model:
        for length in options.seq_length:
            for name in options.devices:
                sizes = length, options.batch_size, options.model_parallel
                rows.append(describe(name, model, *sizes))
                print(tabulate(rows[-1:], _COLUMNS, disable_numparse=True), flush=True)
    print(tabulate(rows, _COLUMNS, "github", disable_numparse=True))


if __name__ == "__main__":
    main()
