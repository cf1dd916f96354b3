"""Grouping steps: every step once, whole groups wherever nothing is due inside."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from trainer.pretraining.step_groups import default_group_size, group_batches, group_length

every = st.one_of(st.none(), st.integers(1, 40))


@given(st.integers(0, 30), st.integers(1, 9), st.integers(1, 120), st.lists(every, max_size=3))
def test_groups_hold_every_step_once_and_end_where_something_is_due(done, size, more, due_every):
    steps = done + more
    batches = [SimpleNamespace(step=step) for step in range(done, steps)]
    groups = list(group_batches(batches, size, steps, due_every))
    assert [batch for group in groups for batch in group] == batches
    assert {len(group) for group in groups} <= {1, size}
    ends = {group[-1].step + 1 for group in groups}
    for n in filter(None, due_every):
        assert {step for step in range(done + 1, steps + 1) if step % n == 0} <= ends
    assert steps in ends
    if size > 1 and not any(due_every):
        # Single steps only before the first and after the last multiple of the size.
        singles = [group[0].step for group in groups if len(group) == 1]
        inner = range(-(-done // size) * size, steps // size * size)
        assert not set(singles) & set(inner)


def test_accelerators_take_several_steps_at_once():
    assert [default_group_size(device) for device in ("", "cpu", "NVIDIA H100", "TPU v5e")] == [
        *(1, 1),
        *(10, 10),
    ]


def test_where_it_matters():
    assert [group_length(done, 5, 100, [10, None, 25]) for done in (0, 5, 20, 22, 95)] == [
        5
    ] * 3 + [
        1,
        5,
    ]
    assert group_length(20, 10, 100, [25]) == 1
    assert group_length(95, 10, 100, []) == 1
