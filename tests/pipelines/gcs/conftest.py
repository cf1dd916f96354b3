"""The bucket of the storage emulator of ``tests/conftest.py``."""

from __future__ import annotations

import pytest


@pytest.fixture
def bucket(bucket_folder) -> str:
    """A gs:// folder of the test's own."""
    return bucket_folder
