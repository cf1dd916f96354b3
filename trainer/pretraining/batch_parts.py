"""How many parts a batch is learned from in: on CPUs large ones fall out of the caches, and take new
memory from the system in every step."""

from __future__ import annotations

# Tokens of a part, times the width. Batches of 4,096 to 24,576 tokens of models of 2 x 128, 2 x 256 and
# 4 x 256 were fastest near it. Wider ones were not tried; each part costs a pass over all gradients.
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
