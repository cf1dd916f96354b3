"""The devices and processes of a run: which rows each reads, where arrays lie, and what is added up.

A step is one program over all devices (JAX's SPMD), so the same rows give the same step, up to the
order of float sums, however many processes and devices share it. Every process reads only its part
of each batch; only the first one writes. On one device, arrays are left where they are.

Processes find each other through ``keras.distribution.initialize``: on TPU VMs by themselves,
elsewhere by KERAS_DISTRIBUTION_JOB_ADDRESSES, …_NUM_PROCESSES and …_PROCESS_ID.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.command.known_errors import describe_error
from pipelines.errors import UserError, one_line
from trainer.pretraining.array_axes import axes_of
from trainer.pretraining.stop_signals import EXIT_RESTART

PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
# Processes ask each other whether to stop after every so many steps.
_STEPS_BETWEEN_QUESTIONS = 8


class Cluster:
    """The processes and devices of a run: by default one process on one device.

    Attributes: ``host`` of ``hosts`` processes; ``devices`` that share the rows of a batch;
    ``is_first``: this process writes.

    Args:
        mesh: JAX's Mesh of several devices, of this process or of several, with the axes "batch" and
            "model".
    """

    def __init__(self, mesh: Any = None):
        self._mesh = mesh
        self.host, self.hosts, self.devices = 0, 1, 1
        if mesh is not None:
            import jax

            self.host, self.hosts = jax.process_index(), jax.process_count()
            self.devices = mesh.shape["batch"]
        self.is_first = self.host == 0

    def agree(self, decide: Callable[[], int]) -> int:
        """What the first process decides, for all; a UserError there ends all."""
        if self.hosts == 1:
            return decide()
        from jax.experimental import multihost_utils

        error, decided = None, -1
        if self.is_first:
            try:
                decided = decide()
            except UserError as caught:
                error = caught
        decided = int(multihost_utils.broadcast_one_to_all(np.int64(decided)))
        if error:
            raise error
        if decided < 0:
            raise UserError("the first process stopped; its message says why")
        return decided

    def any_asks(self, asks: bool, step: int) -> bool:
        """Whether any process asks to stop; the answer is the same in all after the same step."""
        if self.hosts == 1:
            return asks
        if step % _STEPS_BETWEEN_QUESTIONS:
            return False
        from jax.experimental import multihost_utils

        return bool(np.any(multihost_utils.process_allgather(np.int32(asks))))

    def wait_for_all(self, name: str) -> None:
        """Returns when all processes have come here."""
        if self.hosts > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices(name)

    def place(self, name: str, array: NDArray[Any]) -> Any:
        """A weight or optimizer variable on its devices."""
        import jax

        if self._mesh is None:
            return jax.numpy.array(array)
        sharding = self._sharding(*axes_of(name, array.shape, self.devices))
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    def place_batch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """This process's rows of a batch as its part of the whole."""
        if self._mesh is None:
            return dict(arrays)
        import jax

        sharding = self._sharding("batch")
        return {
            name: jax.make_array_from_process_local_data(
                sharding, values, (len(values) * self.hosts, *values.shape[1:])
            )
            for name, values in arrays.items()
        }

    def add_up(self, compute: Callable[[Any, Any, Any], Any], whole: Any, batch: Any) -> Any:
        """The sum over all devices of ``compute(whole, rows, first)``, in a compiled function.

        Each device computes from its own rows of the batch, of which ``first`` is the number of the
        first; nothing but the result is sent. XLA left to share out the batch by itself sends more:
        logits, and the gradients of each part of a batch.
        """
        if self._mesh is None:
            return compute(whole, batch, 0)
        import jax

        def compute_own(whole: Any, rows: Any) -> Any:
            first = jax.lax.axis_index("batch") * len(jax.tree.leaves(rows)[0])
            return jax.lax.psum(compute(whole, rows, first), "batch")

        # Heads and units stay XLA's to share out; some kernels need all axes or none to be.
        axes = {"batch"} if self._mesh.shape["model"] > 1 else {"batch", "model"}
        everywhere, by_row = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("batch")
        return jax.shard_map(
            compute_own,
            mesh=self._mesh,
            in_specs=(everywhere, by_row),
            out_specs=everywhere,
            axis_names=axes,
            check_vma=False,
        )(whole, batch)

    def gather(self, array: Any) -> NDArray[Any]:
        """The whole of a placed array, on the host."""
        if array.is_fully_replicated or array.is_fully_addressable:
            return np.array(array)
        from jax.experimental import multihost_utils

        return np.array(multihost_utils.process_allgather(array, tiled=True))

    def mesh(self) -> AbstractContextManager[Any]:
        """The context that a step is called in: tells kernels that XLA cannot partition of the mesh."""
        if self._mesh is None:
            return nullcontext()
        import jax

        return jax.set_mesh(self._mesh)

    def shardings(self, arrays: list[Any]) -> Any:
        """Where a step leaves these arrays and its values: None = the compiler's choice."""
        if self._mesh is None:
            return None
        return [array.sharding for array in arrays], self._sharding()

    def _sharding(self, *axes: str | None) -> Any:
        import jax

        return jax.sharding.NamedSharding(self._mesh, jax.sharding.PartitionSpec(*axes))


