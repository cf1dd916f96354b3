"""Every check of ``checks/`` on TensorFlow and Torch."""

from __future__ import annotations

import pytest

from tests.trainer.models.outcomes import MODELS, assert_passed, names_of


@pytest.mark.parametrize("name", names_of(*MODELS))
@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("torch", marks=pytest.mark.long)])
def test_on_backend(backend: str, name: str) -> None:
    assert_passed(backend, MODELS, name)
