"""The pinned character tables against change; ``test_words.py`` compares them with ``tokenizers``."""

from __future__ import annotations

import hashlib

import numpy as np

from pipelines.text import bert_characters


def test_tables_are_the_same_under_every_python() -> None:
    digest = hashlib.sha256()
    for mask in (
        bert_characters.dropped(),
        bert_characters.spaces(),
        bert_characters.chinese(),
        bert_characters.punctuation(),
        bert_characters.marks(),
    ):
        digest.update(np.packbits(mask).tobytes())
    for table in (
        bert_characters.decompositions(),
        bert_characters.combining_classes(),
        bert_characters.lower_case(),
    ):
        digest.update(ascii(sorted(table.items())).encode())
    assert digest.hexdigest() == (
        "dad5ffd9fc40083d721042fcbfb818aa0cd3a89df62b7b4caace8a22637c13ef"
    )


def test_ideographs_decompose_to_ideographs() -> None:
    """So setting them apart before or after decomposition is the same."""
    chinese = bert_characters.chinese()
    for code, text in bert_characters.decompositions().items():
        assert chinese[code] == chinese[ord(text[0])], hex(code)
