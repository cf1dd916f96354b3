"""What figures are worth: beside a guess that reads nothing, and of how many texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of fewer examples the accuracy is known to some points only.
_FEW = 200
# Of a normal distribution: 95 %.
_DEVIATIONS = 1.96


def describe_certainty(
    classes: Sequence[str], labels: NDArray[Any], outputs: NDArray[np.float32]
) -> list[str]:
    """Sentences on labels and outputs as ``trainer.finetuning.scores.score`` takes them."""
    count = len(labels)
    few = [f"{count:,} examples are too few to tell good from bad"] if count < _FEW else []
    if not classes:
        spread = float(np.var(labels))
        return [f"always saying the mean would have a mean squared error of {spread:.4f}", *few]
    sizes = np.bincount(labels, minlength=len(classes))
    right = float((outputs.argmax(axis=1) == labels).mean())
    low, high = _interval(right, count)
    commonest = int(sizes.argmax())
    always = sizes[commonest] / count
    sentences = [
        f"accuracy {right:.1%}, with 95 % certainty {low:.1%} to {high:.1%} ({count:,} examples); "
        f"always saying {classes[commonest]!r} would be right in {always:.1%}"
    ]
    said = np.unique(outputs.argmax(axis=1))
    if len(said) == 1:
        sentences.append(
            f"every text is said to be {classes[int(said[0])]!r}: nothing has been learned; try more "
            "epochs, another learning rate or more examples"
        )
    elif right <= always:
        sentences.append("that is no better than not reading the texts")
    return sentences + few


def _interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of so many, which never leaves 0 to 1."""
    square = _DEVIATIONS**2
    middle = share + square / (2 * count)
    root = _DEVIATIONS * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    whole = 1 + square / count
    return max(0.0, (middle - root) / whole), min(1.0, (middle + root) / whole)
