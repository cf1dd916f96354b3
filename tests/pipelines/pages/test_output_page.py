"""The page about an output: its figures, self-contained, with nothing of the text taken for HTML."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.inspect import InspectConfig, inspect
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.pipeline import mask
from pipelines.pages.compare_texts import compare_words
from pipelines.pages.lineage import trace
from pipelines.pages.row_figures import PieceFigures, RowFigures
from pipelines.pages.scan import choose_shards, scan_rows
from pipelines.records.manifest import Manifest, read_manifest
from pipelines.records.output_folder import finish_output
from pipelines.records.ragged import Ragged
from pipelines.records.shards import ShardInfo
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from pipelines.text.vocabulary_source import load_vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pipeline import tokenize
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.pipeline import learn_vocabulary
from tests.parsed_page import Parsed, assert_fetches_nothing
from tests.pipelines.conftest import write_jsonl

_EVIL = "<script>alert(1)</script> & \"quotes\" <img src=x onerror='y'>"


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A corpus that looks like HTML, in a folder whose name does, and its vocabulary of characters."""
    folder = tmp_path_factory.mktemp("a <b> & c")
    texts = [f"{_EVIL} number{n} 漢" for n in range(60)]
    write_jsonl(folder / "evil.jsonl", texts)
    pieces = [*SPECIAL_TOKENS, *sorted({*_EVIL.replace(" ", "")} | {*"0123456789numbe"})]
    pieces += ["script", *(f"##{c}" for c in "0123456789abcdefghijklmnopqrstuvwxyz"), "<never>"]
    (folder / "vocab.txt").write_text("\n".join([*dict.fromkeys(pieces), ""]))
    return folder


def run_tokenize(folder, output, **options):
    given = {"input": (str(folder / "evil.jsonl"),), "vocab": str(folder / "vocab.txt")}
    given |= {"seq_length": 64, "num_shards": 2, "output": str(output)}
    tokenize(TokenizeConfig(**given | options), RunOptions())
    return output


def page_of(folder, path):
    inspect(InspectConfig(data=str(folder), html=str(path)), RunOptions())
    text = path.read_text()
    assert_fetches_nothing(text)
    assert not re.search(r"None|undefined|<t[dh]>nan", text)
    return Parsed(text)


def charts(page):
    labels = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    return [label.split(";")[0].strip() for label in labels]


@pytest.mark.parametrize("packing", ["documents", "full", "pairs", "examples"])
def test_nothing_of_the_text_is_html(evil, tmp_path, packing):
    options = {"packing": packing}
    if packing == "examples":
        lines = [{"text": _EVIL + " 漢", "label": "<i>good</i>"}, {"text": "numb", "label": "bad"}]
        (tmp_path / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines * 9))
        options |= {"input": (str(tmp_path / "x.jsonl"),), "label_field": "label"}
    page = page_of(run_tokenize(evil, tmp_path / "rows", **options), tmp_path / "page.html")
    tags = {tag for tag, _ in page.tags}
    assert not {"script", "img", "i>good"} & tags
    assert "<script>" in re.sub(r"\s", "", page.text.replace(" ", ""))
    assert "[UNK]" in page.text
    assert "<never>" in page.text
    if packing == "examples":
        assert "<i>good</i>" in page.text
    else:
        assert str(evil) in page.text
        assert "漢" in page.text  # where the unknown words are from
    shown = charts(page)
    assert ("Documents by length" in shown) is (packing != "pairs")
    assert {"Rows by how full they are", "Documents in a row", "Pieces of a word"} <= {*shown}


