"""A bounded look at rows or examples: some whole shards of all splits, one block in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from pipelines.pages.row_figures import PieceFigures, RowFigures, restore
from pipelines.pages.shown_tokens import ShownToken
from pipelines.records.manifest import Manifest, open_shard
from pipelines.records.ragged import Columns, Ragged
from pipelines.records.shards import ShardInfo
from pipelines.text.vocabulary import Vocabulary

# Enough for any figure of rows; some seconds of work.
_SCANNED_BYTES = 96 << 20
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class SampleRow:
    """A row as the model gets it: its documents, each with its ``doc_id``, and what it is called."""

    name: str
    documents: list[tuple[int, list[ShownToken]]]

    @property
    def predicted(self) -> int:
        """How many of its tokens are to be predicted."""
        return sum(token.is_masked for _, tokens in self.documents for token in tokens)


@dataclass
class Scan:
    """What was found in ``rows`` of the ``all_rows`` rows of an output."""

    figures: RowFigures
    all_rows: int
    shards: list[str] = field(default_factory=list)
    cut: bool = False
    samples: list[SampleRow] = field(default_factory=list)

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
                    scan.samples = scan.samples or _decode(rows, vocabulary)
                seen += len(rows["token_ids"])
                if seen >= most:
                    break
            scan.cut |= seen < shard.records
    return scan


def choose_shards(shards: Sequence[ShardInfo], most: int = _SCANNED_BYTES) -> list[ShardInfo]:
    """As many as have about ``most`` bytes, evenly from all, and one at least."""
    if not shards:
        return []
    mean = max(1, sum(shard.bytes for shard in shards) // len(shards))
    places = np.linspace(0, len(shards) - 1, min(len(shards), max(1, most // mean)))
    return [shards[i] for i in sorted(set(places.round().astype(int).tolist()))]


def _decode(rows: Columns, vocabulary: Vocabulary) -> list[SampleRow]:
    """The first row in words, and that with the most documents."""
    names, runs = vocabulary.tokens, rows["segment_lengths"]
    tokens, stood = rows["token_ids"], restore(rows)
    samples = []
    for row in dict.fromkeys([0, int(runs.lengths.argmax())]):
        chosen = {*_list(rows["mask_positions"], row)} if "mask_positions" in rows else {}
        shown = [
            ShownToken(names[seen], names[was] if place in chosen else None)
            for place, (seen, was) in enumerate(
                zip(_list(tokens, row), _list(stood, row), strict=True)
            )
        ]
        ends = np.cumsum(_list(runs, row)).tolist()
        doc_ids = _list(rows["doc_ids"], row) if "doc_ids" in rows else ends
        name = f"{int(rows['row_id'][row]):016x}"
        if "copy" in rows:
            name += f", copy {int(rows['copy'][row])}"
        if "label" in rows:
            name += f", label {bytes(_list(rows['label'], row)).decode(errors='replace')}"
        parts = [shown[a:b] for a, b in pairwise([0, *ends])]
        samples.append(SampleRow(name, list(zip(doc_ids, parts, strict=True))))
    return samples


def _list(column: Ragged, row: int) -> list[int]:
    return column.values[slice(*column.offsets[row : row + 2])].tolist()
