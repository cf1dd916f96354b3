"""Token blocks in files: what is stored is what is read, whatever is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records.ragged import Columns, Ragged, concatenate, offsets_of, take
from pipelines.tokenize.stored_blocks import BlockFile, StoredDocuments


def make_table(lengths: list[int], dtype: str = "uint16", start: int = 0) -> Columns:
    """Documents with a label of 0 to 2 bytes, whose ids tell all of them apart."""
    offsets = offsets_of(np.array(lengths, np.int64))
    doc_ids = np.arange(len(lengths), dtype=np.uint64) + np.uint64(start * 7)
    labels = offsets_of(doc_ids.astype(np.int64) % 3)
    return {
        "token_ids": Ragged(np.arange(start, start + offsets[-1]).astype(dtype), offsets),
        "doc_ids": doc_ids,
        "label": Ragged(np.arange(labels[-1]).astype(np.uint8), labels),
    }


def assert_same(left: Columns, right: Columns) -> None:
    assert left.keys() == right.keys()
    for name, column in left.items():
        pairs = [(column, right[name])]
        if isinstance(column, Ragged):
            pairs = [(getattr(column, n), getattr(right[name], n)) for n in ("values", "offsets")]
        for one, other in pairs:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@given(
    blocks=st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=5),
    dtype=st.sampled_from(["uint16", "uint32"]),
    draw=st.randoms(use_true_random=False),
)
def test_any_documents_in_any_order(tmp_path_factory, blocks, dtype, draw):
    folder = str(tmp_path_factory.mktemp("blocks"))
    made = [make_table(lengths, dtype, 100 * i) for i, lengths in enumerate(blocks)]
    files = [BlockFile(folder), BlockFile(folder)]
    stored = StoredDocuments([files[i % 2].append(block) for i, block in enumerate(made)])
    for file in files:
        file.close()
    whole = concatenate(made)
    index = stored.index
    # Lists stay in the file.
    assert index.keys() == {"lengths", "doc_ids"}
    assert np.array_equal(index["doc_ids"], whole["doc_ids"])
    assert np.array_equal(index["lengths"], whole["token_ids"].lengths)
    order = list(range(len(index["lengths"])))
    draw.shuffle(order)
    for chosen in (order, order[: len(order) // 2], sorted(order), []):
        wanted = np.array(chosen, np.int64)
        assert_same(stored.take(wanted), take(whole, wanted))


def test_what_was_lost_from_the_disk_is_an_error(tmp_path):
    file = BlockFile(str(tmp_path))
    stored = file.append(make_table([3, 4]))
    file.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-32])
    with pytest.raises(ValueError, match="buffer is smaller"):
        StoredDocuments([stored]).take(np.arange(2))
