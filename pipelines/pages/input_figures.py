"""A sample of the input that an output was made from: its words, and those that are unknown."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.documents.blocks import DocumentBlock
from pipelines.documents.config import InputFormat
from pipelines.documents.sample import sample_blocks
from pipelines.errors import UserError
from pipelines.pages.lineage import Made
from pipelines.storage import files
from pipelines.text.unknown_words import count_words, find_unknown, most_frequent
from pipelines.text.vocabulary import Vocabulary

_SHOWN_WORDS = 20
_SHOWN_SOURCES = 3


@dataclass(frozen=True)
class UnknownWord:
    """A word that is [UNK], how often it was met, and in which documents of which files."""

    word: str
    times: int
    sources: list[tuple[str, int]]


@dataclass
class InputFigures:
    """A sample of documents; ``problem`` says why there is none."""

    blocks: list[DocumentBlock] = field(default_factory=list)
    documents: int = 0
    unknown: list[UnknownWord] = field(default_factory=list)
    problem: str = ""


def look_at_input(made: Made, vocabulary: Vocabulary) -> InputFigures:
    """A sample of what ``made``, of stage vocab or tokenize, was made from."""
    config, facts = made.manifest.config, made.manifest.facts
    reads = made.record.get("reads")
    paths = reads.get("input") if isinstance(reads, dict) else None
    if not paths or config.get("packing") == "examples":
        return InputFigures(problem="no documents are known to have been read")
    found = InputFigures()
    sources: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    totals: Counter[str] = Counter()
    try:
        for path, block in sample_blocks(files.match(paths), _input_format(config)):
            found.blocks.append(block)
            found.documents += len(block)
            for doc_id, unknown in _unknown_by_document(block, vocabulary, facts):
                totals.update(unknown)
                for word in unknown:
                    if len(sources[word]) < _SHOWN_SOURCES:
                        sources[word].append((path, doc_id))
    except (UserError, OSError) as error:
        return InputFigures(problem=f"the input cannot be read now: {error}")
    shown = most_frequent(totals, _SHOWN_WORDS)
    found.unknown = [UnknownWord(word, times, sources[word]) for word, times in shown.items()]
    return found


def _unknown_by_document(
    block: DocumentBlock, vocabulary: Vocabulary, facts: Mapping[str, Any]
) -> Iterator[tuple[int, Counter[str]]]:
    """The ``doc_id`` and the unknown words of each document that has some."""
    folding = {name: bool(facts[name]) for name in ("lowercase", "strip_accents")}
    if not find_unknown(count_words(block.texts(), **folding), vocabulary):
        return
    for text, doc_id in zip(block.texts(), block.doc_ids.tolist(), strict=True):
        unknown = find_unknown(count_words([text], **folding), vocabulary)
        if unknown:
            yield doc_id, unknown


def _input_format(config: Mapping[str, Any]) -> InputFormat:
    """How the documents were read, without the rules of which were kept."""
    names = {"input_format", "text_field", "document_boundary"}
    return InputFormat(**{name: config[name] for name in names if name in config})
