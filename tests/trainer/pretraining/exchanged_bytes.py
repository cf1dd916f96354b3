"""What the devices of a compiled step send each other.

As a command: the bytes that a device receives in a small step on all devices of the process, learned
from in so many parts; of those the bytes of loops, each counted once; and the bytes of the weights.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter

OPERATIONS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# Of one that is begun and ended apart, the end alone has the results.
_EXCHANGE = re.compile(rf" = (.*?) ({'|'.join(OPERATIONS)})(?:-done)?\(")
_ARRAY = re.compile(r"\b(f32|bf16|s32|u32|pred)\[([\d,]*)\]")
_SIZES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}


def exchanged_bytes(program: str) -> Counter[str]:
    """By each operation that takes several devices: the bytes of its results on one of them."""
    found: Counter[str] = Counter()
    for shapes, operation in _EXCHANGE.findall(program):
        for dtype, shape in _ARRAY.findall(shapes):
            found[operation] += _SIZES[dtype] * math.prod(map(int, filter(None, shape.split(","))))
    return found


def main() -> None:
    from tests.benchmarks.accelerator import build_step, lower_step, random_batch
    from trainer.pretraining.cluster import join_cluster

    cluster = join_cluster()
    step = build_step("bert_tiny", "chosen", cluster, grad_accumulation=int(sys.argv[1]))
    batch = cluster.place_batch(random_batch(64, 32))
    with cluster.mesh():
        program = lower_step(step, "chosen", batch).compile().as_text()
    entry = program[program.index("\nENTRY ") :].partition("\n}")[0]
    received, at_once = (exchanged_bytes(text).total() for text in (program, entry))
    weights = (value for name, value in step.state().items() if name.startswith("model/"))
    print(received, received - at_once, sum(value.nbytes for value in weights))


if __name__ == "__main__":
    main()
