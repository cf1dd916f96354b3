"""Beam's filesystems for the storage emulator of ``tests/conftest.py``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def bucket(bucket_folder) -> Iterator[str]:
    """A gs:// folder of the test's own."""
    from apache_beam.io.filesystems import FileSystems

    before, FileSystems._pipeline_options = FileSystems._pipeline_options, None
    yield bucket_folder
    FileSystems._pipeline_options = before
