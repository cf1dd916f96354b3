"""Counts the words of texts by counting first what stands between white space.

"dog," and "(dog)" are normalised and split once each, however often they occur: white space is where no
character of a text has to do with the next. Arrow counts without Python's lock, so threads count
beside each other.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.text.words import separate_words
from pipelines.vocab.config import VocabConfig

# Counted at a time. The more, the fewer strings occur again in a later part.
COUNTED_BYTES = 32 << 20
_WORDS_AT_ONCE = 1 << 16
# White space to Arrow, but characters to drop to BERT: replaced by another one of these.
_TO_ARROW = bytes.maketrans(b"\x0b\x0c", b"\x01\x01")


class WordCounter:
    """Words of texts, in UTF-8, and how often they occur. No word goes on in the next text."""

    def __init__(self, config: VocabConfig):
        self._how = {
            "lowercase": bool(config.lowercase),
            "strip_accents": bool(config.strip_accents),
        }
        self._parts: list[pa.Array] = []
        self._bytes = 0
        self._words: Counter[bytes] = Counter()

    def __len__(self) -> int:
        """How many distinct words have been found so far, at least."""
        return len(self._words)

    def add(self, text: bytes, offsets: NDArray[np.int64]) -> None:
        """Counts texts in joined UTF-8: text i is ``text[offsets[i]:offsets[i + 1]]``."""
        texts = _strings(text.translate(_TO_ARROW), offsets)
        self._parts.append(pc.ascii_split_whitespace(texts).flatten())
        self._bytes += len(text)
        if self._bytes >= COUNTED_BYTES:
            self._count_parts()

    def take(self) -> Counter[bytes]:
        """The words counted since the beginning, or since this was last called."""
        if self._parts:
            self._count_parts()
        words, self._words = self._words, Counter()
        return words

    def _count_parts(self) -> None:
        strings, times = pa.chunked_array(self._parts).value_counts().flatten()
        self._parts, self._bytes = [], 0
        if not len(strings):  # texts without a word
            return
        lines = pc.split_pattern(self._separate(strings), "\n").flatten()
        words = pc.ascii_split_whitespace(lines)
        table = pa.table(
            {
                "word": words.flatten().cast(pa.large_binary()),
                "times": times.take(pc.list_parent_indices(words)),
            }
        )
        del strings, times, lines, words
        sums = table.group_by("word", use_threads=False).aggregate([("times", "sum")])
        del table
        # Some at a time: as objects of Python they take many times the memory.
        for batch in sums.to_batches(_WORDS_AT_ONCE):
            counted = dict(
                zip(batch["word"].to_pylist(), batch["times_sum"].to_pylist(), strict=True)
            )
            counted.pop(b"", None)
            self._words.update(counted)

    def _separate(self, strings: pa.Array) -> pa.Array:
        """One text: the words of each string on a line of its own."""
        separated = separate_words("\n".join(strings.to_pylist()), **self._how)
        text = "".join(separated).encode()
        return _strings(text, np.array([0, len(text)]))


def _strings(text: bytes, offsets: NDArray[np.int64]) -> pa.Array:
    # Not pa.array(), which imports pandas where that is installed.
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)
