"""How many parts a batch is learned from in: on CPUs large ones fall out of the caches, and take new
memory from the system in every step."""

from __future__ import annotations


def parts_for_speed(rows: int, tokens: int, most_tokens: int) -> int:
    """A power of two that divides the rows of a batch of so many tokens: the smallest with which a part
    has at most ``most_tokens``, or as few as can be. 1 on accelerators and other backends than JAX.
    """
    from trainer.layers.products import is_jax_on_cpu

    parts = 1
    while tokens > most_tokens * parts and rows % (2 * parts) == 0 and is_jax_on_cpu():
        parts *= 2
    return parts
