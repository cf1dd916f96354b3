"""Model sizes by name: the dimensions of Google's published BERT models.

Source: Turc et al. 2019 (tiny to medium), Devlin et al. 2018 (base, large). Heads are hidden/64.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pipelines.errors import UserError

_LAYERS_AND_WIDTHS = {
    "bert_tiny": (2, 128),
    "bert_mini": (4, 256),
    "bert_small": (4, 512),
    "bert_medium": (8, 512),
    "bert_base": (12, 768),
    "bert_large": (24, 1024),
}


def dimensions_of(size: str) -> dict[str, int]:
    """The arguments of ``BertBackbone`` that a size fixes; UserError for an unknown size."""
    if size not in _LAYERS_AND_WIDTHS:
        nearest = difflib.get_close_matches(size, _LAYERS_AND_WIDTHS, n=1, cutoff=0)[0]
        raise UserError(
            f"unknown model size {size!r}: did you mean {nearest!r}? "
            f"The sizes are {', '.join(_LAYERS_AND_WIDTHS)}"
        )
    num_layers, hidden_dim = _LAYERS_AND_WIDTHS[size]
    return {
        "num_layers": num_layers,
        "num_heads": hidden_dim // 64,
        "hidden_dim": hidden_dim,
        "intermediate_dim": 4 * hidden_dim,
    }


def count_weights(dimensions: Mapping[str, Any]) -> int:
    """How many weights an encoder of these dimensions (arguments of ``BertBackbone``) has at least:
    biases and norms are left out, and a dimension that is not given counts as 1."""
    given = {"num_layers": 1, "hidden_dim": 1, "intermediate_dim": 1, **dimensions}
    hidden = given["hidden_dim"]
    rows = given.get("vocabulary_size", 1) + given.get("max_sequence_length", 1)
    layer = 4 * hidden * hidden + 2 * hidden * given["intermediate_dim"]
    return (rows + hidden) * hidden + given["num_layers"] * layer
