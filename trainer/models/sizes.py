"""Model sizes by name: the dimensions of Google's published BERT models.

Source: Turc et al. 2019 (tiny to medium), Devlin et al. 2018 (base, large). Heads are hidden/64.
"""

from __future__ import annotations

import difflib
from typing import TypedDict

from pipelines.errors import UserError


class Dimensions(TypedDict):
    """Keyword arguments of ``BertBackbone`` that a size fixes."""

    num_layers: int
    num_heads: int
    hidden_dim: int
    intermediate_dim: int


def _dimensions(num_layers: int, hidden_dim: int) -> Dimensions:
    return {
        "num_layers": num_layers,
        "num_heads": hidden_dim // 64,
        "hidden_dim": hidden_dim,
        "intermediate_dim": 4 * hidden_dim,
    }


SIZES: dict[str, Dimensions] = {
    "bert_tiny": _dimensions(2, 128),
    "bert_mini": _dimensions(4, 256),
    "bert_small": _dimensions(4, 512),
    "bert_medium": _dimensions(8, 512),
    "bert_base": _dimensions(12, 768),
    "bert_large": _dimensions(24, 1024),
}


def dimensions_of(size: str) -> Dimensions:
    """The dimensions of a size name; a UserError names the nearest one where it is unknown."""
    if size not in SIZES:
        nearest = difflib.get_close_matches(size, SIZES, n=1, cutoff=0)[0]
        raise UserError(
            f"unknown model size {size!r}: did you mean {nearest!r}? "
            f"The sizes are {', '.join(SIZES)}"
        )
    return SIZES[size].copy()
