"""Packing ``pairs``: what A and B are, their labels, and that nothing is lost."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.keyed_random import below, fold, purpose_key
from pipelines.records.ragged import Ragged, offsets_of, row_count
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pack import pack_rows

CLS, SEP = 1, 2


def pack_table(table, sentences, **options):
    fields = {"input": (), "vocab": "", "output": "", "packing": "pairs", "seed": 1}
    config = TokenizeConfig(**(fields | options))
    return pack_rows(table, config, cls_id=CLS, sep_id=SEP, sentences=sentences)


def tokens_dropped(counts):
    """The reasons and numbers of tokens dropped."""
    prefix = "tokens_dropped_"
    return {k.removeprefix(prefix): n for k, n in counts.items() if k.startswith(prefix)}


def pack_pairs(documents, seq_length, doc_ids=None, **options):
    """Packs documents given as lists of sentence lengths; every token is different."""
    lengths = [length for document in documents for length in document]
    sentences = offsets_of(lengths)[:-1]
    offsets = offsets_of([sum(document) for document in documents])
    if doc_ids is None:
        doc_ids = fold(purpose_key(0, "test"), np.arange(len(documents)))
    occurrence = np.arange(len(documents)) if len(set(doc_ids)) < len(doc_ids) else 0 * doc_ids
    table = {
        "token_ids": Ragged(np.arange(10, 10 + offsets[-1], dtype=np.int32), offsets),
        "doc_ids": np.array(doc_ids, np.uint64),
        "occurrence": np.array(occurrence, np.int64),
    }
    columns, counts = pack_table(table, sentences, seq_length=seq_length, **options)
    tokens, sides = columns["token_ids"], columns["segment_ids"]
    assert isinstance(tokens, Ragged)
    assert tokens.offsets.tolist() == sides.offsets.tolist()
    rows = []
    for row in range(row_count(columns)):
        own = slice(tokens.offsets[row], tokens.offsets[row + 1])
        ids, side = tokens.values[own], sides.values[own]
        first, second = ids[side == 0].tolist(), ids[side == 1].tolist()
        assert ids.tolist() == first + second
        assert len(ids) <= seq_length
        assert first[0] == CLS
        assert first[-1] == second[-1] == SEP
        a, b = first[1:-1], second[:-1]
        assert a == list(range(a[0], a[0] + len(a)))
        assert b == list(range(b[0], b[0] + len(b)))
        label = int(columns["next_sentence_labels"][row])
        owner = [int(np.searchsorted(offsets, half[0] - 10, side="right")) - 1 for half in (a, b)]
        rows.append(SimpleNamespace(a=a, b=b, label=label, documents=owner))
        assert int(columns["doc_ids"].values[row]) == int(doc_ids[owner[0]])
    assert columns["segment_lengths"].values.tolist() == tokens.lengths.tolist()
    assert columns["segment_lengths"].lengths.tolist() == [1] * len(rows)
    assert len(set(columns["row_id"].tolist())) == len(rows)
    return rows, counts


def drawn_documents(number, sentences, longest, seed=0):
    """Lists of sentence lengths drawn at random."""
    key = purpose_key(seed, "test documents")
    return [
        (1 + below(fold(key, i, np.arange(sentences)), longest)).tolist() for i in range(number)
    ]


def test_one_document_worked_by_hand():
    # Row room for 13 tokens: 4 + 5 + 3 fit, then 6 + 7.
    rows, counts = pack_pairs([[4, 5, 3, 6, 7]], 16, short_seq_prob=0.0)
    rows.sort(key=lambda row: row.a[0])
    assert [row.label for row in rows] == [0, 0]  # no other document to take B from
    assert rows[0].a + rows[0].b == list(range(10, 22))
    assert rows[0].b[0] in (14, 19)
    assert (rows[1].a, rows[1].b) == (list(range(22, 28)), list(range(28, 35)))
    assert [counts[n] for n in ("tokens_out", "special_tokens", "segments")] == [25, 6, 4]


def test_four_documents_exchange_two_by_two():
    rows, _ = pack_pairs([[3, 4]] * 4, 12, short_seq_prob=0.0)
    followers = {row.documents[0]: row.documents[1] for row in rows}
    assert sorted(followers) == sorted(followers.values()) == [0, 1, 2, 3]
    assert sum(row.label for row in rows) == 2
    for row in rows:
        assert row.label == (row.documents[0] != row.documents[1])
        assert (len(row.a), len(row.b)) == (3, 4)


def test_long_sentences_and_lone_sentences_are_cut_not_lost():
    # 30 tokens in rows with room for 9: units of at most 4, two a row.
    rows, counts = pack_pairs([[30]], 12, short_seq_prob=0.0)
    assert sorted(token for row in rows for token in row.a + row.b) == list(range(10, 40))
    assert not tokens_dropped(counts)
    # A document of one sentence is cut in its middle; of one token it cannot be.
    rows, counts = pack_pairs([[4], [1]], 12)
    assert [(row.a, row.b) for row in rows] == [([10, 11], [12, 13])]
    assert tokens_dropped(counts) == {"too_short_for_a_pair": 1}
    assert counts["documents_dropped_too_short_for_a_pair"] == 1


documents_of_sentences = st.lists(st.lists(st.integers(1, 30), max_size=12), max_size=12)


@settings(max_examples=200, deadline=None)
@given(
    documents_of_sentences,
    st.integers(8, 60),
    st.sampled_from(["next_sentence", "sentence_order"]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 5),
)
def test_pairs_lose_nothing_and_say_what_they_are(documents, seq_length, task, short, seed):
    rows, counts = pack_pairs(
        documents, seq_length, pair_task=task, short_seq_prob=short, seed=seed
    )
    seen = [token for row in rows for token in row.a + row.b]
    assert len(set(seen)) == len(seen) == counts["tokens_out"]
    total = sum(map(sum, documents))
    assert set(seen) <= set(range(10, 10 + total))
    assert total - len(seen) == sum(tokens_dropped(counts).values())
    assert set(tokens_dropped(counts)) <= {"too_short_for_a_pair", "truncated"}
    for row in rows:
        if task == "sentence_order":
            one, two = (row.b, row.a) if row.label else (row.a, row.b)
            assert two[0] == one[-1] + 1
            assert row.documents[0] == row.documents[1]
        elif row.label:
            assert row.documents[0] != row.documents[1]
        else:
            assert row.documents[0] == row.documents[1]
            assert row.b[0] == row.a[-1] + 1
    if task == "sentence_order":
        assert "truncated" not in tokens_dropped(counts)


def test_half_of_the_labels_are_random_and_hardly_a_token_is_cut():
    documents = drawn_documents(300, 30, 25)
    rows, counts = pack_pairs(documents, 128)
    labels = np.array([row.label for row in rows])
    assert abs(labels.mean() - 0.5) <= 1 / len(rows)
    assert sum(tokens_dropped(counts).values()) <= counts["tokens_out"] / 1000
    # The lengths do not give the label away: B's are the same ones, so are the rows'.
    b = np.array([len(row.b) for row in rows])
    both = np.array([len(row.a) + len(row.b) for row in rows])
    for lengths in (b, both):
        assert abs(lengths[labels == 1].mean() / lengths[labels == 0].mean() - 1) < 0.06


def test_b_begins_where_a_sentence_does():
    documents = drawn_documents(50, 20, 20)
    begins = set((offsets_of([n for document in documents for n in document]) + 10).tolist())
    rows, _ = pack_pairs(documents, 64)
    assert {row.label for row in rows} == {0, 1}
    # But for a document's last sentence, which may stand alone and is then cut.
    assert np.mean([row.b[0] in begins for row in rows]) > 0.95
    assert all(row.a[0] in begins for row in rows if not row.label)  # else it may be truncated


def test_short_rows_come_at_their_rate():
    documents = drawn_documents(200, 40, 10)
    sizes = {}
    for rate in (0.0, 0.1, 1.0):
        rows, _ = pack_pairs(documents, 128, short_seq_prob=rate)
        sizes[rate] = np.array([len(row.a) + len(row.b) for row in rows])
    # A document's last row is short whatever the rate: about every second here.
    assert (sizes[0.0] > 110).sum() > 200
    assert np.median(sizes[1.0]) < 80 < np.median(sizes[0.1])
    assert (sizes[0.0] > 110).sum() > (sizes[0.1] > 110).sum() > 3 * (sizes[1.0] > 110).sum()


def test_equal_documents_are_not_exchanged():
    rows, _ = pack_pairs([[5, 6]] * 10, 32, doc_ids=np.full(10, 77, np.uint64))
    assert [row.label for row in rows] == [0] * 10


def test_order_labels_are_even():
    rows, _ = pack_pairs(drawn_documents(200, 20, 20), 64, pair_task="sentence_order")
    assert 0.45 < np.mean([row.label for row in rows]) < 0.55


def test_seed_decides_and_repeats():
    documents = drawn_documents(20, 10, 15)
    runs = [pack_pairs(documents, 64, seed=seed)[0] for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_sentences_must_be_given():
    table = {
        "token_ids": Ragged(np.arange(8), np.array([0, 4, 8])),
        "doc_ids": np.array([1, 2], np.uint64),
        "occurrence": np.zeros(2, int),
    }
    with pytest.raises(ValueError, match="needs the positions where sentences begin"):
        pack_table(table, None, seq_length=16)
