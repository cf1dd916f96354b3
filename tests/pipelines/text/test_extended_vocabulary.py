"""Vocabularies that extend another one keep every id, and say what is new."""

from __future__ import annotations

import pytest

from pipelines.errors import UserError
from pipelines.text.extended_vocabulary import (
    extend_vocabulary,
    extended_size,
    find_new_pieces,
    spell_piece,
)
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary

_OLD = Vocabulary(
    (*SPECIAL_TOKENS, "[unused0]", "cardio", "##log", "[unused1]", "##y", "g", "##ene")
)


def test_new_pieces_take_unused_slots_then_the_end():
    new = extend_vocabulary(_OLD, ["gene", "##logy", "cardiology"])
    assert new.tokens == (
        *SPECIAL_TOKENS,
        *("gene", "cardio", "##log", "##logy", "##y", "g", "##ene", "cardiology"),
    )
    assert find_new_pieces(new, _OLD) == [5, 8, 12]
    assert (
        [extended_size(_OLD, n) for n in (0, 1, 2, 3)] == [12, 12, 12, 13] == [12, 12, 12, new.size]
    )
    assert find_new_pieces(_OLD, _OLD) == []
    with pytest.raises(UserError, match="'cardio' is already on line 7"):
        extend_vocabulary(_OLD, ["gene", "x", "cardio"])


def test_what_does_not_extend_it():
    tokens = list(_OLD.tokens)
    for changed in (
        tokens[:-1],
        [*tokens[:6], "other", *tokens[7:]],
        [*tokens[:5], *tokens[6:], "x"],
    ):
        assert find_new_pieces(Vocabulary(tuple(changed)), _OLD) is None


def test_a_piece_is_spelled_as_it_stood_in_words():
    def spelled(piece):
        return [_OLD.tokens[i] for i in spell_piece(piece, _OLD)]

    assert spelled("cardiology") == ["cardio", "##log", "##y"]
    assert spelled("gene") == ["g", "##ene"]
    # In the middle of a word "cardio" is no piece, and "##log" continues.
    assert spelled("##logy") == ["##log", "##y"]
    assert spelled("##cardio") == ["[UNK]"]
    assert spelled("α") == ["[UNK]"]