def test_masked_examples_with_all_they_were_made_from(rows_dir, vocab_dir, tmp_path):
    mask(MaskStageConfig(input=str(rows_dir), output=str(tmp_path / "m"), copies=2), RunOptions())
    page = page_of(tmp_path / "m", tmp_path / "page.html")
    counts = read_manifest(str(tmp_path / "m")).counts
    assert f"{counts['tokens_masked']:,}" in page.text
    assert "Predictions in a row" in charts(page)
    kinds = [attributes.get("class") for tag, attributes in page.tags if tag == "span"]
    assert kinds.count("masked") > kinds.count("random") > 1
    lineage = trace(str(tmp_path / "m"))
    stages = [(made.manifest.stage, made.folder, made.problem) for made in lineage.outputs]
    assert stages == [
        ("vocab", str(vocab_dir), ""),
        ("tokenize", str(rows_dir), ""),
        ("mask", str(tmp_path / "m"), ""),
    ]
    for made in lineage.outputs:
        assert made.manifest.fingerprint[:16] in page.text
    assert len(lineage.inputs) == 1
    # Figures of documents are of one copy, those of pieces of what was there before it was masked.
    vocabulary = load_vocabulary(str(rows_dir)).vocabulary
    rows, masked = (
        scan_rows(folder, read_manifest(folder), vocabulary).figures
        for folder in (str(rows_dir), str(tmp_path / "m"))
    )
    assert all(
        np.array_equal(*pair) for pair in zip(rows.documents(), masked.documents(), strict=True)
    )
    once = sum(shard.records for shard in read_manifest(str(rows_dir)).splits["validation"])
    assert masked.rows == 2 * rows.rows - once
    assert masked.pieces.pieces[vocabulary.mask_id] == 0


def test_what_was_made_anew_since_is_said(evil, tmp_path):
    run_tokenize(evil, tmp_path / "rows")
    mask(MaskStageConfig(input=str(tmp_path / "rows"), output=str(tmp_path / "m")), RunOptions())
    shutil.rmtree(tmp_path / "rows")
    run_tokenize(evil, tmp_path / "rows", seed=1)
    assert "made anew since" in page_of(tmp_path / "m", tmp_path / "page.html").text
    shutil.rmtree(tmp_path / "rows")
    assert [made.manifest.stage for made in trace(str(tmp_path / "m")).outputs] == ["mask"]
    page_of(tmp_path / "m", tmp_path / "page.html")


def test_a_vocabulary_is_shown_by_a_sample_of_its_input(evil, tmp_path):
    config = {"input": (str(evil / "evil.jsonl"),), "output": str(tmp_path / "v")}
    learn_vocabulary(VocabConfig(**config, vocab_size=80), RunOptions())
    page = page_of(tmp_path / "v", tmp_path / "page.html")
    assert "60 documents of the input" in page.text
    assert charts(page) == ["Documents by length", "Pieces of a word"]
    manifest = read_manifest(str(tmp_path / "v"))
    assert f"{manifest.facts['size']:,}" in page.text


def test_what_was_dropped_and_what_leaks(evil, tmp_path):
    write_jsonl(tmp_path / "quiz.jsonl", [f"{_EVIL} number7 漢"])
    options = {"exclude": (str(tmp_path / "quiz.jsonl"),), "min_characters": 71}
    options["exclude_action"] = "report"
    run_tokenize(evil, tmp_path / "rows", **options)
    text = page_of(tmp_path / "rows", tmp_path / "page.html").text
    assert re.search(r"few characters\s*10\s*16\.67%", text)
    assert "1 of 1 evaluation texts" in text
    assert "quiz.jsonl:1" in text


def test_near_duplicates_are_shown_with_what_differs(evil, tmp_path):
    words = [f"number{n}" for n in range(100)]
    texts = [" ".join([*words[:n], "script", *words[n + 1 :]]) for n in (3, 7, 11)]
    write_jsonl(tmp_path / "near.jsonl", [*texts, _EVIL])
    options = {"input": (str(tmp_path / "near.jsonl"),), "deduplicate": "near"}
    page = page_of(run_tokenize(evil, tmp_path / "rows", **options), tmp_path / "page.html")
    assert "3 documents" in page.text
    marked = [tag for tag, _ in page.tags].count("mark")
    # In both of the others the word of each and that of the one that stays, and one that tells of it.
    assert marked == 2 * 2 + 1


