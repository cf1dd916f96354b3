"""What labels mean: the names of classes and their numbers, or the numbers of a regression."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.documents.labelled import as_class_name
from pipelines.errors import UserError


class Labelled(Protocol):
    """n labels as found, and where each stands."""

    @property
    def labels(self) -> Sequence[Any] | None: ...

    @property
    def places(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...


def class_names(labels: Iterable[Any]) -> list[str]:
    """The names of the classes that occur: in the order of their numbers if all are integers."""
    names = {as_class_name(label) for label in labels}
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def as_class_ids(data: Labelled, classes: Sequence[str], trained_on: str) -> NDArray[np.int64]:
    """int64[n]: the index of each label. Raises UserError for a label that is not a class."""
    index = {name: i for i, name in enumerate(classes)}
    assert data.labels is not None
    ids = np.empty(len(data), np.int64)
    for i, label in enumerate(data.labels):
        name = as_class_name(label)
        if name not in index:
            known = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
            raise UserError(
                f"{data.places[i]}: label {name!r} was never seen in {trained_on} "
                f"(its classes: {known}); correct it or leave the line out"
            )
        ids[i] = index[name]
    return ids


def as_numbers(data: Labelled) -> NDArray[np.float32]:
    """float32[n]: the labels of a regression. Raises UserError for one that is no finite number."""
    assert data.labels is not None
    numbers = np.empty(len(data), np.float32)
    for i, label in enumerate(data.labels):
        try:
            numbers[i] = float(as_class_name(label))
        except (TypeError, ValueError):
            numbers[i] = np.nan
        if not np.isfinite(numbers[i]):
            raise UserError(
                f"{data.places[i]}: label {str(label)[:40]!r} is not a number; correct it or use "
                "--task classification"
            )
    return numbers
