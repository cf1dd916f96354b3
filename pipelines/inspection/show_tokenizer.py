"""What a vocabulary makes of texts: their pieces and ids, and the words that it splits worst."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from tabulate import tabulate

from pipelines.inspection.peer_tokenizers import Peer
from pipelines.text.preset_vocabulary import load_preset_vocabulary
from pipelines.text.unknown_words import count_words, find_unknown, most_frequent
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VocabularySource, is_vocabulary_file, load_vocabulary
from pipelines.text.wordpiece import WordIds
from pipelines.text.words import split_words

_SHOWN = 10


def load_tokenizer(path: str) -> VocabularySource:
    """From a vocab.txt, the output of a stage, or a preset's folder. Raises UserError as they do."""
    return load_vocabulary(path) if is_vocabulary_file(path) else load_preset_vocabulary(path)


def describe_texts(
    texts: Sequence[str], source: VocabularySource, peers: Sequence[Peer] = ()
) -> Iterator[list[str]]:
    """Lines about each text: its pieces above their ids, and where those of ``peers`` differ."""
    for number, text in enumerate(texts):
        numbers, lines = _describe_text(text, source)
        for peer in peers:
            theirs = None if peer.ids is None else peer.ids[number]
            lines += _compare(peer, theirs, numbers, source.vocabulary)
        yield lines


def _describe_text(text: str, source: VocabularySource) -> tuple[list[int], list[str]]:
    """Our ids, and lines about them; an unknown word stands in brackets."""
    ids, vocabulary = WordIds(source.vocabulary), source.vocabulary
    words = split_words(text, lowercase=source.lowercase, strip_accents=source.strip_accents)
    shown, numbers = [], []
    for word in words:
        for i in ids[word]:
            shown.append(f"[UNK]({word})" if i == vocabulary.unk_id else vocabulary.tokens[i])
            numbers.append(i)
    unknown = numbers.count(vocabulary.unk_id)
    counts = f"{len(words):,} words, {len(numbers):,} pieces, {unknown:,} of them [UNK]"
    return numbers, [text, *_show_ids(shown, numbers, "  "), f"  {counts}"]


def _show_ids(pieces: Sequence[str], ids: Sequence[int], indent: str) -> list[str]:
    return [f"{indent}pieces: {' '.join(pieces)}", f"{indent}ids:    {' '.join(map(str, ids))}"]


def _compare(
    peer: Peer, theirs: list[int] | None, ours: list[int], vocabulary: Vocabulary
) -> list[str]:
    """Whether a peer's ids are ours, and what they are where they are not."""
    if theirs is None:
        return [f"  {peer.name}: {peer.problem}"]
    if theirs == ours:
        return [f"  {peer.name}: the same"]
    first = [a == b for a, b in zip_longest(theirs, ours)].index(False)
    tokens = vocabulary.tokens
    pieces = [tokens[i] if 0 <= i < len(tokens) else "?" for i in theirs]
    return [
        f"  {peer.name} differs from piece {first + 1} on:",
        *_show_ids(pieces, theirs, "    "),
    ]


def measure_words(
    texts: Iterable[str], source: VocabularySource
) -> tuple[dict[str, Any], list[str]]:
    """How the words of a sample are split: figures by name, and tables of the worst of them."""
    vocabulary = source.vocabulary
    words = count_words(texts, lowercase=source.lowercase, strip_accents=source.strip_accents)
    unknown = find_unknown(words, vocabulary)
    ids, total = WordIds(vocabulary), max(1, words.total())
    pieces = {word: len(ids[word]) for word in words}
    figures = {
        "words in the sample": words.total(),
        "distinct words": len(words),
        "pieces per word": sum(count * pieces[word] for word, count in words.items()) / total,
        "[UNK] words": unknown.total(),
        "[UNK] of all words": f"{unknown.total() / total:.2%}",
    }
    longest = {word: count * (pieces[word] - 1) for word, count in words.items()}
    return figures, [
        _table("word that is [UNK]", unknown, words, ids, source),
        _table("word that takes most pieces more", longest, words, ids, source),
    ]


def _table(
    heading: str,
    costs: Mapping[str, int],
    words: Mapping[str, int],
    ids: WordIds,
    source: VocabularySource,
) -> str:
    """The words with the highest costs, ties by the word; empty where none costs anything."""
    worst = most_frequent({word: cost for word, cost in costs.items() if cost}, _SHOWN)
    rows = [
        [word, f"{words[word]:,}", " ".join(source.vocabulary.decode(ids[word]))] for word in worst
    ]
    return tabulate(rows, [heading, "times", "pieces"], disable_numparse=True) if rows else ""
