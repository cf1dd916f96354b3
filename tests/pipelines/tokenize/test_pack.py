"""Packing ``documents``, what all kinds share, and the fill reached on real text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.keyed_random import fold, purpose_key
from pipelines.records.ragged import Ragged, concatenate, offsets_of, row_count, take
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pack import pack_rows
from pipelines.tokenize.pack_documents import fit_decreasing

CLS, SEP = 1, 2


def numbered_documents(lengths, seed=0):
    """Documents whose tokens are all different, so that a token says where it came from."""
    offsets = offsets_of(np.array(lengths, np.int64))
    return {
        "token_ids": Ragged(np.arange(10, 10 + offsets[-1], dtype=np.int32), offsets),
        "doc_ids": fold(purpose_key(seed, "test"), np.arange(len(lengths))),
        "occurrence": np.zeros(len(lengths), np.int64),
    }


def pack(documents, seq_length, **options):
    fields = {"input": (), "vocab": "", "output": "", "seed": 7, "seq_length": seq_length}
    config = TokenizeConfig(**(fields | options))
    return pack_rows(documents, config, cls_id=CLS, sep_id=SEP)


def fill_of(columns, seq_length):
    """The share of the positions that holds a token."""
    return len(columns["token_ids"].values) / (row_count(columns) * seq_length)


def runs_of(columns):
    """For every run: the row's number, the run's doc_id, and its tokens with special tokens."""
    found = []
    lengths, doc_ids, tokens = (columns[k] for k in ("segment_lengths", "doc_ids", "token_ids"))
    for row in range(row_count(columns)):
        at = tokens.offsets[row]
        for run in range(lengths.offsets[row], lengths.offsets[row + 1]):
            end = at + int(lengths.values[run])
            found.append((row, int(doc_ids.values[run]), tokens.values[at:end].tolist()))
            at = end
        assert at == tokens.offsets[row + 1]
    return found


def as_lists(columns):
    """The columns as plain lists, for comparing."""
    return {
        name: (column.values.tolist(), column.offsets.tolist())
        if isinstance(column, Ragged)
        else column.tolist()
        for name, column in columns.items()
    }


def test_documents_worked_by_hand():
    # Sizes with [CLS] and [SEP] in rows of 12: 12 and 5 (a document of 13), 7 and 3.
    columns, counts = pack(numbered_documents([13, 5, 0, 1]), 12)
    by_size = sorted((len(tokens), row) for row, _, tokens in runs_of(columns))
    assert [size for size, _ in by_size] == [3, 5, 7, 12]
    row_of = dict(by_size)
    assert row_of[7] == row_of[5]
    assert len({row_of[12], row_of[7], row_of[3]}) == 3 == row_count(columns)
    runs = {len(tokens): tokens for _, _, tokens in runs_of(columns)}
    assert runs[12] == [CLS, *range(10, 20), SEP]
    assert runs[5] == [CLS, 20, 21, 22, SEP]
    assert counts == {
        "documents_out": 3,
        "documents_dropped_empty": 1,
        "tokens_out": 19,
        "special_tokens": 8,
        "segments": 4,
    }


def test_row_ids_come_from_content_and_order_from_them():
    documents = numbered_documents([30, 4])
    doc_ids, offsets, occurrence = documents["doc_ids"], documents["token_ids"].offsets, [0, 5]
    columns, _ = pack(documents | {"occurrence": np.array(occurrence)}, 12, seed=3)
    expected = []
    for _, doc_id, tokens in runs_of(columns):
        document = doc_ids.tolist().index(doc_id)
        start = tokens[1] - 10 - int(offsets[document])
        key = purpose_key(0, "row")
        expected.append(int(fold(key, doc_ids[document], occurrence[document], start)))
    assert row_count(columns) == 4 == len(expected)
    assert columns["row_id"].tolist() == expected
    ranks = fold(purpose_key(3, "row order"), columns["row_id"])
    assert (ranks[1:] > ranks[:-1]).all()


documents_lengths = st.lists(st.integers(0, 60), max_size=30)


@settings(max_examples=150, deadline=None)
@given(documents_lengths, st.integers(8, 40), st.booleans(), st.integers(0, 5))
def test_documents_lose_nothing(lengths, seq_length, split_to_fill, seed):
    documents = numbered_documents(lengths)
    doc_ids, offsets = documents["doc_ids"], documents["token_ids"].offsets
    columns, counts = pack(documents, seq_length, split_to_fill=split_to_fill, seed=seed)

    seen = []
    pieces = dict.fromkeys(doc_ids.tolist(), 0)
    for _, doc_id, tokens in runs_of(columns):
        content = tokens[1:-1]
        assert tokens[0] == CLS
        assert tokens[-1] == SEP
        assert content == list(range(content[0], content[0] + len(content)))
        document = doc_ids.tolist().index(doc_id)
        assert offsets[document] <= content[0] - 10 <= content[-1] - 10 < offsets[document + 1]
        pieces[doc_id] += 1
        seen += content
    assert sorted(seen) == list(range(10, 10 + sum(lengths)))
    assert columns["token_ids"].lengths.max(initial=0) <= seq_length
    assert len(set(columns["row_id"].tolist())) == row_count(columns)
    used = counts["tokens_out"] + counts["special_tokens"]
    assert used == len(columns["token_ids"].values)
    for length, made in zip(lengths, pieces.values(), strict=True):
        assert made >= -(-length // (seq_length - 2))
        if length <= seq_length - 2 and not split_to_fill:
            assert made == (length > 0)  # a document that fits a row is never cut


@settings(max_examples=60, deadline=None)
@given(documents_lengths, st.integers(8, 40), st.booleans(), st.randoms(use_true_random=False))
def test_documents_do_not_depend_on_input_order(lengths, seq_length, split_to_fill, random):
    documents = numbered_documents(lengths)
    order = list(range(len(lengths)))
    random.shuffle(order)
    shuffled = take(documents, np.array(order, np.int64))
    one, _ = pack(documents, seq_length, split_to_fill=split_to_fill)
    two, _ = pack(shuffled, seq_length, split_to_fill=split_to_fill)
    assert as_lists(one) == as_lists(two)


def test_seed_changes_who_shares_a_row_but_not_the_fill():
    documents = numbered_documents([40] * 40 + [20] * 40)
    together = []
    for seed in (1, 2):
        columns, _ = pack(documents, 64, seed=seed)
        assert row_count(columns) == 40  # 42 + 22
        together.append({tuple(sorted(ids)) for ids in np.split(columns["doc_ids"].values, 40)})
    assert len(together[0] & together[1]) < 10


def test_equal_documents_need_occurrences():
    documents = numbered_documents([5, 5]) | {"doc_ids": np.array([9, 9], np.uint64)}
    columns, _ = pack(documents | {"occurrence": np.array([0, 1])}, 8)
    assert len(set(columns["row_id"].tolist())) == 2
    with pytest.raises(ValueError, match="same doc_id and occurrence"):
        pack(documents, 8)


def best_fit_one_by_one(sizes, capacity):
    """Best fit as it is usually written: the room left in every bin."""
    rooms = []
    for size in sizes:
        fitting = [(room, place) for place, room in enumerate(rooms) if room >= size]
        if fitting:
            rooms[min(fitting)[1]] -= size
        else:
            rooms.append(capacity - size)
    return rooms


def test_fit_decreasing_worked_by_hand():
    assert fit_decreasing(np.array([7, 6, 3, 3, 2]), 10).tolist() == [0, 1, 0, 1, 2]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 30), max_size=80), st.integers(30, 64))
def test_fit_decreasing_equals_best_fit_one_by_one(sizes, capacity):
    sizes = sorted(sizes, reverse=True)
    bins = fit_decreasing(np.array(sizes, np.int64), capacity)
    filled = np.bincount(bins, weights=sizes) if sizes else np.zeros(0)
    assert sorted(capacity - filled) == sorted(best_fit_one_by_one(sizes, capacity))


def test_long_documents_fill_what_the_others_leave():
    # 60 documents too large to share a row of 64, and enough long ones to fill the rest of it.
    documents = numbered_documents([40] * 60 + [500] * 10)
    columns, _ = pack(documents, 64)
    assert (
        fill_of(columns, 64) > 0.96
    )  # uncut, 22 of 64 positions would stay free in 60 of 140 rows
    short_ids = set(documents["doc_ids"][:60].tolist())
    runs = [(doc_id, len(tokens)) for _, doc_id, tokens in runs_of(columns)]
    assert sum(doc_id in short_ids for doc_id, _ in runs) == 60
    # Cuts are worth having: but for the ends of documents no segment is shorter than 8 tokens.
    assert sum(length < 8 + 2 for _, length in runs) <= 10


def test_split_to_fill_also_cuts_documents_that_fit():
    documents = numbered_documents([40] * 1000)
    columns, counts = pack(documents, 64, split_to_fill=True)
    assert fill_of(columns, 64) > 0.999
    assert counts["segments"] > 1000
    # Without the option the best possible is one document a row.
    columns, counts = pack(documents, 64)
    assert row_count(columns) == 1000 == counts["segments"]


def test_token_dtype_is_kept_and_no_documents_make_no_rows():
    documents = numbered_documents([9, 20])
    tokens = documents["token_ids"]
    documents["token_ids"] = Ragged(tokens.values.astype(np.uint16), tokens.offsets)
    columns, _ = pack(documents, 12)
    assert columns["token_ids"].values.dtype == np.uint16
    assert columns["segment_lengths"].values.dtype == np.uint16
    assert columns["doc_ids"].values.dtype == columns["row_id"].dtype == np.uint64
    for lengths in ([], [0, 0]):
        for packing in ("documents", "full"):
            empty, counts = pack(numbered_documents(lengths), 12, packing=packing)
            assert row_count(empty) == counts["documents_out"] == 0
            assert counts["documents_dropped_empty"] == len(lengths)
            assert {k: len(v) for k, v in concatenate([empty, columns]).items()} == dict.fromkeys(
                columns, row_count(columns)
            )


def test_the_longest_row_allowed():
    columns, _ = pack(numbered_documents([100_000]), 65535)
    assert sorted(columns["segment_lengths"].values.tolist()) == [100_000 - 65533 + 2, 65535]


def read_texts(path: Path, most=None):
    with gzip.open(path) as file:
        lines = file.read().split(b"\n")[:most]
    return [json.loads(line)["text"] for line in lines if line]


def tokenized(data_dir, texts):
    tokenizers = pytest.importorskip("tokenizers", reason="pip install bertmill[interop]")
    vocabulary = data_dir / "vocab" / "bert-base-uncased-vocab.txt"
    tokenizer = tokenizers.BertWordPieceTokenizer(str(vocabulary), lowercase=True)
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    offsets = offsets_of(np.array([len(text.ids) for text in encoded]))
    token_ids = np.concatenate([np.array(text.ids, np.int32) for text in encoded])
    return numbered_documents([0] * len(texts)) | {"token_ids": Ragged(token_ids, offsets)}


@pytest.fixture(scope="module")
def some_documents(data_dir):
    """About 3 MB of each corpus, a quarter of one shard in eight."""
    imdb = read_texts(data_dir / "imdb" / "train-00000-of-00008.jsonl.gz", 2500)
    wiki = read_texts(data_dir / "wiki_en" / "wiki-00000-of-00004.jsonl.gz", 180)
    return {"imdb": tokenized(data_dir, imdb), "wiki_en": tokenized(data_dir, wiki)}


@pytest.mark.parametrize("seq_length", [128, 256, 512])
@pytest.mark.parametrize("corpus", ["imdb", "wiki_en"])
def test_fill_on_real_text(some_documents, corpus, seq_length):
    documents = some_documents[corpus]
    columns, counts = pack(documents, seq_length)
    assert fill_of(columns, seq_length) >= 0.999
    # Not one document that fits a row is in two.
    pieces = dict(zip(*np.unique(columns["doc_ids"].values, return_counts=True), strict=True))
    fitting = documents["token_ids"].lengths <= seq_length - 2
    assert all(pieces[doc_id] == 1 for doc_id in documents["doc_ids"][fitting])
    for packing, options in (("full", {}), ("documents", {"split_to_fill": True})):
        other, other_counts = pack(documents, seq_length, packing=packing, **options)
        assert fill_of(other, seq_length) > 0.999
        total = len(documents["token_ids"].values)
        assert other_counts["tokens_out"] == counts["tokens_out"] == total


@pytest.mark.long
@pytest.mark.parametrize("corpus", ["imdb", "wiki_en"])
def test_fill_on_whole_corpora_in_eight_shards(data_dir, corpus):
    texts = [t for path in sorted((data_dir / corpus).glob("*.gz")) for t in read_texts(path)]
    documents = tokenized(data_dir, texts)
    shards = documents["doc_ids"] % np.uint64(8)
    parts = [take(documents, np.flatnonzero(shards == shard)) for shard in range(8)]
    for seq_length in (128, 256, 512):
        for split_to_fill in (False, True):
            packed = [pack(part, seq_length, split_to_fill=split_to_fill) for part in parts]
            tokens_out = sum(counts["tokens_out"] for _, counts in packed)
            assert tokens_out == len(documents["token_ids"].values)
            assert fill_of(concatenate([columns for columns, _ in packed]), seq_length) > 0.999