@contextmanager
def all_needed() -> Iterator[None]:
    """Raises UserError for what JAX raises in the block when another process of the run is gone."""
    try:
        yield
    except Exception as error:
        import jax

        known = describe_error(error) or not isinstance(error, jax.errors.JaxRuntimeError)
        if known or jax.process_count() == 1:
            raise
        # JAX would wait for the others at the end, and abort the process in place of its exit status.
        atexit.register(os._exit, EXIT_RESTART)
        raise UserError(
            f"another process of this run ended or does not answer ({one_line(error)[:200]}); start "
            "all of them again: they go on after the newest checkpoint"
        ) from None


def device_kind() -> str:
    """What JAX calls the devices; empty on other backends."""
    if os.environ["KERAS_BACKEND"] != "jax":
        return ""
    import jax

    return str(jax.devices()[0].device_kind)


def describe_devices() -> str:
    """How many devices the run computes on and which, for people."""
    if os.environ["KERAS_BACKEND"] != "jax":
        return "its default device"
    import jax

    return f"{jax.device_count()} {device_kind()}"


def join_cluster(model_parallel: int = 1, *, distributed: bool = False, seed: int = 0) -> Cluster:
    """Joins the other processes, if there are any, and finds the devices.

    ``distributed``: there are others (implied by KERAS_DISTRIBUTION_NUM_PROCESSES). Call it before
    anything touches a device. Raises UserError for backends other than JAX with more than one
    process or device, and for ``model_parallel`` that does not divide the devices of a process.
    """
    distributed = distributed or PROCESSES in os.environ
    if os.environ.get("KERAS_BACKEND", "jax") != "jax":
        if distributed or model_parallel > 1:
            raise UserError("several processes or --model_parallel need KERAS_BACKEND=jax")
        return Cluster()
    import jax

    if distributed:
        import keras

        # Keras would have all processes draw a common seed: ours is common already.
        keras.utils.set_random_seed(seed)
        try:
            keras.distribution.initialize()
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"the processes did not find each other ({' '.join(str(error).split())}); check "
                "KERAS_DISTRIBUTION_JOB_ADDRESSES, …_NUM_PROCESSES and …_PROCESS_ID"
            ) from None
    if jax.device_count() == 1 and model_parallel == 1:
        return Cluster()
    local = jax.local_device_count()
    if local % model_parallel:
        raise UserError(
            f"--model_parallel {model_parallel}: the {local} devices of a process cannot be "
            "shared out evenly; give a divisor of that"
        )
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    grid = np.array(devices).reshape(-1, model_parallel)
    return Cluster(jax.sharding.Mesh(grid, ("batch", "model")))
