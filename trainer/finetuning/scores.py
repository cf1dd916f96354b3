"""How good predictions are: the usual figures for classes and for numbers, and what they are worth.

Where a figure is undefined (constant values, a class that never occurs) it is 0.0, as in the scripts
of GLUE, so that a report never holds NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tabulate import tabulate

# A matrix of so many classes still fits a terminal.
_MATRIX_CLASSES = 12
# Of fewer examples the accuracy is known to some points only.
_FEW = 200
# Of a normal distribution: 95 %.
_DEVIATIONS = 1.96
_NAMES = {
    "macro_f1": "macro F1",
    "matthews": "Matthews' coefficient",
    "pearson": "Pearson's coefficient",
    "spearman": "Spearman's coefficient",
    "mean_squared_error": "mean squared error",
}


def score(
    classes: Sequence[str], labels: NDArray[Any], outputs: NDArray[np.float32]
) -> dict[str, Any]:
    """The figures for labels int64[n] given logits float32[n, classes].

    Without ``classes`` those of a regression: labels float32[n], outputs float32[n, 1].
    """
    if not classes:
        return {"examples": len(labels), **score_numbers(labels, outputs[:, 0])}
    loss = -np.log(np.maximum(probabilities(outputs)[np.arange(len(labels)), labels], 1e-30))
    scores = score_classes(labels, outputs.argmax(axis=1), len(classes))
    return {"examples": len(labels), **scores, "loss": float(loss.mean())}


def score_each_class(
    classes: Sequence[str], labels: NDArray[Any], outputs: NDArray[np.float32]
) -> dict[str, Any]:
    """``f1`` by class, and ``confusion`` (rows: labels, columns: predictions); {} for numbers."""
    if not classes:
        return {}
    confusion = confusion_matrix(labels, outputs.argmax(axis=1), len(classes))
    f1 = dict(zip(classes, class_f1(confusion).tolist(), strict=True))
    return {"f1": f1, "classes": list(classes), "confusion": confusion.tolist()}


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, classes: int) -> NDArray[np.int64]:
    """int64[classes, classes]: how many of class (row) were predicted to be class (column).

    ``labels`` and ``predictions`` are int[n] in [0, classes).
    """
    actual, predicted = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    cells = np.bincount(actual * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def score_classes(labels: ArrayLike, predictions: ArrayLike, classes: int) -> dict[str, float]:
    """Figures of int[n] labels and predictions: ``accuracy``, ``macro_f1`` (the mean over the classes
    that occur), and ``matthews`` for any number of classes (Gorodkin 2004, eq. 8)."""
    confusion = confusion_matrix(labels, predictions, classes)
    table = confusion.astype(np.float64)
    total, right = table.sum(), np.trace(table)
    actual, predicted = table.sum(axis=1), table.sum(axis=0)
    occurs = actual + predicted > 0
    spread = (total**2 - predicted @ predicted) * (total**2 - actual @ actual)
    covariance = right * total - actual @ predicted
    return {
        "accuracy": float(right / max(1, total)),
        "macro_f1": float(class_f1(confusion)[occurs].mean()) if occurs.any() else 0.0,
        "matthews": float(covariance / np.sqrt(spread)) if spread > 0 else 0.0,
    }


def class_f1(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64[classes]: each class' F1, the harmonic mean of its precision and recall."""
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    return 2.0 * np.diag(confusion) / np.maximum(both, 1)


def score_numbers(labels: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """``pearson``, ``spearman`` and ``mean_squared_error`` of float[n] labels and predictions."""
    from scipy import stats  # only here: it takes a second to load, and classes do not need it

    x, y = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    constant = not len(x) or np.ptp(x) == 0 or np.ptp(y) == 0
    return {
        "pearson": 0.0 if constant else float(stats.pearsonr(x, y).statistic),
        "spearman": 0.0 if constant else float(stats.spearmanr(x, y).statistic),
        "mean_squared_error": float(np.mean((x - y) ** 2)) if len(x) else 0.0,
    }


def mean_and_spread(values: ArrayLike) -> tuple[float, float]:
    """The mean of some runs' figures and their sample standard deviation (0.0 for one run)."""
    figures = np.asarray(values, np.float64)
    return float(figures.mean()), float(figures.std(ddof=1)) if len(figures) > 1 else 0.0


def name_figure(name: str) -> str:
    """What people call a figure."""
    return _NAMES.get(name, name)


def show_figure(name: str, value: float) -> str:
    """Its value: a share in per cent, a count whole."""
    if name == "examples":
        return f"{value:,.0f}"
    if name == "accuracy":
        return f"{value:.2%}"
    return f"{value:.4f}"


def describe_classes(report: Mapping[str, Any]) -> str:
    """The confusion matrix with every class's F1; of many classes F1 and the commonest confusions.

    ``report`` holds what ``score_each_class`` returns.
    """
    names, confusion = report["classes"], np.array(report["confusion"])
    scores = [f"{report['f1'][name]:.4f}" for name in names]
    if len(names) <= _MATRIX_CLASSES:
        rows = [[n, *map(str, c), f1] for n, c, f1 in zip(names, confusion, scores, strict=True)]
        return tabulate(rows, ["label ↓, predicted →", *names, "f1"], disable_numparse=True)
    each = tabulate(zip(names, scores, strict=True), ["label", "f1"], disable_numparse=True)
    wrong = confusion - np.diag(confusion.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MATRIX_CLASSES]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    most = [[names[i], names[j], str(wrong[i, j])] for i, j in pairs if wrong[i, j]]
    header = ["label", "most often taken for", "texts"]
    return f"{each}\n\n{tabulate(most, header, disable_numparse=True)}" if most else each


def describe_certainty(
    classes: Sequence[str], labels: NDArray[Any], outputs: NDArray[np.float32]
) -> list[str]:
    """Sentences on what figures are worth: beside a guess that reads nothing, and of how many texts;
    labels and outputs as ``score`` takes them."""
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
