"""BERT's normalisation of many documents at once, on bytes: ``pipelines.text.normalize`` at disk speed.

Documents lie end to end in one UTF-8 buffer. ASCII is lower-cased by arithmetic on whole arrays;
only the other characters are decoded, each is looked up in a table of what becomes of it, and those
that change are spliced in or, where they are many, the text is put together anew. Nothing is done a
character at a time in Python, and numpy lets other threads run. Only documents whose marks may have
to change places (next to none) are put in order one by one first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.text import bert_characters
from pipelines.text.character_table import CHANGES, ORDERED, build_character_table
from pipelines.text.normalize import decompose, staying_marks
from pipelines.text.utf8 import decode_characters, find_characters, find_wide_and_control

# Characters beyond ASCII, and changes, in a byte of text from which it is faster to look up every
# character and to rebuild the text from what they become than to splice in what changes.
_MANY = 1 / 16
_PART = 1 << 18  # bytes worked on at a time: temporary arrays stay in the cache
_WINDOW = 1 << 12  # bytes after that in which to look for a place to cut


@dataclass(frozen=True)
class NormalizedBlock:
    """Documents after normalisation.

    Attributes:
      text: uint8[m], UTF-8.
      offsets: int64[n + 1]; document i is ``text[offsets[i]:offsets[i + 1]]``.
    """

    text: NDArray[np.uint8]
    offsets: NDArray[np.int64]


class BlockNormalizer:
    """Normalises blocks of documents one way.

    Args:
      lowercase, strip_accents: as for ``normalize``.
      apart: bool[0x110000], the characters to set between spaces; BERT's ideographs if not given.
    """

    def __init__(
        self, lowercase: bool, strip_accents: bool, apart: NDArray[np.bool_] | None = None
    ) -> None:
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        apart = bert_characters.chinese() if apart is None else apart
        self._table = build_character_table(lowercase, strip_accents, apart)
        width = self._table.rows.shape[1]
        self._counted = np.arange(width) < np.arange(width + 1)[:, None]
        ascii_notes = self._table.notes[:0x80] != 0
        self._noted_bytes = np.concatenate([ascii_notes, np.zeros(64, bool), np.ones(64, bool)])
        self._only_controls = not ascii_notes[0x20:0x7F].any()

    def __call__(self, text: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NormalizedBlock:
        """Normalises the documents ``text[offsets[i]:offsets[i + 1]]`` of a uint8 UTF-8 buffer.

        ``offsets`` begins at 0 and ends at ``len(text)``.

        Raises:
          ValueError: the buffer is not made of whole UTF-8 characters.
        """
        parts: list[NormalizedBlock] = []
        shift = 0
        for start, stop in _cut_in_parts(text):
            inside = slice(*np.searchsorted(offsets, [start, stop]))
            ends = np.concatenate([[0], offsets[inside] - start, [stop - start]])
            part = self._normalize(text[start:stop], ends, ordered=not self.strip_accents)
            parts.append(NormalizedBlock(part.text, part.offsets[1:-1] + shift))
            shift += len(part.text)
        last = offsets[np.searchsorted(offsets, len(text)) :]
        return NormalizedBlock(
            np.concatenate([part.text for part in parts] or [text]),
            np.concatenate([*(part.offsets for part in parts), last - len(text) + shift]),
        )

    def _normalize(
        self, text: NDArray[np.uint8], offsets: NDArray[np.int64], ordered: bool
    ) -> NormalizedBlock:
        if self._only_controls:
            starts = find_wide_and_control(text)
        else:
            starts = np.flatnonzero(self._noted_bytes.take(text))
        dense = len(starts) > len(text) * _MANY
        if dense:
            starts = find_characters(text)
        widths, codes = decode_characters(text, starts)
        notes = self._table.notes.take(codes)
        noted = np.flatnonzero(notes)
        if not ordered:
            unordered = _find_unordered(starts[noted], codes[noted], notes[noted], offsets)
            if unordered:
                return self._normalize(*_order_marks(text, offsets, unordered), ordered=True)
        changes = noted[np.flatnonzero(notes[noted] & CHANGES)]
        if dense and len(changes) > len(text) * _MANY:
            return self._rebuild(starts, codes, offsets)
        return self._splice(text, offsets, starts[changes], widths[changes], codes[changes])

    def _splice(
        self,
        text: NDArray[np.uint8],
        offsets: NDArray[np.int64],
        starts: NDArray[np.int64],
        widths: NDArray[np.uint8],
        codes: NDArray[np.int64],
    ) -> NormalizedBlock:
        """Replaces the characters of ``codes`` at ``starts``; all else stays but for A to Z."""
        if self.lowercase:
            text = text + ((text - np.uint8(ord("A")) < 26).view(np.uint8) << np.uint8(5))
        if not len(starts):
            return NormalizedBlock(text, offsets)
        lengths = self._table.lengths.take(codes)
        new = self._table.rows.take(codes, axis=0)
        # What follows the first i changes moves by shifts[i].
        shifts = np.zeros(len(starts) + 1, np.int64)
        np.cumsum(lengths.astype(np.int64) - widths, out=shifts[1:])
        shared = np.minimum(lengths, widths)
        text = text if self.lowercase else text.copy()
        for j in range(int(shared.max())):
            some = np.flatnonzero(shared > j)
            text[starts[some] + j] = new[some, j]
        surplus, lack = widths - shared, lengths - shared
        if surplus.any():
            keep = np.ones(len(text), np.bool_)
            for j in range(int(surplus.max())):
                some = np.flatnonzero(surplus > j)
                keep[starts[some] + shared[some] + j] = False
            text = text[keep]
        if lack.any():
            result = np.empty(len(text) + int(lack.sum(dtype=np.int64)), np.uint8)
            old = np.ones(len(result), np.bool_)
            places = starts + widths + shifts[:-1]
            for j in range(int(lack.max())):
                some = np.flatnonzero(lack > j)
                old[places[some] + j] = False
                result[places[some] + j] = new[some, shared[some] + j]
            result[old] = text
            text = result
        offsets = offsets + shifts[np.searchsorted(starts, offsets)]
        return NormalizedBlock(text, offsets)

    def _rebuild(
        self,
        starts: NDArray[np.int64],
        codes: NDArray[np.int64],
        offsets: NDArray[np.int64],
    ) -> NormalizedBlock:
        """What becomes of the characters ``codes``, which are all the text, at ``starts``."""
        lengths = self._table.lengths.take(codes)
        places = np.zeros(len(starts) + 1, np.int64)
        np.cumsum(lengths, out=places[1:])
        rows = self._table.rows.take(codes, axis=0)
        return NormalizedBlock(
            rows[self._counted.take(lengths, axis=0)],
            places[np.searchsorted(starts, offsets)],
        )


def _cut_in_parts(text: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Cuts a buffer where nothing depends on what comes before: in front of ASCII or ideographs."""
    start = 0
    while start < len(text):
        stop = start
        while stop < len(text):
            window = text[stop + _PART : stop + _PART + _WINDOW]
            stop = min(stop + _PART, len(text))
            # E4 to E9 begin U+4000 to U+9FFF, ideographs but for 64 hexagrams.
            safe = np.flatnonzero((window < 0x80) | (window - np.uint8(0xE4) < 6))
            if len(safe):
                stop += int(safe[0])
                break
        yield start, stop
        start = stop


