"""Sentence beginnings from token ids."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records.ragged import Ragged, offsets_of
from pipelines.tokenize.sentences import find_sentences, mark_vocabulary

LETTERS = ["a", "b", "u", "s", "mr", "he", "she", "said", "went", "on", "why", "他", "来"]
MARKS = [".", "!", "?", "…", "。", "？", "」", "「", "”", "“", '"', "'", "(", ")", ","]
WORDS = [*LETTERS, "3", "14", "##5", *MARKS]


def sentences(*texts, vocabulary=WORDS):
    """Each document (tokens with spaces between) cut into sentences, as text."""
    documents = [text.split() for text in texts]
    offsets = offsets_of([len(words) for words in documents])
    words = [word for document in documents for word in document]
    ids = np.array([vocabulary.index(word) for word in words], np.int32)
    begins = find_sentences(Ragged(ids, offsets), mark_vocabulary(tuple(vocabulary))).tolist()
    ends = [*begins, len(words)][1:]
    return [" ".join(words[begin:end]) for begin, end in zip(begins, ends, strict=True)]


def test_end_marks_close_with_what_belongs_to_them():
    assert sentences("he went . she went on ! ? why ? he said") == [
        "he went .",
        "she went on ! ?",
        "why ?",
        "he said",
    ]
    assert sentences("he ( he said . ) went . ) she") == ["he ( he said . )", "went . )", "she"]
    assert sentences("“ he went . ” “ why ? ”") == ["“ he went . ”", "“ why ? ”"]
    assert sentences("他 来 。 「 他 ？ 」 来") == ["他 来 。", "「 他 ？ 」", "来"]
    assert sentences("he went . . . on") == ["he went . . .", "on"]


def test_a_straight_quote_opens_and_closes_in_turn():
    assert sentences('he said . " why ? " she went . " on') == [
        "he said .",
        '" why ? "',
        "she went .",
        '" on',
    ]
    # Each document counts its own quotes.
    assert sentences('he said " why', '" he went . " on') == [
        'he said " why',
        '" he went . "',
        "on",
    ]


def test_full_stops_that_end_nothing():
    assert sentences("mr . he went on") == ["mr . he went on"]
    assert sentences("he went u . s . on . she") == ["he went u . s . on .", "she"]
    assert sentences("3 . 14 went") == ["3 . 14 went"]
    assert sentences("14 ##5 . 3 went") == ["14 ##5 . 3 went"]
    assert sentences("he went on 3 . she") == ["he went on 3 .", "she"]


def test_small_letters_continue_where_the_vocabulary_has_case():
    cased = [*WORDS, "A", "B", "He"]
    assert sentences("He went . . . on . He", vocabulary=cased) == ["He went . . . on .", "He"]
    assert sentences("He went ! he on", vocabulary=cased) == ["He went !", "he on"]
    # In an uncased one they say nothing.
    assert sentences("he went . on") == ["he went .", "on"]


def test_documents_are_kept_apart():
    # A document that begins with a closing mark, and ones that are empty.
    assert sentences("he went .", "", ") she went", "") == ["he went .", ") she went"]
    assert sentences("he went mr", ". she went") == ["he went mr", ".", "she went"]
    assert sentences("", "") == []
    assert sentences() == []
    assert sentences("he went 3", ". 14") == ["he went 3", ".", "14"]


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=12), max_size=8))
def test_every_document_begins_a_sentence_and_none_is_empty(documents):
    offsets = offsets_of([len(words) for words in documents])
    ids = np.array([WORDS.index(word) for words in documents for word in words], np.int32)
    marks = mark_vocabulary(tuple(WORDS))
    begins = find_sentences(Ragged(ids, offsets), marks)
    assert (np.diff(begins) > 0).all()
    assert set(offsets[:-1][np.diff(offsets) > 0].tolist()) <= set(begins.tolist())
    assert not len(begins) or begins[-1] < len(ids)
    # A document's sentences are its own, whatever stands beside it.
    alone = [
        find_sentences(Ragged(ids[a:b], np.array([0, b - a])), marks) + a
        for a, b in pairwise(offsets)
    ]
    assert begins.tolist() == [begin for part in alone for begin in part.tolist()]
