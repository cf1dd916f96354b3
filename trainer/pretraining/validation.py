"""The loss and accuracy of a model in training on the validation rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.batches import Batch, BatchMaker
from trainer.data.dataset import VALIDATION, Dataset
from trainer.data.prefetch import Prefetcher

# The accuracy of fewer is known to some percent only, and their entropy too low.
_FEW_MASKS = 1000


def count_batches(maker: BatchMaker, most: int) -> int:
    """How many batches a validation has, of at most ``most`` (0: no limit)."""
    return min(maker.validation_steps, most or maker.validation_steps)


def describe_validation(maker: BatchMaker, mask_rate: float) -> str:
    """What is to be said of validation rows that are too few; empty where they are not."""
    rows = sum(dataset.rows(VALIDATION) for dataset in maker.datasets)
    masks = int(rows * maker.datasets[0].seq_length * mask_rate)
    if masks >= _FEW_MASKS:
        return ""
    found = (
        f"only {rows:,} validation rows, about {masks:,} masks" if rows else "no validation rows"
    )
    return (
        f"{found}: too few to tell what was learned from what was memorised; give pipelines.tokenize a "
        "--validation_fraction, such as 0.01, or a larger one"
    )


def evaluate(train_step: Any, maker: BatchMaker, most: int) -> dict[str, float]:
    """Loss and accuracy over at most ``most`` validation batches (0: all); {} without any.

    Beside them stand the number of masked tokens that they are of, and what one gets without looking
    at a text: the accuracy of always saying the commonest of these, and, unless they are few, the loss
    of always guessing by their frequency (of this process' part).
    """
    count = count_batches(maker, most)
    if not count:
        return {}
    batches = Prefetcher(maker.validation_batch, 0, count)
    sums: Any = 0.0
    targets = np.zeros(maker.datasets[0].vocabulary.size, np.int64)
    for batch in batches:
        sums = sums + train_step.evaluate(batch.arrays).astype(np.float64)
        targets += _count_targets(batch, len(targets))
    figures = {
        "validation_masks": int(np.reshape(sums, (-1, 3))[0, 2]),
        "validation_commonest": float(targets.max() / max(1, targets.sum())),
    }
    if (guessing := _frequency_loss(targets)) is not None:
        figures["validation_frequency_loss"] = guessing
    # Three sums of the masked LM, and maybe three of next sentence: loss, correct ones, weight.
    for name, (loss, correct, weight) in zip(
        ("validation", "validation_next_sentence"), np.reshape(sums, (-1, 3)).tolist(), strict=False
    ):
        figures[f"{name}_loss"] = loss / max(weight, 1e-9)
        figures[f"{name}_accuracy"] = correct / max(weight, 1e-9)
    return figures | bits_per_byte(figures["validation_loss"], maker.datasets)


def frequency_loss(maker: BatchMaker, most: int) -> float | None:
    """What validations over ``most`` batches will have for their ``validation_frequency_loss``; None
    where they are too few for it."""
    size, count = maker.datasets[0].vocabulary.size, count_batches(maker, most)
    batches = Prefetcher(maker.validation_batch, 0, count)
    targets = sum((_count_targets(batch, size) for batch in batches), np.zeros(size, np.int64))
    return _frequency_loss(targets)


def _count_targets(batch: Batch, vocabulary_size: int) -> NDArray[np.int64]:
    """int64[vocabulary_size]: how often each token is to be predicted."""
    masked = batch.arrays["mask_weights"] > 0
    return np.bincount(batch.arrays["mask_ids"][masked], minlength=vocabulary_size)


def _frequency_loss(counts: NDArray[np.int64]) -> float | None:
    """The loss (nats) of always guessing each token by its share: the entropy of the shares, with the
    correction of Miller (1955) for those so rare that they are not among so few; None of too few."""
    seen = counts[counts > 0]
    total = int(seen.sum())
    if total < _FEW_MASKS:
        return None
    entropy = math.log(total) - float(seen @ np.log(seen)) / total
    return entropy + (len(seen) - 1) / (2 * total)


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
