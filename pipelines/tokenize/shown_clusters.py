"""Some clusters of near-duplicates with the beginnings of their documents, for people to judge by.

Which clusters are shown is drawn by their keys, so every worker draws the same from the part that it
sees: the first of all are among the first of each part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, purpose_key
from pipelines.records.ragged import Columns
from pipelines.text.vocabulary import Vocabulary
from pipelines.tokenize.stored_blocks import StoredDocuments

# How many clusters are shown, how many of the documents that each of them lost, and their tokens.
_CLUSTERS, _MEMBERS, _TOKENS = 20, 3, 128


@dataclass(frozen=True)
class ClusterPart:
    """What one worker knows of a cluster, which is named by the document that stays.

    ``size``: its documents, 0 where it is not known here; ``texts``: how some of them begin, by their
    ``doc_ids``.
    """

    kept: int
    size: int = 0
    texts: Mapping[int, str] = field(default_factory=dict)


def choose_documents(labels: Columns) -> Columns:
    """The links, from ``label``, of documents to show, and one of each kept document to itself."""
    kept = _first(np.unique(labels["other"]))
    chosen = np.isin(labels["other"], kept)
    at, other = labels["at"][chosen], labels["other"][chosen]
    order = np.lexsort((at, other))
    at, other = at[order], other[order]
    place = np.arange(len(other)) - np.searchsorted(other, other)
    few = place < _MEMBERS
    return {"at": np.append(kept, at[few]), "other": np.append(kept, other[few])}


def sized_clusters(kept: NDArray[np.uint64], sizes: NDArray[np.int64]) -> list[ClusterPart]:
    """The sizes of the clusters to show of these."""
    shown = np.isin(kept, _first(kept))
    return [
        ClusterPart(name, size)
        for name, size in zip(kept[shown].tolist(), sizes[shown].tolist(), strict=True)
    ]


def begin_texts(
    documents: StoredDocuments, links: Columns, vocabulary: Vocabulary
) -> list[ClusterPart]:
    """How the documents of a shard begin that ``links`` name, for the first of its clusters."""
    chosen = np.isin(links["other"], _first(np.unique(links["other"])))
    at, other = links["at"][chosen], links["other"][chosen]
    doc_ids, places = np.unique(documents.index["doc_ids"], return_index=True)
    found = places[np.searchsorted(doc_ids, at)]
    tokens = documents.take(found, "token_ids")["token_ids"]
    begins = tokens.take_starts(np.arange(len(tokens)), np.minimum(tokens.lengths, _TOKENS))
    parts = []
    for i, (doc_id, kept) in enumerate(zip(at.tolist(), other.tolist(), strict=True)):
        text = _join(begins.values[begins.offsets[i] : begins.offsets[i + 1]], vocabulary)
        if begins.lengths[i] < tokens.lengths[i]:
            text = text.rpartition(" ")[0] or text  # the last word may be cut
        parts.append(ClusterPart(kept, texts={doc_id: text}))
    return parts


def list_clusters(parts: Iterable[ClusterPart]) -> Iterator[dict[str, Any]]:
    """The clusters that are shown, largest first: their size, the document that stays and some others.

    One that was too long a chain to be tied together has no size, and is left out.
    """
    sizes: dict[int, int] = {}
    texts: dict[int, dict[int, str]] = {}
    for part in parts:
        if part.size:
            sizes[part.kept] = part.size
        texts.setdefault(part.kept, {}).update(part.texts)
    known = sorted(kept for kept in sizes if kept in texts[kept])
    shown = _first(np.array(known, np.uint64)).tolist()
    for kept in sorted(shown, key=lambda kept: (-sizes[kept], kept)):
        members = sorted(texts[kept].keys() - {kept})[:_MEMBERS]
        yield {
            "documents": sizes[kept],
            "kept": _document(kept, texts[kept]),
            "dropped": [_document(doc_id, texts[kept]) for doc_id in members],
        }


def _first(clusters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The clusters to show, of distinct ones."""
    draw = fold(purpose_key(0, "shown clusters"), clusters)
    return clusters[np.argsort(draw, kind="stable")[:_CLUSTERS]]


def _document(doc_id: int, texts: Mapping[int, str]) -> dict[str, str]:
    return {"doc_id": f"{doc_id:016x}", "text": texts[doc_id]}


def _join(ids: NDArray[np.integer], vocabulary: Vocabulary) -> str:
    return " ".join(vocabulary.decode(ids)).replace(f" {vocabulary.suffix_indicator}", "")
