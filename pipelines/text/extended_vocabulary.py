"""Vocabularies that extend another one: every piece of the old one keeps its id.

New pieces take the slots that the old vocabulary leaves unused (``[unused0]``, …), in their order, and
then the ids behind its end. So a model of the old vocabulary needs rows for the new pieces only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.text.vocabulary import Vocabulary
from pipelines.text.wordpiece import split_word

_UNUSED = re.compile(r"\[unused[^\[\]]*\]")


def extend_vocabulary(old: Vocabulary, pieces: Sequence[str]) -> Vocabulary:
    """The old vocabulary with these new pieces. Raises UserError for a piece that it has already."""
    tokens = list(old.tokens)
    slots = [i for i, token in enumerate(tokens) if _UNUSED.fullmatch(token)]
    for slot, piece in zip(slots, pieces, strict=False):
        tokens[slot] = piece
    tokens += pieces[len(slots) :]
    return Vocabulary(tuple(tokens), old.suffix_indicator, old.source)


def extended_size(old: Vocabulary, number: int) -> int:
    """How many entries the old vocabulary has with so many new pieces."""
    return old.size + max(0, number - sum(map(bool, map(_UNUSED.fullmatch, old.tokens))))


def find_new_pieces(vocabulary: Vocabulary, old: Vocabulary) -> list[int] | None:
    """The ids of what ``vocabulary`` adds to ``old``, ascending; None where it does not extend it."""
    pairs = zip(old.tokens, vocabulary.tokens, strict=False)
    changed = [i for i, (before, now) in enumerate(pairs) if before != now]
    lost = vocabulary.size < old.size
    if lost or not all(_UNUSED.fullmatch(old.tokens[i]) for i in changed):
        return None
    return [*changed, *range(old.size, vocabulary.size)]


def spell_piece(piece: str, old: Vocabulary) -> tuple[int, ...]:
    """The ids of the old pieces that stood for a new one in words: [UNK] where they cannot."""
    mark = old.suffix_indicator
    continues = piece.startswith(mark) and piece != mark
    ids = split_word(piece.removeprefix(mark) if continues else piece, old, continues=continues)
    return ids or (old.unk_id,)