def _find_unordered(
    starts: NDArray[np.int64],
    codes: NDArray[np.int64],
    notes: NDArray[np.uint8],
    offsets: NDArray[np.int64],
) -> list[int]:
    """The documents in which Unicode's canonical order could move a mark that stays in the text."""
    found = np.flatnonzero(notes & ORDERED)
    if len(found) < 2:
        return []
    document = (np.searchsorted(offsets, starts[found], "right") - 1).tolist()
    classes = [_classes_of_staying_marks(code) for code in codes[found].tolist()]
    return sorted(
        {
            document[i]
            for i in range(1, len(found))
            if document[i - 1] == document[i] and classes[i - 1][-1] > classes[i][0]
        }
    )


@lru_cache(maxsize=4096)
def _classes_of_staying_marks(code: int) -> list[int]:
    whole = bert_characters.decompositions().get(code, chr(code))
    return [staying_marks()[ord(c)] for c in whole if ord(c) in staying_marks()]


def _order_marks(
    text: NDArray[np.uint8], offsets: NDArray[np.int64], documents: list[int]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The same documents with the marks of some in canonical order."""
    parts = [text[i:j].tobytes() for i, j in pairwise(offsets.tolist())]
    for i in documents:
        parts[i] = decompose(parts[i].decode()).encode()
    lengths = np.array([len(part) for part in parts], np.int64)
    return np.frombuffer(b"".join(parts), np.uint8), np.concatenate([[0], np.cumsum(lengths)])
