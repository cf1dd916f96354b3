"""What the devices of a compiled step send each other.

As a command: the bytes that a device receives in a small step on all devices of the process, and the
bytes of the model's weights.
"""

from __future__ import annotations

import math
import re
from collections import Counter

OPERATIONS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_EXCHANGE = re.compile(rf" = (.*?) ({'|'.join(OPERATIONS)})(?:-start)?\(")
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
    import numpy as np

    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.pretraining_model import PretrainingModel
    from trainer.pretraining.cluster import join_cluster
    from trainer.pretraining.optimizer import WarmupThenDecay, build_optimizer
    from trainer.pretraining.step import JaxTrainStep, dropout_states

    # As BERT's 30,522 words, these cannot be shared out to four.
    model = PretrainingModel(BertBackbone(5_002, 1, 2, 64, 128, 0.1, 32))
    optimizer = build_optimizer(
        "adamw",
        model.trainable_variables,
        schedule=WarmupThenDecay(1e-3, 1, 10),
        weight_decay=0.01,
        clip_norm=1.0,
    )
    cluster = join_cluster()
    step = JaxTrainStep(model, optimizer, seed=0, cluster=cluster)
    ids = np.ones((64, 32), np.int32)
    batch = dict.fromkeys(("token_ids", "segment_ids", "padding_mask", "document_ids"), ids)
    batch |= dict.fromkeys(("mask_positions", "mask_ids"), ids[:, :19])
    batch["mask_weights"] = np.ones((64, 19), np.float32)
    states = dropout_states(0, 0, len(model.non_trainable_variables))
    with cluster.mesh():
        lowered = step._step.lower(step._arrays, states, cluster.place_batch(batch))
    parameters = sum(weight.value.nbytes for weight in model.trainable_variables)
    print(exchanged_bytes(lowered.compile().as_text()).total(), parameters)


if __name__ == "__main__":
    main()
