"""How good predictions are: the usual figures for classes and for numbers, in numpy.

Where a figure is undefined (a constant, a class nobody has or was given) it is 0.0, as in the
scripts of GLUE, so that a report never holds NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, classes: int) -> NDArray[np.int64]:
    """int64[classes, classes]: how many of class (row) were predicted to be class (column).

    ``labels`` and ``predictions`` are int[n] in [0, classes).
    """
    actual, predicted = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    cells = np.bincount(actual * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def accuracy(confusion: NDArray[np.int64]) -> float:
    """The share of predictions that are right."""
    return float(np.trace(confusion) / max(1, confusion.sum()))


def class_f1(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64[classes]: each class' F1, the harmonic mean of its precision and recall."""
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    return 2.0 * np.diag(confusion) / np.maximum(both, 1)


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """The mean of the F1 of all classes that occur among labels or predictions."""
    occurs = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return float(class_f1(confusion)[occurs].mean()) if occurs.any() else 0.0


def matthews(confusion: NDArray[np.int64]) -> float:
    """Matthews' correlation coefficient, for any number of classes (Gorodkin 2004, eq. 8)."""
    table = confusion.astype(np.float64)
    total, right = table.sum(), np.trace(table)
    actual, predicted = table.sum(axis=1), table.sum(axis=0)
    spread = (total**2 - predicted @ predicted) * (total**2 - actual @ actual)
    return float((right * total - actual @ predicted) / np.sqrt(spread)) if spread > 0 else 0.0


def pearson(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The linear correlation of two series float[n]."""
    x, y = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    if not len(x) or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def spearman(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The correlation of the ranks of two series float[n]; equal values share their mean rank."""
    return pearson(_ranks(labels), _ranks(predictions))


def _ranks(values: ArrayLike) -> NDArray[np.float64]:
    _, group, sizes = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - (sizes - 1) / 2)[group.reshape(-1)]


def score_classes(labels: ArrayLike, predictions: ArrayLike, classes: int) -> dict[str, float]:
    """``accuracy``, ``macro_f1`` and ``matthews`` of int[n] labels and predictions."""
    confusion = confusion_matrix(labels, predictions, classes)
    return {
        "accuracy": accuracy(confusion),
        "macro_f1": macro_f1(confusion),
        "matthews": matthews(confusion),
    }


def score_numbers(labels: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """``pearson``, ``spearman`` and ``mean_squared_error`` of float[n] labels and predictions."""
    x, y = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    return {
        "pearson": pearson(x, y),
        "spearman": spearman(x, y),
        "mean_squared_error": float(np.mean((x - y) ** 2)) if len(x) else 0.0,
    }


def mean_and_spread(values: ArrayLike) -> tuple[float, float]:
    """The mean of some runs' figures and their sample standard deviation (0.0 for one run)."""
    found = np.asarray(values, np.float64)
    return float(found.mean()), float(found.std(ddof=1)) if len(found) > 1 else 0.0
