"""What a summary says of a manifest's names and numbers, and that its columns stay straight."""

from __future__ import annotations

import unicodedata

import pytest

from pipelines.summary import print_summary
from trainer.finetuning.predictions import pad_label
from trainer.finetuning.scores import describe_classes


def test_names_become_words_and_figures_get_units(capsys) -> None:
    facts = {
        "threshold": 4,
        "held_out": {"continued_share": 0.25, "pieces_per_word": 1.5, "unknown_rate": 0.0},
        "head": "portable",
        "mask": {"mask_token_rate": 0.8, "strategy": "token"},
        "size": 1000,
        "vocabulary": {"size": 1000, "fingerprint": "ab"},
        "classes": ["good", "bad"],
        "nothing": 0,
    }
    print_summary({"seconds": 2.456, "output": "out"}, facts, {"bytes_in": 93443, "odd_name": 2})
    lines = [line.split("  ", 1) for line in capsys.readouterr().out.splitlines()]
    assert [(name, value.strip()) for name, value in lines] == [
        ("text read", "93,443 bytes"),
        ("pieces in the vocabulary", "1,000"),
        ("fewest occurrences of a piece", "4"),
        ("head for masked tokens", "as KerasHub and Transformers have it"),
        ("mask token rate", "0.8"),
        ("mask strategy", "token"),
        ("classes", "good, bad"),
        ("odd name", "2"),
        ("on held-out text: pieces a word", "1.50"),
        ("on held-out text: pieces that continue a word", "25.00%"),
        ("SHA-256 of the vocabulary", "ab"),
        ("took", "2.46 s"),
        ("written to", "out"),
    ]


def test_labels_are_padded_to_one_width() -> None:
    classes = ("긍정적인", "bad", "good, e\u0301")
    assert [width(pad_label(label, classes).replace("\u0301", "")) for label in classes] == [8] * 3


def width(text: str) -> int:
    """Columns of a terminal."""
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


@pytest.mark.parametrize("names", [["긍정", "부정적인"], ["良い", "bad"], ["good", "bad"]])
def test_columns_stay_straight_in_every_script(names: list[str]) -> None:
    report = {
        "classes": names,
        "confusion": [[5, 1], [2, 7]],
        "f1": dict.fromkeys(names, 0.5),
    }
    header, rule, *rows = describe_classes(report).splitlines()
    # The last column begins at one place of the terminal in all lines.
    begins = [width(line[: line.rindex("  ") + 2]) for line in (header, rule, *rows)]
    assert len(set(begins)) == 1, begins
