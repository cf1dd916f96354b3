"""What labels mean: the names of classes and their numbers, or the numbers of a regression."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.documents.labelled import as_class_name
from pipelines.errors import UserError


def class_names(labels: Iterable[Any]) -> list[str]:
    """The names of the classes that occur: in the order of their numbers if all are integers.

    Names of one number ("1", "01", "+1") stand in the order of their text.
    """
    names = {as_class_name(label) for label in labels}
    try:
        return sorted(names, key=lambda name: (int(name), name))
    except ValueError:
        return sorted(names)


def encode_labels(
    labels: Sequence[Any], locations: Sequence[str], classes: Sequence[str], trained_on: str
) -> NDArray[Any]:
    """int64[n]: the index of each label in ``classes``; without classes float32[n], a regression's.

    ``locations`` says where each label stands and ``trained_on`` where the classes come from. Raises
    UserError for the first label that is not a class, or not a finite number.
    """
    named = [
        (as_class_name(label), location) for label, location in zip(labels, locations, strict=True)
    ]
    if not classes:
        return np.array([_parse_number(name, location) for name, location in named], np.float32)
    index = {name: i for i, name in enumerate(classes)}
    for name, location in named:
        if name not in index:
            known = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
            raise UserError(
                f"{location}: label {name!r} was never seen in {trained_on} "
                f"(its classes: {known}); correct it or leave the line out"
            )
    return np.array([index[name] for name, _ in named], np.int64)


def _parse_number(name: str, location: str) -> float:
    try:
        number = float(np.float32(float(name)))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(
            f"{location}: label {name[:40]!r} is not a number; correct it or use --task classification"
        )
    return number
