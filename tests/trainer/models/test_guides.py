"""The guides and class pages of KerasNLP on every backend that is installed."""

from __future__ import annotations

import pytest

from tests.trainer.models.outcomes import GUIDES, assert_passed, names_of

_LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("tensorflow", "torch")]


@pytest.mark.parametrize("name", names_of(*GUIDES))
@pytest.mark.parametrize("backend", ["jax", *_LONG])
def test_guide(backend: str, name: str) -> None:
    assert_passed(backend, GUIDES, name)
