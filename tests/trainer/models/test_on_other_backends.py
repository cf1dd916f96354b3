"""Every check of ``checks/`` on TensorFlow and Torch."""

from __future__ import annotations

import pytest

from tests.trainer.models.outcomes import GUIDES, MODELS, assert_passed, names_of

_TORCH = pytest.param("torch", marks=pytest.mark.long)


@pytest.mark.parametrize("name", names_of(*MODELS))
@pytest.mark.parametrize("backend", ["tensorflow", _TORCH])
def test_on_backend(backend: str, name: str) -> None:
    assert_passed(backend, MODELS, name)


@pytest.mark.long
@pytest.mark.parametrize("name", names_of(*GUIDES))
@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_guides_on_backend(backend: str, name: str) -> None:
    assert_passed(backend, GUIDES, name)
