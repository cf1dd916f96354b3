"""How wide an attention head is: the layer's width, shared evenly."""

from __future__ import annotations

from pipelines.errors import UserError


def head_size(hidden_dim: int, num_heads: int) -> int:
    """The dimensions of one head. Raises UserError where the heads would not get equal shares.

    >>> head_size(128, 2)
    64
    """
    if num_heads < 1 or hidden_dim % num_heads:
        raise UserError(
            f"hidden_dim {hidden_dim} cannot be shared evenly by num_heads {num_heads}; make "
            "hidden_dim a multiple of num_heads"
        )
    return hidden_dim // num_heads
