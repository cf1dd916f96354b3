"""The file that keeps counted words, and what is said of one that is not as it should be."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.vocab.word_counts import WordCounts, load_word_counts, save_word_counts

ORIGIN = {"input": ["a"]}
GOOD = b"the\t9\t1\na\t9\t0\nb\t1\t1\n"


def write(path, body, words=3, head=None):
    described = {
        "kind": "bertmill word counts 1",
        "origin": ORIGIN,
        "totals": {"documents_in": 1},
        "words": words,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    path.write_bytes(json.dumps(described | (head or {})).encode() + b"\n" + body)
    return str(path)


def test_what_is_saved_comes_back(tmp_path):
    counted = WordCounts(["the", "a"], np.array([9, 3]), np.array([1, 0]), {"words_read": 12})
    save_word_counts(str(tmp_path / "counts"), counted, ORIGIN)
    read = load_word_counts(str(tmp_path / "counts"), ORIGIN)
    assert (read.words, read.totals) == (counted.words, counted.totals)
    np.testing.assert_array_equal(read.counts, counted.counts)
    np.testing.assert_array_equal(read.held_out, counted.held_out)
    assert load_word_counts(write(tmp_path / "b", GOOD), ORIGIN).words == ["the", "a", "b"]
    content = (tmp_path / "counts").read_bytes()
    (tmp_path / "counts").write_bytes(content.replace(b'"words_read": 12', b'"words_read": 13'))
    with pytest.raises(UserError, match="is damaged: its totals do not match their checksum"):
        load_word_counts(str(tmp_path / "counts"), ORIGIN)


@pytest.mark.parametrize(
    ("body", "words", "head"),
    [
        (GOOD, 4, {}),
        (GOOD, -1, {}),
        (GOOD, 10**30, {}),
        (GOOD.replace(b"9\t1", b"x\t1"), 3, {}),
        (GOOD.replace(b"9\t1", b"9" * 30 + b"\t1"), 3, {}),
        (GOOD.replace(b"9\t1", b"9" * 5000 + b"\t1"), 3, {}),
        (GOOD.replace(b"9\t1", b"9\t10"), 3, {}),
        (GOOD.replace(b"9\t1", b"5\t1"), 3, {}),
        (GOOD.replace(b"the", b"th\xff"), 3, {}),
        (GOOD.replace(b"\t1\n", b"\n", 1), 3, {}),
        (GOOD, 3, {"totals": {"documents_in": "1"}}),
        (GOOD, 3, {"origin": 5}),
        (GOOD, 3, {"words": [3]}),
        (GOOD, 3, {"totals_sha256": "0" * 64}),
    ],
)
def test_a_bad_file_with_a_matching_checksum_is_one_line(tmp_path, body, words, head):
    path = write(tmp_path / "counts", body, words, head)
    with pytest.raises(
        UserError, match="--word_counts: .* is damaged: .*; delete it to count again"
    ):
        load_word_counts(path, ORIGIN)


def test_a_deep_first_line_and_a_pipe(tmp_path):
    (tmp_path / "deep").write_bytes(b"[" * 100_000 + b"\n")
    with pytest.raises(UserError, match="is damaged"):
        load_word_counts(str(tmp_path / "deep"), ORIGIN)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a pipe or a device"):
        load_word_counts(str(tmp_path / "pipe"), ORIGIN)
