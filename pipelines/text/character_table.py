"""What BERT's normalisation makes of each code point, as arrays to look characters up in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.text import bert_characters
from pipelines.text.normalize import staying_marks
from pipelines.text.utf8 import encode_characters

CHANGES, ORDERED = 1, 2
SPACE = 0x20


@dataclass(frozen=True)
class CharacterTable:
    """One way of normalising, tabulated over all code points.

    Attributes:
      rows: uint8[0x110000, w], what the character becomes in UTF-8, padded.
      lengths: uint8[0x110000], how many of those bytes count; 0 for a character that is dropped.
      notes: uint8[0x110000], CHANGES (other than from A to a) and ORDERED (Unicode may move it among
        its neighbours).
    """

    rows: NDArray[np.uint8]
    lengths: NDArray[np.uint8]
    notes: NDArray[np.uint8]


def build_character_table(
    lowercase: bool, strip_accents: bool, apart: NDArray[np.bool_]
) -> CharacterTable:
    """Tabulates a normalisation that sets ``apart`` (bool[0x110000]) between spaces."""
    own, own_lengths = encode_characters()
    folded = _fold(lowercase, strip_accents)
    # What counts is what the character becomes: U+2260 without its accent is "=".
    spaced = {code: _space(text, apart).encode() for code, text in folded.items()}
    width = max(4 + 2, *map(len, spaced.values())) if spaced else 4 + 2
    rows = np.full((len(own), width), SPACE, np.uint8)
    rows[:, :4] = own
    lengths = own_lengths.copy()
    notes = np.zeros(len(own), np.uint8)
    between = np.flatnonzero(apart)
    rows[between, 1:5] = own[between]
    rows[between, 0] = SPACE
    lengths[between] += 2
    rows[between, lengths[between] - 1] = SPACE
    notes[between] |= CHANGES
    for code, new in spaced.items():
        rows[code, : len(new)] = np.frombuffer(new, np.uint8)
        lengths[code] = len(new)
        notes[code] = CHANGES
    gone, spaces = bert_characters.dropped(), bert_characters.spaces()
    lengths[gone] = 0
    rows[spaces, 0], lengths[spaces] = SPACE, 1
    notes[gone | spaces] = CHANGES
    notes[SPACE] = 0
    if lowercase:
        notes[ord("A") : ord("Z") + 1] = 0
    if strip_accents:
        staying = staying_marks()
        notes[list(staying)] |= ORDERED
        for code, whole in bert_characters.decompositions().items():
            if any(ord(c) in staying for c in whole):
                notes[code] |= ORDERED
    rows = np.ascontiguousarray(rows[:, : lengths.max()])
    return CharacterTable(rows, lengths, notes)


def _space(text: str, apart: NDArray[np.bool_]) -> str:
    return "".join(f" {c} " if apart[ord(c)] else c for c in text)


def _fold(lowercase: bool, strip_accents: bool) -> dict[int, str]:
    """Each code point that lower-casing and stripping alone change, and into what."""
    lower = bert_characters.lower_case() if lowercase else {}
    if not strip_accents:
        return lower
    decompositions, marks = bert_characters.decompositions(), bert_characters.marks()
    folded = dict(lower)
    for code in np.flatnonzero(marks).tolist():
        folded[code] = ""
    for code, whole in decompositions.items():
        text = "".join(c for c in whole if not marks[ord(c)])
        folded[code] = text.translate(lower)
    return folded
