from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.documents.labelled import Fields, read_file
from pipelines.errors import UserError
from trainer.finetuning.predictions import check_format, encode_predictions

TEXTS = ['one, "two"', "line\nand\r\nline", "\ttab \t", "", "grün ☃ \u2028", "a\rb"]
PREDICTIONS = [
    {"text": text, "label": "a b", "probabilities": {"a b": 0.75, "c,d": 0.25}} for text in TEXTS
]


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv", "p.TSV", "p.parquet"])
def test_predictions_are_read_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(encode_predictions(PREDICTIONS, name))
    found = list(read_file(str(path), Fields("text", "", "label"), "data"))
    expected = TEXTS
    if name == "p.TSV":
        expected = ['one, "two"', "line and line", " tab  ", "", "grün ☃ \u2028", "a b"]
    assert [row.text for row in found] == expected
    assert [row.label for row in found] == ["a b"] * len(TEXTS)
    if name != "p.jsonl":
        rows = read_file(str(path), Fields("text", "", "probability of c,d"), "data")
        assert [float(row.label) for row in rows] == [0.25] * len(TEXTS)


def test_numbers_and_pairs_make_plain_columns() -> None:
    rows = [{"text": "a", "text_pair": "b", "value": -1.5}]
    assert encode_predictions(rows, "x.csv") == b"text,text_pair,value\r\na,b,-1.5\r\n"
    assert encode_predictions(rows, "x.tsv") == b"text\ttext_pair\tvalue\na\tb\t-1.5\n"


@pytest.mark.parametrize("name", ["p", "p.txt", "p.jsonl.gz", ".csv"])
def test_other_formats_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"unknown kind of file; name it \.jsonl, \.csv"):
        check_format(name)
