"""How many parts a batch is learned from in: on CPUs large ones fall out of the caches, and take new
memory from the system in every step."""

from __future__ import annotations

# Vectors of a part, times their width. Batches of 4,096 to 24,576 tokens of models with 2 and 4 layers x
# 128 and 256 were fastest near it; wider ones were not tried, and pay for each part with a gradient of
# the whole vocabulary.
_NUMBERS = 1 << 19
_FEWEST_TOKENS = 2048


def parts_for_speed(rows: int, tokens: int, width: int) -> int:
    """A power of two that divides the rows of a batch of so many tokens, for a model of that width: the
    smallest whose parts are small enough, or else the largest. 1 on accelerators and other backends.
    """
    from trainer.layers.products import is_jax_on_cpu

    enough = max(_FEWEST_TOKENS, _NUMBERS // width)
    parts = 1
    while tokens > enough * parts and rows % (2 * parts) == 0 and is_jax_on_cpu():
        parts *= 2
    return parts
