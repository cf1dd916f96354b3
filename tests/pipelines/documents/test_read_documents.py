"""The books of reading are kept apart from the data, so that both cannot be lost together."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from pipelines.beam.step_times import take_times
from pipelines.documents.blocks import FileRange, read_blocks
from pipelines.documents.config import InputFormat
from pipelines.documents.read_documents import _Read, check_reading


def counts_of(blocks) -> Counter[str]:
    total: Counter[str] = Counter()
    for block in blocks:
        total.update(block.counts)
    return total


def test_a_block_that_is_lost_with_its_counts_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.documents.blocks.BLOCK_BYTES", 10)
    path = tmp_path / "a.txt"
    path.write_text("some words\nand some more\nand more\n")
    read = _Read(partial(read_blocks, options=InputFormat()), None)
    blocks = list(read.process(FileRange(str(path))))
    assert len(blocks) >= 4

    whole = counts_of(blocks)
    check_reading(whole, 1)
    assert set(take_times(whole)) == {"reading"}
    assert set(whole) == {"documents_in", "bytes_in"}
    assert whole["documents_in"] == 3

    for lost in range(len(blocks)):
        rest = blocks[:lost] + blocks[lost + 1 :]
        with pytest.raises(RuntimeError, match="do not balance"):
            check_reading(counts_of(rest), 1)
    with pytest.raises(RuntimeError, match="file ranges do not balance"):
        check_reading(counts_of(blocks), 2)
