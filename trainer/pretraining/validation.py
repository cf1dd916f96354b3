"""The loss and accuracy of a model in training on the validation rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.data.batches import BatchMaker
from trainer.data.dataset import Dataset
from trainer.data.prefetch import Prefetcher


def evaluate(train_step: Any, maker: BatchMaker, most: int) -> dict[str, float]:
    """Loss and accuracy over at most ``most`` validation batches (0: all); {} without any."""
    count = min(maker.validation_steps, most or maker.validation_steps)
    if not count:
        return {}
    batches = Prefetcher(maker.validation_batch, 0, count)
    sums = sum(train_step.evaluate(batch.arrays).astype(np.float64) for batch in batches)
    figures = {}
    # Three sums of the masked LM, and maybe three of next sentence: loss, correct ones, weight.
    for name, (loss, correct, weight) in zip(
        ("validation", "validation_next_sentence"), np.reshape(sums, (-1, 3)).tolist(), strict=False
    ):
        figures[f"{name}_loss"] = loss / max(weight, 1e-9)
        figures[f"{name}_accuracy"] = correct / max(weight, 1e-9)
    return figures | bits_per_byte(figures["validation_loss"], maker.datasets)


def bits_per_byte(loss: float, datasets: Sequence[Dataset]) -> dict[str, float]:
    """The loss in bits for each byte of text instead of nats for each token, as if every token had
    been masked; {} where the data does not say how many bytes it was made from.

    Vocabularies that cut a text into more pieces have lower losses; this is comparable between runs on
    the same input files, with the same masking.
    """
    counts = [dataset.manifest.counts for dataset in datasets]
    if not all(count.get("bytes_in") and count.get("tokens_in") for count in counts):
        return {}
    tokens, size = (sum(count[name] for count in counts) for name in ("tokens_in", "bytes_in"))
    return {"validation_bits_per_byte": loss * tokens / size / math.log(2)}
