"""Steps whose gradient exploded are skipped: one bad batch does not undo what others have taught.

The norm of a gradient is compared with the mean of those before. That mean, and how many steps were
skipped, are variables of the optimizer, so they are in every checkpoint. (JAX only.)
"""

from __future__ import annotations

from typing import Any

# The mean is of all steps at first, and then counts later ones more, as if it were of so many; before
# that, gradients fall too fast to be compared.
_USUAL_STEPS = 100


def add_counters(optimizer: Any) -> None:
    """Gives a built optimizer the two last variables that ``skip_exploded`` needs."""
    optimizer.add_variable((), name="usual_norm")
    optimizer.add_variable((), dtype="int32", name="skipped_steps")


def skip_exploded(
    before: tuple[list[Any], list[Any]],
    after: tuple[list[Any], list[Any]],
    norm: Any,
    limit: float,
) -> tuple[list[Any], list[Any], Any]:
    """Weights and optimizer's variables after a step, or where the gradient exploded, all but the
    counts before it; and whether it did.

    ``before``, ``after``: weights and optimizer's variables, of which the first counts all steps. A
    gradient has exploded if its ``norm`` is no number or more than ``limit`` times the usual one.
    """
    import jax.numpy as jnp

    (old_weights, (old_count, *old_slots, usual, skipped)), (weights, state) = before, after
    count, slots = state[0], state[1:-2]
    taken = old_count - skipped
    too_long = (taken >= _USUAL_STEPS) & (norm > limit * usual)
    exploded = too_long | ~jnp.isfinite(norm)

    def choose(old: list[Any], new: list[Any]) -> list[Any]:
        return [jnp.where(exploded, *pair) for pair in zip(old, new, strict=True)]

    share = 1 / jnp.minimum(taken + 1, _USUAL_STEPS).astype(norm.dtype)
    usual = jnp.where(exploded, usual, usual + share * (norm - usual))
    skipped = skipped + exploded.astype(skipped.dtype)
    state = [count, *choose(old_slots, slots), usual, skipped]
    return choose(old_weights, weights), state, exploded
