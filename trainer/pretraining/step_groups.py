"""Steps that go to the device together: compiled as one call where nothing has to happen between.

A group is either ``size`` steps, ending at a multiple of ``size``, or a single step: so there are
two compiled programs at most, and whatever is due after a step (a logged line, a validation, a
checkpoint, the end) finds exactly that step's weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from trainer.data.batches import Batch

_ON_ACCELERATORS = 10


def default_group_size(device: str) -> int:
    """Steps in one call: an accelerator may end a step before Python has started the next.

    ``device``: what JAX calls it; empty on other backends, which take one step at a time.
    """
    return 1 if device in ("", "cpu") else _ON_ACCELERATORS


def group_batches(
    batches: Iterable[Batch], size: int, steps: int, due_every: Sequence[int | None]
) -> Iterator[list[Batch]]:
    """Splits the batches of consecutive steps, the last of which is ``steps`` - 1, into groups."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == group_length(group[0].step, size, steps, due_every):
            yield group
            group = []


def group_length(done: int, size: int, steps: int, due_every: Sequence[int | None]) -> int:
    """How many steps to do at once after ``done``: ``size``, or 1.

    >>> [group_length(done, 4, 22, [10]) for done in (0, 4, 8, 9, 12, 16, 20)]
    [4, 4, 1, 1, 4, 4, 1]
    """
    end = done + size
    whole = done % size == 0 and end <= steps
    # Something is due before the group's end if a multiple lies inside.
    return size if whole and all((end - 1) // n == done // n for n in due_every if n) else 1
