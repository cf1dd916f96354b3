"""Packing ``full``: the stream, cut and closed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.records.ragged import Ragged, offsets_of, row_count
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pack import pack_rows

CLS, SEP = 1, 2


def pack_full(lengths, seq_length):
    offsets = offsets_of(np.array(lengths, np.int64))
    table = {
        "token_ids": Ragged(np.arange(10, 10 + offsets[-1], dtype=np.int32), offsets),
        "doc_ids": np.arange(len(lengths), dtype=np.uint64) + 100,
        "occurrence": np.zeros(len(lengths), np.int64),
    }
    config = TokenizeConfig(input=(), vocab="", output="", packing="full", seq_length=seq_length)
    columns, counts = pack_rows(table, config, cls_id=CLS, sep_id=SEP)
    rows = []
    for row in range(row_count(columns)):
        pieces = [
            columns[name].values[columns[name].offsets[row] : columns[name].offsets[row + 1]]
            for name in ("token_ids", "segment_lengths", "doc_ids")
        ]
        rows.append(tuple(piece.tolist() for piece in pieces))
    return sorted(rows, key=lambda row: row[0][1]), counts  # back in the order of the stream


def test_two_documents_worked_by_hand():
    rows, counts = pack_full([4, 5], 8)
    assert rows == [
        ([CLS, 10, 11, 12, 13, SEP, 14, SEP], [6, 2], [100, 101]),
        ([CLS, 15, 16, 17, 18, SEP], [6], [101]),
    ]
    assert (counts["special_tokens"], counts["segments"]) == (5, 3)


def test_a_document_that_ends_with_its_row_needs_no_other_separator():
    rows, _ = pack_full([6, 2], 8)
    assert [row[0] for row in rows] == [
        [CLS, 10, 11, 12, 13, 14, 15, SEP],
        [CLS, 16, 17, SEP],
    ]


def test_a_document_that_ends_one_early_leaves_the_row_one_short():
    rows, _ = pack_full([5, 0, 2], 8)
    assert [row[0] for row in rows] == [[CLS, 10, 11, 12, 13, 14, SEP], [CLS, 15, 16, SEP]]
    assert rows[1][2] == [102]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=30), st.integers(8, 40))
def test_the_stream_can_be_put_together_again(lengths, seq_length):
    rows, counts = pack_full(lengths, seq_length)
    documents = {}
    for number, (tokens, runs, doc_ids) in enumerate(rows):
        assert tokens[0] == CLS
        assert len(tokens) <= seq_length
        assert len(tokens) >= seq_length - 1 or number == len(rows) - 1
        assert sum(runs) == len(tokens)
        assert len(set(doc_ids)) == len(doc_ids)
        at = 1  # after [CLS], which belongs to the first run
        for run, doc_id in zip(runs, doc_ids, strict=True):
            end = at + run - (at == 1)
            assert tokens[end - 1] == SEP
            documents.setdefault(doc_id, []).extend(tokens[at : end - 1])
            at = end
    begins = np.cumsum([10, *lengths]).tolist()
    expected = {
        100 + i: list(range(begins[i], begins[i + 1])) for i, length in enumerate(lengths) if length
    }
    assert documents == expected
    assert list(documents) == sorted(documents)  # the stream keeps the order of the shard
    assert counts["documents_dropped_empty"] == lengths.count(0)
    assert counts["documents_out"] == len(documents)
