"""The manifest of a small output, for tests that need no rows."""

from __future__ import annotations

from pipelines.records.codec import Field
from pipelines.records.manifest import Manifest
from pipelines.records.shards import ShardInfo

SHARD = "train-00000-of-00001.tfrecord"
MADE = Manifest(
    stage="tokenize",
    config={"seed": 1},
    counts={"rows": 5},
    facts={
        "format": "tfrecord",
        "seq_length": 8,
        "packing": "documents",
        "lowercase": True,
        "strip_accents": True,
        "vocabulary": {"size": 9, "fingerprint": "0" * 64},
    },
    schema=(
        Field("row_id", "uint64"),
        Field("token_ids", "uint16", True),
        Field("segment_lengths", "uint16", True),
    ),
    splits={"train": (ShardInfo(SHARD, 5, 100, "0" * 64),)},
)
