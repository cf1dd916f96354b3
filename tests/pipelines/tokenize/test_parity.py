"""The ids of Transformers and KerasHub, where installed, are ours."""

from __future__ import annotations

import dataclasses
from itertools import islice

import pytest

from pipelines.documents.config import InputFormat
from pipelines.text.vocabulary_source import load_vocabulary
from tests.benchmarks import parity

pytest.importorskip("transformers")


def compare(corpus, vocab_dir, documents):
    texts = list(islice(parity.read_texts([str(corpus)], InputFormat()), documents))
    assert len(texts) == documents
    return list(parity.compare_with_peers(texts, load_vocabulary(str(vocab_dir), None, None)))


def test_ids_equal_those_of_whichever_peer_is_installed(corpus, vocab_dir):
    lines = "\n".join(compare(corpus, vocab_dir, 200)).splitlines()
    (line,) = [line for line in lines if line.startswith("transformers ")]
    assert line.split()[2:] == ["200", "0", "100.000%"]
    (line,) = [line for line in lines if line.startswith("keras_hub ")]
    assert line.split()[-1].endswith("%") or "not installed" in line


def test_the_first_difference_is_shown(corpus, vocab_dir, monkeypatch):
    def other_peer(source):
        tokenize = real(dataclasses.replace(source, lowercase=False, strip_accents=False))
        return lambda texts: tokenize([f"{text} É" for text in texts])

    real = parity._load_transformers
    monkeypatch.setattr(parity, "_load_transformers", other_peer)
    shown = "\n".join(compare(corpus, vocab_dir, 5))
    assert "transformers, document 1: token" in shown
    assert "theirs “" in shown
