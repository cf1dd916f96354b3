"""Every check of ``checks/`` on JAX, and what JAX alone must do without TensorFlow."""

from __future__ import annotations

import pytest

from tests.trainer.models.outcomes import GUIDES, MODELS, assert_passed, names_of

_ALL = (*MODELS, *GUIDES)


@pytest.mark.parametrize("name", names_of(*_ALL))
def test_on_jax(name: str) -> None:
    assert_passed("jax", _ALL, name)


def test_jax_needs_no_tensorflow() -> None:
    assert_passed("jax-without-tensorflow", ("without_tensorflow",), "check_without_tensorflow")
