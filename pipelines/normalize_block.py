"""BERT's normalisation of many documents at once, on bytes: ``pipelines.normalize`` at disk speed.

Documents lie end to end in one UTF-8 buffer. ASCII is lower-cased by arithmetic on whole arrays; only
the other characters are decoded, each is looked up in a table of what becomes of it, and the few that
change are spliced in. Nothing is done a character at a time in Python, and numpy lets other threads
run. Documents whose marks would have to be reordered (next to none) take the plain path.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines import bert_characters
from pipelines.normalize import normalize, staying_marks

SPACE = 0x20
_CHANGE, _APART, _FLAGGED, _ORDERED = 0xFFFF, 1 << 16, 1 << 17, 1 << 18
# Bytes of the character that a byte begins; 0 for one that continues a character.
_WIDTH = np.array([1] * 128 + [0] * 64 + [2] * 32 + [3] * 16 + [4] * 16, np.uint8)


@dataclass(frozen=True)
class NormalizedBlock:
    """Documents after normalisation.

    Attributes:
      text: uint8[m], UTF-8.
      offsets: int64[n + 1]; document i is ``text[offsets[i]:offsets[i + 1]]``.
      flagged: int64[k], ascending: where in ``text`` the characters begin that the caller asked about.
    """

    text: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    flagged: NDArray[np.int64]


def join_texts(texts: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Strings as one UTF-8 buffer, uint8[m], and the offsets of each in it, int64[n + 1]."""
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


