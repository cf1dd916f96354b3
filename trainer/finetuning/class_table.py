"""How well each class was told from the others, as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tabulate import tabulate

# A matrix of so many classes still fits a terminal.
_SHOWN = 12


def describe_classes(report: Mapping[str, Any]) -> str:
    """The confusion matrix with every class's F1; of many classes F1 and the commonest confusions.

    ``report`` holds what ``trainer.finetuning.task.score_each_class`` returns.
    """
    names, confusion = report["classes"], np.array(report["confusion"])
    scores = [f"{report['f1'][name]:.4f}" for name in names]
    if len(names) <= _SHOWN:
        rows = [[n, *map(str, c), f1] for n, c, f1 in zip(names, confusion, scores, strict=True)]
        return tabulate(rows, ["label ↓, predicted →", *names, "f1"], disable_numparse=True)
    each = tabulate(zip(names, scores, strict=True), ["label", "f1"], disable_numparse=True)
    wrong = confusion - np.diag(confusion.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:_SHOWN]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    most = [[names[i], names[j], str(wrong[i, j])] for i, j in pairs if wrong[i, j]]
    head = ["label", "most often taken for", "texts"]
    return f"{each}\n\n{tabulate(most, head, disable_numparse=True)}" if most else each
