"""How long a training step of a config takes here: some are done, in a process of their own, which
then gives its memory and its devices back."""

from __future__ import annotations

import pickle
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from pipelines.child_process import leave_interrupts_to_parent, start_child
from pipelines.errors import UserError
from trainer.pretraining.cluster import device_kind, join_cluster
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.plan import plan_run
from trainer.pretraining.startup import without_tensorflow
from trainer.pretraining.step_groups import default_group_size

_SECONDS, _FEWEST = 5.0, 3


def measure_speed(config: PretrainConfig, chooses_dtype: bool) -> tuple[float, str]:
    """Seconds of a step, and the dtype of its arithmetic: the config's, or where that is left to us
    bfloat16 if this machine is fast at it. Raises UserError for what the config cannot do here."""
    with start_child(__name__) as child:
        try:
            with cast(IO[bytes], child.stdin) as questions:
                pickle.dump((config, chooses_dtype), questions)
            answer = pickle.load(cast(IO[bytes], child.stdout))
        except (EOFError, pickle.UnpicklingError):
            raise UserError(
                f"--budget {config.budget}: a step could not be timed (status {child.wait()}); give "
                "less with --model, or --steps instead"
            ) from None
        finally:
            child.kill()
    if isinstance(answer, BaseException):
        raise answer
    return cast(tuple[float, str], answer)


def _measure(config: PretrainConfig, chooses_dtype: bool) -> tuple[float, str]:
    cluster = join_cluster(config.model_parallel, distributed=False, seed=config.seed)
    if chooses_dtype:
        is_fast = device_kind() != "cpu" or "amx_bf16" in Path("/proc/cpuinfo").read_text()
        config = replace(config, dtype="mixed_bfloat16" if is_fast else "float32")
    plan = plan_run(config)
    maker = plan.batch_maker(cluster)
    _, step, _ = plan.build(cluster)
    group = config.steps_per_execution or default_group_size(device_kind())
    batches = [maker.train_batch(i).arrays for i in range(group)]
    times: list[float] = []
    # The first call compiles, the second is slower too.
    while len(times) < 2 + _FEWEST or sum(times[2:]) < _SECONDS:
        began = time.perf_counter()
        np.asarray(step.run_group(len(times) * group, batches)[-1])
        times.append(time.perf_counter() - began)
    return float(np.mean(times[2:])) / group, config.dtype


def _answer() -> None:
    answer: Any
    try:
        answer = without_tensorflow(_measure)(*pickle.load(sys.stdin.buffer))
    except Exception as error:
        answer = error
    pickle.dump(answer, sys.stdout.buffer)


if __name__ == "__main__":
    leave_interrupts_to_parent()
    _answer()
