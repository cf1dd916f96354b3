"""Texts to tables of token ids: what is cut by shard, stored and packed.

Every table has a row a document: ragged ``token_ids`` (no special tokens, as narrow as the
vocabulary allows) and ``doc_ids`` uint64. Labelled documents have three columns more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.documents.blocks import DocumentBlock
from pipelines.documents.labelled import LabelledText, as_class_name
from pipelines.records.codec import token_dtype
from pipelines.records.ragged import Columns, Ragged, join_lists, offsets_of, take
from pipelines.text.vocabulary import Vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.token_rules import refuse_documents


def empty_table(config: TokenizeConfig, vocabulary: Vocabulary) -> Columns:
    """A table without documents: gives a shard that nothing fell into its columns."""
    table: Columns = {
        "token_ids": Ragged.empty(token_dtype(vocabulary.size)),
        "doc_ids": np.zeros(0, np.uint64),
    }
    if config.packing == "examples":
        table |= {
            "text_lengths": Ragged.empty(np.int64),
            "label": Ragged.empty(np.uint8),
            "tokens_cut": np.zeros(0, np.uint32),
        }
    return table


def encode_documents(
    documents: DocumentBlock, encoder: Encoder, config: TokenizeConfig
) -> tuple[Columns, Counter[str]]:
    """The table of the documents that the rules on tokens keep, and the counts of all."""
    tokens = Ragged(*encoder.encode_block(documents.text, documents.offsets))
    lengths = tokens.lengths
    counts = Counter(tokens_in=int(lengths.sum()), **_count_unknown(tokens, encoder, len(tokens)))
    kept = np.ones(len(tokens), bool)
    for reason, chosen in refuse_documents(tokens, config, encoder.vocabulary.unk_id).items():
        counts[f"documents_dropped_{reason}"] += int(chosen.sum())
        if reason != "no_tokens":
            counts[f"tokens_dropped_{reason}"] += int(lengths[chosen].sum())
        kept &= ~chosen
    table: Columns = {"token_ids": _narrow(tokens, encoder), "doc_ids": documents.doc_ids}
    return table if kept.all() else take(table, np.flatnonzero(kept)), counts


def encode_examples(
    data: Sequence[LabelledText], encoder: Encoder, seq_length: int
) -> tuple[Columns, Counter[str]]:
    """The table of n labelled texts or pairs of texts, and their counts.

    Its ``token_ids`` are those of both texts that a row of ``seq_length`` can hold, its ``doc_ids``
    the examples' own. More columns: ragged ``text_lengths`` int64 (tokens kept of the one or two
    texts), ragged ``label`` uint8 (UTF-8 of its name) and ``tokens_cut`` uint32.
    """
    sides = [[example.text for example in data], [example.pair or "" for example in data]]
    if not data or data[0].pair is None:
        del sides[1]
    width = len(sides)
    texts = join_lists([Ragged(*encoder.encode(side)) for side in sides])  # firsts, then seconds
    lengths = texts.lengths.reshape(width, -1).T
    kept = share_room(lengths, seq_length - 1 - width)
    tokens_cut = (lengths - kept).sum(axis=1)
    by_example = np.arange(len(texts)).reshape(width, -1).T.reshape(-1)
    tokens = _narrow(texts.take_starts(by_example, kept.reshape(-1)), encoder)
    table: Columns = {
        "token_ids": Ragged(tokens.values, tokens.offsets[::width]),
        "doc_ids": np.array([example.example_id() for example in data], np.uint64),
        "text_lengths": Ragged(kept.reshape(-1), np.arange(len(data) + 1) * width),
        "label": _join_names([as_class_name(example.label) for example in data]),
        "tokens_cut": tokens_cut.astype(np.uint32),
    }
    return table, Counter(
        tokens_in=int(lengths.sum()),
        tokens_dropped_truncated=int(tokens_cut.sum()),
        documents_truncated=int((tokens_cut > 0).sum()),
        **_count_unknown(texts, encoder, len(data)),
    )


def _count_unknown(texts: Ragged, encoder: Encoder, documents: int) -> dict[str, int]:
    """How many tokens are [UNK], and in how many documents: text i belongs to i modulo their number."""
    unknown = np.flatnonzero(texts.values == encoder.vocabulary.unk_id)
    owners = (np.searchsorted(texts.offsets, unknown, side="right") - 1) % max(1, documents)
    return {"tokens_unknown": len(unknown), "documents_with_unknown": len(np.unique(owners))}


def _narrow(tokens: Ragged, encoder: Encoder) -> Ragged:
    return Ragged(tokens.values.astype(token_dtype(encoder.vocabulary.size)), tokens.offsets)


def labels_of(columns: Columns) -> list[str]:
    """The label of each row, as text."""
    label = columns["label"]
    data = label.values.tobytes()
    return [data[a:b].decode() for a, b in pairwise(label.offsets.tolist())]


def rank_labels(columns: Columns) -> NDArray[np.int64]:
    """int64[n]: the rank of each row's label among all labels in alphabetical order."""
    labels = np.array(labels_of(columns), np.str_)
    return np.unique(labels, return_inverse=True)[1].reshape(-1)


def _join_names(names: Sequence[str]) -> Ragged:
    encoded = [name.encode() for name in names]
    lengths = np.array([len(name) for name in encoded], np.int64)
    return Ragged(np.frombuffer(b"".join(encoded), np.uint8), offsets_of(lengths))


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
    halves = np.array([room - room // 2, room // 2])
    return np.minimum(lengths, np.maximum(halves, room - lengths[:, ::-1]))
