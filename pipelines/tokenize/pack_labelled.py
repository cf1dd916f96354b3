"""Labelled examples as rows, one a document: what fine-tuning reads instead of raw text.

``encode_examples`` is a pure function of each example; ``build_examples`` puts a shard's examples into
the one order that their content decides. A row holds what the text classifier's preprocessor gives:
[CLS] first [SEP], or [CLS] first [SEP] second [SEP], the longer text cut first where it is too long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.documents.labelled import LabelledTexts, as_class_name
from pipelines.keyed_random import fold, purpose_key
from pipelines.records.codec import token_dtype
from pipelines.records.ragged import Columns, Ragged, concatenate, offsets_of, take
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.shard import count_occurrences

# Characters encoded at a time.
_SLICE = 1 << 19


def encode_examples(
    data: LabelledTexts, encoder: Encoder, seq_length: int
) -> tuple[Columns, Counter[str]]:
    """The rows of labelled texts, in their order, and the counts of what became of them.

    Examples without any text are dropped. Columns: ragged ``token_ids`` (special tokens included, at
    most ``seq_length``), ``segment_lengths`` uint16 (one or two runs, special tokens included),
    ``doc_ids`` uint64 (the example's id, for each run), ``label`` uint8 (UTF-8 of its name); and
    ``tokens_cut`` uint32.
    """
    counts = Counter(documents_in=len(data))
    empty = data.empty()
    counts["documents_dropped_empty"] = len(empty)
    data = data.select(np.setdiff1d(np.arange(len(data)), empty))
    texts = [data.texts] if data.pairs is None else [data.texts, data.pairs]
    segments = [_encode(part, encoder) for part in texts]
    lengths = np.stack([segment.lengths for segment in segments], axis=1)
    kept = share_room(lengths, seq_length - 1 - len(segments))
    cut = (lengths - kept).sum(axis=1)
    labels = [as_class_name(label).encode() for label in data.labels or []]
    columns: Columns = {
        "token_ids": _join_segments(segments, kept, encoder),
        "segment_lengths": _runs((kept + 1 + (np.arange(len(segments)) == 0)).astype(np.uint16)),
        "doc_ids": _runs(np.repeat(data.ids()[:, None], len(segments), axis=1)),
        "label": Ragged(
            np.frombuffer(b"".join(labels), np.uint8),
            offsets_of(np.array([len(label) for label in labels], np.int64)),
        ),
        "tokens_cut": cut.astype(np.uint32),
    }
    counts["tokens_in"] = int(lengths.sum())
    counts["tokens_dropped_truncated"] = int(cut.sum())
    counts["documents_truncated"] = int((cut > 0).sum())
    return columns, counts


def share_room(lengths: NDArray[np.int64], room: int) -> NDArray[np.int64]:
    """int64[n, 1 or 2]: how many tokens of one or two texts are kept where ``room`` is for both.

    Each may have half (the first the odd one), and what the other leaves. The same as
    ``round_robin`` of KerasNLP's packers.

    >>> share_room(np.array([[6, 4], [1, 9]]), 5)
    array([[3, 2],
           [1, 4]])
    """
    if lengths.shape[1] == 1:
        return np.minimum(lengths, room)
    other = lengths[:, ::-1]
    halves = np.array([room - room // 2, room // 2])
    return np.minimum(lengths, np.maximum(halves, room - other))


def build_examples(blocks: Sequence[Columns], seed: int) -> tuple[Columns, Counter[str]]:
    """All examples of a shard in keyed random order, each with a distinct ``row_id``; and counts."""
    columns = concatenate(blocks)
    owners, labels = columns["doc_ids"], labels_of(columns)
    assert isinstance(owners, Ragged)
    doc_ids = owners.values[owners.offsets[:-1]] if len(labels) else owners.values
    # Equal texts with one label are alike; with several, the label decides.
    ranks = np.unique(labels, return_inverse=True)[1].reshape(-1) if labels else np.zeros(0, int)
    order = np.lexsort((ranks, doc_ids))
    row_ids = fold(purpose_key(0, "example"), doc_ids[order], count_occurrences(doc_ids[order]))
    by_key = np.argsort(fold(purpose_key(seed, "row order"), row_ids), kind="stable")
    ordered: Columns = {"row_id": row_ids[by_key], **take(columns, order[by_key])}
    tokens, runs = ordered["token_ids"], ordered["segment_lengths"]
    assert isinstance(tokens, Ragged)
    assert isinstance(runs, Ragged)
    special = len(runs.values) + len(labels)
    counts = Counter(
        documents_out=len(labels),
        tokens_out=len(tokens.values) - special,
        special_tokens=special,
        segments=len(runs.values),
    )
    return ordered, counts


def labels_of(columns: Columns) -> list[str]:
    """The label of each row, as text."""
    label = columns["label"]
    assert isinstance(label, Ragged)
    data, ends = label.values.tobytes(), label.offsets.tolist()
    return [data[a:b].decode() for a, b in zip(ends, ends[1:], strict=False)]


def _encode(texts: list[str], encoder: Encoder) -> Ragged:
    """The ids of texts, some at a time."""
    narrow = token_dtype(encoder.vocabulary.size)
    parts, lengths = [np.zeros(0, narrow)], [np.zeros(0, np.int64)]
    sizes = np.cumsum([len(text) for text in texts]) // _SLICE if texts else np.zeros(0, int)
    bounds = [0, *(np.flatnonzero(np.diff(sizes)) + 1).tolist(), len(texts)]
    for start, stop in zip(bounds, bounds[1:], strict=False):
        if stop > start:
            ids, offsets = encoder.encode(texts[start:stop])
            parts.append(ids.astype(narrow))
            lengths.append(np.diff(offsets))
    return Ragged(np.concatenate(parts), offsets_of(np.concatenate(lengths)))


def _join_segments(segments: list[Ragged], kept: NDArray[np.int64], encoder: Encoder) -> Ragged:
    """[CLS] first [SEP] (second [SEP]), with as many tokens of each text as ``kept`` says."""
    vocabulary = encoder.vocabulary
    offsets = offsets_of(kept.sum(axis=1) + 1 + len(segments))
    values = np.full(offsets[-1], vocabulary.sep_id, token_dtype(vocabulary.size))
    values[offsets[:-1]] = vocabulary.cls_id
    begin = offsets[:-1] + 1
    for segment, lengths in zip(segments, kept.T, strict=True):
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.repeat(begin, lengths) + within
        values[places] = segment.values[np.repeat(segment.offsets[:-1], lengths) + within]
        begin = begin + lengths + 1
    return Ragged(values, offsets)


def _runs(table: NDArray) -> Ragged:
    """A list of one or two values for each row of a table [n, 1 or 2]."""
    return Ragged(table.reshape(-1), np.arange(len(table) + 1) * table.shape[1])
