"""The bucket of the storage emulator of ``tests/conftest.py``, and a stage whose files lie there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.storage import files
from pipelines.tokenize.config import TokenizeConfig

# The fixture rows_dir was made with these.
FIELDS = {"seq_length": 64, "num_shards": 3, "validation_fraction": 0.1}


@pytest.fixture
def bucket(bucket_folder) -> str:
    """A gs:// folder of the test's own."""
    return bucket_folder


@pytest.fixture
def remote(bucket, corpus, vocab_dir) -> TokenizeConfig:
    """The configuration of ``rows_dir`` with everything in the bucket."""
    upload(corpus, f"{bucket}/corpus")
    upload(vocab_dir, f"{bucket}/vocab")
    return TokenizeConfig(
        input=(f"{bucket}/corpus/*.jsonl",),
        vocab=f"{bucket}/vocab",
        output=f"{bucket}/rows",
        **FIELDS,
    )


def upload(source: Path, target: str) -> None:
    for path in sorted(source.iterdir()) if source.is_dir() else [source]:
        if path.name != ".lock":
            files.publish_bytes(files.join(target, path.name), path.read_bytes())


def contents(folder: str) -> dict[str, bytes]:
    """All files but run.json, which tells of one run's times and places, and a local run's lock."""
    return {
        name: files.read_bytes(files.join(folder, name))
        for name in files.names_in(folder)
        if name not in ("run.json", ".lock")
    }
