"""Token blocks in files: what is stored is what is read, whatever is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records.ragged import offsets_of
from pipelines.tokenize.stored_blocks import (
    BlockFile,
    StoredDocuments,
    TokenBlock,
    join_blocks,
)


def make_block(lengths: list[int], dtype: str = "uint16", start: int = 0) -> TokenBlock:
    offsets = offsets_of(np.array(lengths, np.int64))
    ids = np.arange(start, start + offsets[-1]).astype(dtype)
    return TokenBlock(ids, offsets, np.arange(len(lengths), dtype=np.uint64) + np.uint64(start * 7))


def same(left: TokenBlock, right: TokenBlock) -> bool:
    return (
        left.token_ids.dtype == right.token_ids.dtype
        and np.array_equal(left.token_ids, right.token_ids)
        and np.array_equal(left.offsets, right.offsets)
        and np.array_equal(left.doc_ids, right.doc_ids)
    )


@given(
    blocks=st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=5),
    dtype=st.sampled_from(["uint16", "uint32"]),
    draw=st.randoms(use_true_random=False),
)
def test_any_documents_in_any_order(tmp_path_factory, blocks, dtype, draw):
    folder = str(tmp_path_factory.mktemp("blocks"))
    made = [make_block(lengths, dtype, 100 * i) for i, lengths in enumerate(blocks)]
    files = [BlockFile(folder), BlockFile(folder)]
    stored = StoredDocuments([files[i % 2].append(block) for i, block in enumerate(made)])
    for file in files:
        file.close()
    whole = join_blocks(made)
    assert np.array_equal(stored.doc_ids, whole.doc_ids)
    assert np.array_equal(stored.lengths, np.diff(whole.offsets))
    order = list(range(len(whole)))
    draw.shuffle(order)
    for chosen in (order, order[: len(order) // 2], sorted(order), []):
        wanted = np.array(chosen, np.int64)
        assert same(stored.take(wanted), whole.take(wanted))


def test_a_file_that_nothing_was_written_to_does_not_exist(tmp_path):
    BlockFile(str(tmp_path)).close()
    assert not list(tmp_path.iterdir())


def test_what_was_lost_from_the_disk_is_an_error(tmp_path):
    file = BlockFile(str(tmp_path))
    stored = file.append(make_block([3, 4]))
    file.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="mmap"):
        StoredDocuments([stored]).take(np.arange(2))