def test_texts_are_compared_word_by_word():
    assert list(compare_words("a b c d", "a x c d e")) == [
        ("a", False),
        ("x", True),
        ("c d", False),
        ("e", False),
    ]
    assert [*compare_words("a b", "new a b")] == [("new", True), ("a b", False)]
    assert [*compare_words("a b c", "a b")] == [("a b", False)]


def test_steps_are_shown_with_their_times(rows_dir, tmp_path):
    page = page_of(rows_dir, tmp_path / "page.html")
    made = {each.manifest.stage: each for each in trace(str(rows_dir)).outputs}
    steps = {stage: {step for step, _, _ in each.steps} for stage, each in made.items()}
    assert steps["vocab"] == {"reading", "counting words", "adding words up", "learning"}
    assert steps["tokenize"] == {"reading", "tokenizing", "packing", "writing"}
    for each in made.values():
        assert all(seconds >= 0 for _, seconds, _ in each.steps)
        assert sum(share for _, _, share in each.steps) == pytest.approx(1)
        assert not any("microseconds" in name for name in each.manifest.counts)
    assert "adding words up" in page.text


def test_figures_by_hand():
    vocabulary = Vocabulary((*SPECIAL_TOKENS, "a", "b", "##b", "never"))
    unk, cls, sep, masked, a, b, bb = 1, 2, 3, 4, 5, 6, 7
    figures = RowFigures(PieceFigures(vocabulary), 10, unk)
    ids = [cls, masked, bb, bb, sep, cls, unk, sep, cls, bb, b, bb, sep]
    figures.add(
        {
            "token_ids": Ragged(np.array(ids), np.array([0, 8, 13])),
            "segment_lengths": Ragged(np.array([5, 3, 5]), np.array([0, 2, 3])),
            "doc_ids": Ragged(np.array([9, 8, 9], np.uint64), np.array([0, 2, 3])),
            "mask_positions": Ragged(np.array([1]), np.array([0, 1, 1])),
            "mask_ids": Ragged(np.array([a]), np.array([0, 1, 1])),
        }
    )
    assert sorted(figures.fills().tolist()) == [0.5, 0.8]
    # "a ##b ##b" and "b ##b"; [UNK] is a word; what follows [CLS] belongs to no word.
    assert figures.pieces.words.tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    doc_ids, lengths, unknown = (array.tolist() for array in figures.documents())
    assert (doc_ids, lengths, unknown) == ([8, 9], [1, 6], [1, 0])
    assert list(figures.pieces.commonest(2)) == [("##b", 4, 4 / 6), ("a", 1, 1 / 6)]
    assert figures.pieces.never_used() == ["never"]
    assert figures.pieces.unknown_share == 1 / 7
    assert figures.predictions.tolist() == [1, 1]
    assert figures.segments.tolist() == [0, 1, 1]


def test_of_large_outputs_some_shards_are_looked_at():
    shards = [ShardInfo(f"train-{n:05d}-of-00100.array_record", 10, 100, "") for n in range(100)]
    chosen = [int(shard.name[6:11]) for shard in choose_shards(shards, most=500)]
    assert chosen == [0, 25, 50, 74, 99]
    assert choose_shards(shards, most=1) == shards[:1]
    assert choose_shards(shards) == shards


def test_bad_input_is_one_line(rows_dir, tmp_path):
    for given, problem in (
        ({"tokenizer": "x", "texts": ("a",), "html": "p"}, "--html: is a page about --data"),
        ({"data": str(tmp_path / "none"), "html": str(tmp_path / "p")}, "none does not exist"),
    ):
        with pytest.raises(UserError, match=problem):
            inspect(InspectConfig(**given), RunOptions())
    damaged = tmp_path / "rows"
    shutil.copytree(rows_dir, damaged)
    shard = damaged / read_manifest(str(damaged)).shards()[0].name
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=shard.name):
        page_of(damaged, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    (tmp_path / "other").mkdir()
    finish_output(str(tmp_path / "other"), Manifest("export", {}, {}), {}, {"seconds": 1})
    with pytest.raises(UserError, match="written by stage export"):
        page_of(tmp_path / "other", tmp_path / "page.html")
