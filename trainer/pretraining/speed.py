"""How long a training step of a config takes here: some are done, in a process of their own, which
then gives its memory and its devices back."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any, cast

import numpy as np

from pipelines.child_process import answer_question, ask, read_answer, start_child
from pipelines.errors import UserError
from trainer.pretraining.check_config import check_config, check_devices
from trainer.pretraining.cluster import Cluster, device_kind, join_cluster
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.plan import plan_run
from trainer.pretraining.startup import without_tensorflow
from trainer.pretraining.step_groups import default_group_size

# So many calls are timed, for about so many seconds; two before them compile and warm up.
_FEWEST, _SECONDS, _UNTIMED = 3, 5.0, 2
_WITHOUT_BFLOAT16 = ("V100", "T4", "P100")


def measure_speed(
    config: PretrainConfig, free: Collection[str], longest: float
) -> tuple[float, dict[str, Any]]:
    """Seconds of a step, and the options among ``free`` that were fitted to this machine's devices.

    dtype: bfloat16 if they are fast at it; batch_size: rounded up to what they can share. Takes little
    more than ``longest`` seconds. Raises UserError for what the config cannot do here.
    """
    with start_child(__name__) as child:
        try:
            ask(child, config, free, longest)
            return cast(tuple[float, dict[str, Any]], read_answer(child))
        except EOFError:
            raise UserError(
                f"--budget {config.budget}: timing a step ended with status {child.wait()}, perhaps for "
                "want of memory; choose a smaller --model, or give --steps instead"
            ) from None
        finally:
            child.kill()


@without_tensorflow
def _measure(
    config: PretrainConfig, free: Collection[str], longest: float
) -> tuple[float, dict[str, Any]]:
    began = time.perf_counter()
    check_config(config)
    cluster = join_cluster(config.model_parallel, distributed=False, seed=config.seed)
    fitted = {name: value for name, value in _fit(config, cluster).items() if name in free}
    config = replace(config, **fitted)
    plan = plan_run(config)
    check_devices(config, plan.dimensions, cluster.devices)
    maker = plan.batch_maker(cluster)
    _, step, _ = plan.build(cluster)
    group = config.steps_per_execution or default_group_size(device_kind())
    reading = time.perf_counter()
    batches = [maker.train_batch(i).arrays for i in range(group)]
    # In a run batches are made while the device computes: the slower of the two counts.
    slowest = time.perf_counter() - reading
    times: list[float] = []
    while len(times) < _UNTIMED + _FEWEST or sum(times[_UNTIMED:]) < _SECONDS:
        called = time.perf_counter()
        np.asarray(step.run_group(len(times) * group, batches)[-1])
        times.append(time.perf_counter() - called)
        if len(times) > 1 and time.perf_counter() - began > longest:
            break
    timed = times[_UNTIMED:] or times[1:]
    return max(float(np.mean(timed)), slowest) / group, fitted


def _fit(config: PretrainConfig, cluster: Cluster) -> dict[str, Any]:
    from trainer.layers.products import cpu_multiplies_bfloat16

    kind = device_kind()
    if kind in ("", "cpu"):
        is_fast = cpu_multiplies_bfloat16()
    else:
        is_fast = not any(name in kind for name in _WITHOUT_BFLOAT16)
    shares = cluster.devices * (config.grad_accumulation or 1)
    return {
        "dtype": "mixed_bfloat16" if is_fast else "float32",
        "batch_size": -(-config.batch_size // shares) * shares,
    }


if __name__ == "__main__":
    answer_question(_measure)
