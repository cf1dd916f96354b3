"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The backend of what the tests run in their own process, whichever of them is first.
os.environ.setdefault("KERAS_BACKEND", "jax")

# No test asserts a time, generated ones neither: machines are slow when they are busy.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

_CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real test data: $BERTMILL_DATA, else ../shared/data beside the checkout."""
    named = os.environ.get("BERTMILL_DATA")
    folder = Path(named) if named else _CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real test data not found: {folder} (set BERTMILL_DATA)")
    return folder
