"""A bounded look at rows or examples: some whole shards of all splits, one block in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.documents.sample import choose_evenly
from pipelines.inspection.show_rows import ShownRow, decode_row
from pipelines.pages.row_figures import PieceFigures, RowFigures
from pipelines.records.manifest import Manifest, open_shard
from pipelines.records.shards import ShardInfo
from pipelines.text.vocabulary import Vocabulary

# Enough for any figure of rows; some seconds of work.
_SCANNED_BYTES = 96 << 20
_ROWS_AT_ONCE = 1024


@dataclass
class Scan:
    """What was found in ``rows`` of the ``all_rows`` rows of an output."""

    figures: RowFigures
    all_rows: int
    shards: list[str] = field(default_factory=list)
    cut: bool = False
    samples: list[ShownRow] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether all rows were looked at."""
        return self.figures.rows == self.all_rows


def scan_rows(folder: str, manifest: Manifest, vocabulary: Vocabulary) -> Scan:
    """Looks at an output of tokenize or mask. Raises DamagedShardError (a UserError)."""
    pieces = PieceFigures(vocabulary)
    figures = RowFigures(pieces, manifest.facts["seq_length"], vocabulary.unk_id)
    shards = manifest.shards()
    scan = Scan(figures, sum(shard.records for shard in shards))
    for shard in choose_shards(shards):
        scan.shards.append(shard.name)
        # A shard of which there is no end: its rows are in random order.
        most = max(1, shard.records * _SCANNED_BYTES // max(_SCANNED_BYTES, shard.bytes))
        with open_shard(folder, manifest, shard) as reader:
            seen = 0
            for rows in reader.in_order(_ROWS_AT_ONCE):
                if len(rows["token_ids"]):
                    figures.add(rows)
                    if not scan.samples:  # the first row, and that with the most documents
                        chosen = sorted({0, int(rows["segment_lengths"].lengths.argmax())})
                        scan.samples = [decode_row(rows, row, vocabulary) for row in chosen]
                seen += len(rows["token_ids"])
                if seen >= most:
                    break
            scan.cut |= seen < shard.records
    return scan


def choose_shards(shards: Sequence[ShardInfo], most: int = _SCANNED_BYTES) -> list[ShardInfo]:
    """As many as have about ``most`` bytes, evenly from all, and one at least."""
    mean = max(1, sum(shard.bytes for shard in shards) // max(1, len(shards)))
    return choose_evenly(shards, max(1, most // mean))