class BlockNormalizer:
    """Normalises blocks of documents one way.

    Args:
      lowercase, strip_accents: as for ``normalize``.
      apart: bool[0x110000], the characters to set between spaces (BERT's own are the ideographs).
      flagged: bool[0x110000], characters whose places in the result to report; compared with what
        normalisation makes of a character, not with the character.
    """

    def __init__(
        self,
        lowercase: bool,
        strip_accents: bool,
        apart: NDArray[np.bool_] | None = None,
        flagged: NDArray[np.bool_] | None = None,
    ) -> None:
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self._apart = bert_characters.chinese() if apart is None else apart
        self._flagged = np.zeros(bert_characters.CODE_POINTS, np.bool_) if flagged is None else flagged
        self._tell, self._bytes, self._lengths = self._tabulate()
        # ASCII bytes that need more than lower-casing; all others from 0x80 on are decoded.
        noted = self._tell[:128] != 0
        noted[ord("A") : ord("Z") + 1] = False
        self._noted_ascii = np.concatenate([noted, np.ones(128, np.bool_)])
        self._plain_ascii = not noted[0x20:0x7F].any()

    def __call__(self, text: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NormalizedBlock:
        """Normalises the documents ``text[offsets[i]:offsets[i + 1]]`` of a uint8 UTF-8 buffer.

        ``offsets`` begins at 0 and ends at ``len(text)``. Raises ValueError if the buffer is not
        made of whole UTF-8 characters.
        """
        if self._plain_ascii:
            noted = np.flatnonzero(text - np.uint8(0x20) >= 0x5F)  # under 0x20, or from 0x7F on
        else:
            noted = np.flatnonzero(self._noted_ascii.take(text))
        starts, widths, codes = decode_characters(text, noted)
        tell = self._tell.take(codes)
        selected = np.flatnonzero(tell)
        starts, widths, codes, tell = (a[selected] for a in (starts, widths, codes, tell))
        if self.strip_accents and (tell & _ORDERED).any():
            unordered = self._find_unordered(starts, codes, tell, offsets)
            if len(unordered):
                return self._normalize_apart(text, offsets, unordered)
        changes = np.flatnonzero(tell & (_CHANGE | _APART))
        spliced, shifts = self._splice(
            self._lowered(text), starts[changes], widths[changes], tell[changes]
        )
        flagged = np.flatnonzero(tell & _FLAGGED)
        positions = starts[changes]
        return NormalizedBlock(
            spliced,
            offsets + shifts[np.searchsorted(positions, offsets)],
            starts[flagged] + shifts[np.searchsorted(positions, starts[flagged])],
        )

    def _lowered(self, text: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if not self.lowercase:
            return text
        return text + ((text - np.uint8(ord("A")) < 26).view(np.uint8) << np.uint8(5))

    def _splice(
        self,
        text: NDArray[np.uint8],
        starts: NDArray[np.int64],
        widths: NDArray[np.int64],
        tell: NDArray[np.uint32],
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Puts in the new bytes of the characters at ``starts``.

        Returns the new text and int64[len(starts) + 1]: by how much what follows the first i
        changes has moved.
        """
        shifts = np.zeros(len(starts) + 1, np.int64)
        if not len(starts):
            return text, shifts
        change = (tell & _CHANGE).astype(np.intp)
        lengths, new = self._lengths[change], self._bytes[change]
        bare = np.flatnonzero(change == 0)  # set apart, else unchanged
        if len(bare):
            lengths[bare] = widths[bare] + 2
            new[bare] = SPACE
            for j in range(4):
                some = bare[widths[bare] > j]
                new[some, j + 1] = text[starts[some] + j]
        np.cumsum(lengths - widths, out=shifts[1:])
        text = text.copy() if not text.flags.writeable or not self.lowercase else text
        shared = np.minimum(lengths, widths)
        for j in range(int(shared.max())):
            some = np.flatnonzero(shared > j)
            text[starts[some] + j] = new[some, j]
        total = len(text) + int(shifts[-1])
        surplus, lack = widths - shared, lengths - shared
        if surplus.any():
            keep = np.ones(len(text), np.bool_)
            for j in range(int(surplus.max())):
                some = np.flatnonzero(surplus > j)
                keep[starts[some] + shared[some] + j] = False
            text = text[keep]
        if lack.any():
            result, old = np.empty(total, np.uint8), np.ones(total, np.bool_)
            ends = starts + widths + shifts[:-1]
            for j in range(int(lack.max())):
                some = np.flatnonzero(lack > j)
                old[ends[some] + j] = False
                result[ends[some] + j] = new[some, shared[some] + j]
            result[old] = text
            text = result
        return text, shifts

    def _find_unordered(
        self,
        starts: NDArray[np.int64],
        codes: NDArray[np.int64],
        tell: NDArray[np.uint32],
        offsets: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Documents in which canonical ordering could move a mark that stays."""
        found = np.flatnonzero(tell & _ORDERED)
        document = np.searchsorted(offsets, starts[found], "right") - 1
        first, last = _first_and_last_class()
        falls = (document[:-1] == document[1:]) & (last[codes[found[:-1]]] > first[codes[found[1:]]])
        return np.unique(document[:-1][falls])

    def _normalize_apart(
        self, text: NDArray[np.uint8], offsets: NDArray[np.int64], documents: NDArray[np.int64]
    ) -> NormalizedBlock:
        """Normalises the given documents by the plain function and the rest as a block."""
        lengths = np.diff(offsets)
        others = np.ones(len(lengths), np.bool_)
        others[documents] = False
        rest = text[np.repeat(others, lengths)]
        rest_offsets = np.zeros(len(offsets), np.int64)
        np.cumsum(lengths * others, out=rest_offsets[1:])
        block = self(rest, rest_offsets)
        parts, flags, shift = [], [block.flagged], 0
        added = np.zeros(len(lengths), np.int64)
        done = 0
        for i in documents.tolist():
            raw = text[offsets[i] : offsets[i + 1]].tobytes().decode()
            plain = normalize(raw, lowercase=self.lowercase, strip_accents=self.strip_accents)
            place = int(block.offsets[i])
            parts.append(block.text[done:place])
            flags[-1], later = np.split(flags[-1], [np.searchsorted(flags[-1], place + shift)])
            pieces, marked = self._set_apart(plain)
            flags += [marked + place + shift, later + len(pieces)]
            parts.append(pieces)
            shift += len(pieces)
            added[i] = len(pieces)
            done = place
        parts.append(block.text[done:])
        moved = np.concatenate([[0], np.cumsum(added)])
        return NormalizedBlock(np.concatenate(parts), block.offsets + moved, np.concatenate(flags))

    def _set_apart(self, plain: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """A normalised text with the characters to set apart set apart, and the flagged places."""
        chinese = bert_characters.chinese()
        spaced = "".join(
            f" {c} " if self._apart[ord(c)] and not chinese[ord(c)] else c for c in plain
        )
        text, offsets = join_texts(list(spaced))
        marked = [i for i, c in enumerate(spaced) if self._flagged[ord(c)]]
        return text, offsets[marked]

    def _tabulate(self) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.int64]]:
        """What becomes of every code point.

        Returns uint32[0x110000] (low 16 bits: row of the next two, 0 = stays as it is; higher bits:
        what else to know), uint8[rows, widest] (the new bytes) and int64[rows] (how many).
        """
        folded = _fold_characters(self.lowercase, self.strip_accents)
        new: dict[str, int] = {"\\0": 0}
        tell = np.where(self._apart, np.uint32(_APART), np.uint32(0))
        tell |= np.where(self._flagged, np.uint32(_FLAGGED), np.uint32(0))
        ordered = staying_marks() if self.strip_accents else {}
        for code, text in folded.items():
            if self._apart[code]:
                text = f" {text} "
            elif any(self._apart[ord(c)] for c in text):
                text = "".join(f" {c} " if self._apart[ord(c)] else c for c in text)
            tell[code] = new.setdefault(text, len(new))
            if any(self._flagged[ord(c)] for c in text):
                tell[code] |= _FLAGGED
        tell[bert_characters.dropped()] = new.setdefault("", len(new))
        tell[bert_characters.spaces()] = new.setdefault(" ", len(new))
        tell[SPACE] = 0
        first, _ = _first_and_last_class()
        if ordered:
            tell[first > 0] |= np.uint32(_ORDERED)
        encoded = [text.encode() for text in new]
        lengths = np.array([len(text) for text in encoded], np.int64)
        width = max(6, int(lengths.max()))
        table = np.frombuffer(b"".join(t.ljust(width, b" ") for t in encoded), np.uint8)
        return tell, table.reshape(len(encoded), width), lengths


def decode_characters(
    text: NDArray[np.uint8], noted: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Decodes the characters that begin at ``noted``, the ascending places of bytes in a UTF-8 buffer.

    ``noted`` must hold the place of every byte from 0x80 on. Returns, one a character and int64:
    where it begins, how many bytes it has, its code point. Raises ValueError if the bytes from 0x80 on
    do not make whole characters.
    """
    heads = text[noted]
    widths = _WIDTH[heads]
    leads = np.flatnonzero(widths)
    starts, widths, codes = noted[leads], widths[leads].astype(np.int64), heads[leads].astype(np.int64)
    continuing = len(noted) - len(leads)
    if int(widths.sum()) - len(leads) != continuing:
        raise ValueError("the text is not UTF-8")
    for width, kept in ((2, 0x1F), (3, 0x0F), (4, 0x07)):
        some = np.flatnonzero(widths == width)
        if not len(some):
            continue
        value = codes[some] & kept
        for j in range(1, width):
            value = value << 6 | (text[np.minimum(starts[some] + j, len(text) - 1)] & 0x3F)
        codes[some] = value
    return starts, widths, codes


def _fold_characters(lowercase: bool, strip_accents: bool) -> dict[int, str]:
    """Each code point that lower-casing and stripping alone change, and into what."""
    codes: set[int] = set()
    if strip_accents:
        codes |= set(bert_characters.decompositions())
        codes |= set(np.flatnonzero(bert_characters.marks()).tolist())
    if lowercase:
        codes |= set(bert_characters.lower_case())
    folded = {}
    marks = bert_characters.marks()
    for code in sorted(codes):
        text = chr(code)
        if strip_accents:
            whole = bert_characters.decompositions().get(code, text)
            text = "".join(c for c in whole if not marks[ord(c)])
        if lowercase:
            text = text.translate(bert_characters.lower_case())
        if text != chr(code):
            folded[code] = text
    return folded


@lru_cache(maxsize=1)
def _first_and_last_class() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """uint8[0x110000] twice: the least and the greatest class of the staying marks in a character."""
    first = np.zeros(bert_characters.CODE_POINTS, np.uint8)
    last = first.copy()
    staying = staying_marks()
    for code, classes in [
        (c, [staying[ord(x)] for x in text if ord(x) in staying])
        for c, text in [
            *bert_characters.decompositions().items(),
            *((c, chr(c)) for c in staying),
        ]
    ]:
        if classes:
            first[code], last[code] = min(classes), max(classes)
    return first, last
