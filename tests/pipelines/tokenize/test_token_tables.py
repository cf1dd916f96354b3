"""Texts as tables of ids: what is kept, cut, dropped and counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents.blocks import make_block
from pipelines.documents.labelled import LabelledText
from pipelines.records.codec import schema_of
from pipelines.records.ragged import Ragged, offsets_of
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.pack import pack_rows
from pipelines.tokenize.token_rules import share_of_repeated_runs
from pipelines.tokenize.token_tables import (
    empty_table,
    encode_documents,
    encode_examples,
    labels_of,
    share_room,
)

VOCABULARY = Vocabulary((*SPECIAL_TOKENS, "a", "b", "c"))
UNK, CLS, SEP, A, B, C = map(VOCABULARY.index.get, ("[UNK]", "[CLS]", "[SEP]", "a", "b", "c"))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(VOCABULARY, lowercase=True, strip_accents=True)


def as_lists(column: Ragged) -> list[list[int]]:
    return [part.tolist() for part in np.split(column.values, column.offsets[1:-1])]


def make_config(**fields) -> TokenizeConfig:
    return TokenizeConfig(input=("x",), vocab="x", output="x", **fields)


def test_documents_are_dropped_by_the_first_reason_that_there_is(encoder):
    runs = {
        "kept": b"a b c a a b",
        "long": b"a b " * 9,
        "unknown": b"d a d d",
        # Six runs of five, of which three are new.
        "repeated_runs": b"a b c a b c a b c a",
        "short": b"d",
    }
    block = make_block([*runs.values()])
    config = make_config(min_tokens=2, max_tokens=12, max_unknown=0.5, max_repeated_runs=0.4)
    table, counts = encode_documents(block, encoder, config)
    assert as_lists(table["token_ids"]) == [[A, B, C, A, A, B]]
    for reason in runs:
        assert counts[f"documents_dropped_{reason}"] == (reason != "kept"), reason
    assert counts["tokens_dropped_long"] == 18
    dropped = sum(n for name, n in counts.items() if name.startswith("tokens_dropped"))
    assert counts["tokens_in"] == 6 + dropped


def test_repeated_runs_are_of_one_document():
    same = list(range(10))
    lists = [same, same, same * 2, [7], [], [3] * 8]
    tokens = Ragged(
        np.array([v for part in lists for v in part], np.uint16),
        offsets_of(np.array([*map(len, lists)])),
    )
    shares = share_of_repeated_runs(tokens)
    assert shares.tolist() == [0, 0, 6 / 16, 0, 0, 3 / 4]


def test_short_documents_are_dropped_and_counted(encoder):
    block = make_block([b"a b", b"d", b"\x01", b"c b a", b"d a d"])
    table, counts = encode_documents(block, encoder, make_config(min_tokens=2))
    assert as_lists(table["token_ids"]) == [[A, B], [C, B, A], [UNK, A, UNK]]
    assert table["token_ids"].values.dtype == np.uint16
    assert table["doc_ids"].tolist() == block.doc_ids[[0, 3, 4]].tolist()
    assert counts == {
        "documents_dropped_no_tokens": 1,
        "documents_dropped_short": 1,
        "tokens_in": 9,
        "tokens_dropped_short": 1,
        "tokens_unknown": 3,
        "documents_with_unknown": 2,
    }


def test_examples_worked_by_hand(encoder):
    # Room for 5 tokens in rows of 8: 4 and 2 become 3 and 2.
    data = [LabelledText("a b c a", "c c", 1.0, "f:1"), LabelledText("b", "", "x", "f:2")]
    table, counts = encode_examples(data, encoder, seq_length=8)
    assert as_lists(table["token_ids"]) == [[A, B, C, C, C], [B]]
    assert as_lists(table["text_lengths"]) == [[3, 2], [1, 0]]
    assert labels_of(table) == ["1", "x"]
    assert table["tokens_cut"].tolist() == [1, 0]
    assert counts == {
        "tokens_in": 7,
        "tokens_dropped_truncated": 1,
        "documents_truncated": 1,
        "tokens_unknown": 0,
        "documents_with_unknown": 0,
    }
    config = TokenizeConfig(input=(), vocab="", output="", packing="examples", seq_length=8)
    assert schema_of(empty_table(config, VOCABULARY)) == schema_of(table)
    table["occurrence"] = np.zeros(2, np.int64)
    rows, counts = pack_rows(table, config, cls_id=CLS, sep_id=SEP)
    assert sorted(as_lists(rows["token_ids"])) == [
        [CLS, A, B, C, SEP, C, C, SEP],
        [CLS, B, SEP, SEP],
    ]
    assert sorted(as_lists(rows["segment_lengths"])) == [[3, 1], [5, 3]]
    assert sorted(labels_of(rows)) == ["1", "x"]
    assert counts == {"documents_out": 2, "tokens_out": 6, "special_tokens": 6, "segments": 4}


def test_unknown_tokens_of_both_texts_are_counted(encoder):
    pairs = [("a d", "d"), ("b", "c"), ("a", "d d")]
    data = [LabelledText(*pair, "x", "f:1") for pair in pairs]
    counts = encode_examples(data, encoder, seq_length=8)[1]
    assert (counts["tokens_unknown"], counts["documents_with_unknown"]) == (4, 2)


@given(st.integers(0, 60), st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1))
def test_room_is_shared_as_the_packers_share_it(room, lengths):
    from trainer.layers.trim_segments import trimmed_lengths

    both = np.array(lengths, np.int64)
    np.testing.assert_array_equal(
        share_room(both, room), trimmed_lengths(both, room, "round_robin")
    )
    one = both[:, :1]
    np.testing.assert_array_equal(share_room(one, room), trimmed_lengths(one, room, "round_robin"))
