"""Judging in a process of its own gives what judging here gives."""

from __future__ import annotations

from dataclasses import replace
from subprocess import Popen

import numpy as np
import pytest

from pipelines.child_process import start_child
from pipelines.vocab import judge
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.word_counts import WordCounts

_WORDS = sorted({f"{a}{b}{c}" for a in "abcdefgh" for b in "aeiou" for c in "klmnopq"})
_COUNTED = WordCounts(
    _WORDS,
    np.arange(len(_WORDS), 0, -1),
    np.arange(len(_WORDS), 0, -1) // 8,
    {"bytes_held_out": 5000},
)
_CONFIG = VocabConfig(output="-", vocab_size=80).resolve(None)


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "_WORTH_A_PROCESS", 1)


def test_same_judgement() -> None:
    with judge.judging(_COUNTED, _CONFIG, None) as judged:
        assert judged() == judge.judge(_COUNTED, _CONFIG, None)


def test_raises_what_judging_raises() -> None:
    config = replace(_CONFIG, vocab_size=10)
    with (
        pytest.raises(ValueError, match="vocab_size 10 is too small"),
        judge.judging(_COUNTED, config, None) as judged,
    ):
        judged()


def test_process_ends_when_learning_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    children = []
    start_child = judge.start_child

    def start(module: str) -> Popen[bytes]:
        children.append(start_child(module))
        return children[-1]

    monkeypatch.setattr(judge, "start_child", start)
    with pytest.raises(KeyError), judge.judging(_COUNTED, _CONFIG, None):
        raise KeyError
    assert children[0].returncode is not None


def test_a_process_that_dies_is_a_fault_and_no_broken_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    many = replace(_COUNTED, words=[word * 3000 for word in _WORDS])  # more than a pipe holds
    monkeypatch.setattr(judge, "start_child", lambda _: start_child("keyword"))
    with (
        pytest.raises(RuntimeError, match="judges the vocabulary ended with status 0"),
        judge.judging(many, _CONFIG, None) as judged,
    ):
        judged()
