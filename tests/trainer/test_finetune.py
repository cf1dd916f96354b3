from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.command.run import RunOptions
from pipelines.documents.labelled import LabelledText
from pipelines.errors import UserError
from pipelines.inspect import InspectConfig, inspect
from pipelines.keyed_random import below, fold, purpose_key
from pipelines.text.preset_vocabulary import load_preset_vocabulary
from trainer.evaluate import EvaluateConfig, evaluate
from trainer.finetune import FinetuneConfig, finetune
from trainer.finetuning.encoded import bucket_lengths, encode_texts, run_model
from trainer.finetuning.run import epoch_batches
from trainer.finetuning.scores import probabilities
from trainer.finetuning.task import load_finetuned
from trainer.predict import PredictConfig, predict
from trainer.pretraining.initial_preset import InitialPreset

ROOT = Path(__file__).resolve().parents[2]
GOOD, BAD = ["fine", "lovely", "bright", "warm"], ["poor", "dull", "cold", "weak"]
OTHER = ["the", "a", "film", "was", "and", "song", "book", "very", "it", "in"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# Why a record cannot be used.
_REASONS = ("missing_field", "no_label", "invalid_json")


def words_of(key: int, count: int, words: list[str]) -> list[str]:
    draws = below(fold(purpose_key(key, "test"), np.arange(count)), len(words))
    return [words[draw] for draw in draws]


def review(key: int) -> dict[str, Any]:
    """A text of three to eleven words, one of which tells the label."""
    label = ("bad", "good")[key % 2]
    words = words_of(key, 2 + key % 9, OTHER)
    words.insert(key % len(words), words_of(key, 1, GOOD if label == "good" else BAD)[0])
    return {"text": " ".join(words), "label": label, "number": 2.0 * (key % 2)}


def write_jsonl(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random preset and data."""
    from trainer.models.bert_backbone import BertBackbone
    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    folder = tmp_path_factory.mktemp("finetune")
    vocabulary = [*SPECIAL, *GOOD, *BAD, *OTHER]
    backbone = BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=1,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        max_sequence_length=16,
    )
    backbone.save_to_preset(str(folder / "preset"))
    BertTokenizer(vocabulary, lowercase=True).save_to_preset(str(folder / "preset"))
    write_jsonl(folder / "train.jsonl", [review(key) for key in range(600)])
    write_jsonl(folder / "validation.jsonl", [review(key) for key in range(600, 700)])
    return folder


@pytest.fixture(scope="module")
def config(folder: Path) -> FinetuneConfig:
    return FinetuneConfig(
        preset=str(folder / "preset"),
        train=(str(folder / "train.jsonl"),),
        validation=(str(folder / "validation.jsonl"),),
        output=str(folder / "run"),
        epochs=3,
        learning_rate=5e-3,
        seq_length=16,
    )


@pytest.fixture(scope="module")
def run(config: FinetuneConfig) -> Path:
    """The output of the command, run where there is no TensorFlow."""
    program = (
        "import sys, runpy; sys.modules.update(tensorflow=None, tensorflow_text=None);"
        "sys.argv[0] = 'finetune'; runpy.run_module('trainer.finetune', run_name='__main__')"
    )
    flags = ["--epochs", "3", "--learning_rate", "5e-3", "--seq_length", "16"]
    paths = ["--preset", config.preset, "--train", *config.train, "--output", config.output]
    subprocess.run(
        [sys.executable, "-c", program, *flags, *paths, "--validation", *config.validation],
        check=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    return Path(config.output)


def test_it_learns_and_says_so(run: Path, config: FinetuneConfig) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.95
    assert np.trace(metrics["confusion"]) / 100 == metrics["accuracy"]
    assert metrics["classes"] == ["bad", "good"]
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == [1, 2, 3]
    assert history[2]["train_loss"] < 0.5 * history[0]["train_loss"]
    assert history[2]["validation"]["accuracy"] == metrics["accuracy"]
    assert not list(run.glob(".incomplete-*"))
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["counts"]["examples_train"] == 600
    assert manifest["facts"]["classes"] == ["bad", "good"]


def test_few_examples_are_seen_until_they_are_learned(
    config: FinetuneConfig, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = write_jsonl(folder / "few.jsonl", [review(key) for key in range(40)])
    asked = replace(config, train=(few,), epochs=None, learning_rate=1e-3)
    three = finetune(replace(asked, epochs=3, output=str(folder / "three")), RunOptions())
    enough = finetune(replace(asked, output=str(folder / "few")), RunOptions())
    assert "200 steps of 32 (epochs: 100), rate 0.001" in capsys.readouterr().err
    history = (folder / "few" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in history] == [
        *range(3, 100, 3),
        100,
    ]  # as often as 100 validation examples are worth
    assert json.loads((folder / "few" / "runs.json").read_text())["runs"][0]["epochs"] == 100
    assert three is not None
    assert enough is not None
    assert three["accuracy"] < 0.7
    assert enough["accuracy"] > 0.9
    assert [asked.epochs_for(count) for count in (1, 32, 1_000, 100_000)] == [200, 200, 7, 3]


def test_the_rate_follows_from_the_width_of_the_preset(
    config: FinetuneConfig, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = replace(config, learning_rate=None, epochs=1, output=str(folder / "rate"))
    assert [asked.rate_for(width) for width in (128, 256, 768, 1024)] == [3e-4, 2e-4, 5e-5, 4e-5]
    finetune(asked, RunOptions())
    assert "19 steps of 32 (epochs: 1), rate 0.001" in capsys.readouterr().err
    chosen = replace(asked, learning_rate=1e-3, output=str(folder / "chosen"))
    finetune(chosen, RunOptions())
    for name in ("history.jsonl", "metrics.json"):
        assert (folder / "rate" / name).read_bytes() == (folder / "chosen" / name).read_bytes()


def test_finished_output_is_recognised_and_a_different_one_not_replaced(
    run: Path, config: FinetuneConfig, folder: Path
) -> None:
    before = (run / "preset" / "task.weights.h5").stat()
    assert finetune(config, RunOptions()) is None
    assert (run / "preset" / "task.weights.h5").stat() == before
    with pytest.raises(UserError, match="seed was 0, now 5"):
        finetune(replace(config, seed=5), RunOptions())
    other = write_jsonl(folder / "other.jsonl", [review(key) for key in range(50)])
    with pytest.raises(UserError, match="input files have changed"):
        finetune(replace(config, train=(other,)), RunOptions())


def test_an_interrupted_run_starts_again_and_gives_the_same(
    run: Path, config: FinetuneConfig, folder: Path
) -> None:
    again = folder / "again"
    shutil.copytree(run, again)
    (again / "manifest.json").unlink()
    (again / "preset" / "task.json").unlink()
    (again / ".incomplete-0-preset").mkdir()
    with pytest.raises(UserError, match="is not finished"):
        evaluate(EvaluateConfig(preset=str(again), data=config.validation), RunOptions())
    finetune(replace(config, output=str(again)), RunOptions())
    for name in ("metrics.json", "history.jsonl", "manifest.json"):
        assert (again / name).read_bytes() == (run / name).read_bytes()
    assert not (again / ".incomplete-0-preset").exists()


def test_a_fine_tuned_preset_with_a_changed_file_is_refused(
    run: Path, config: FinetuneConfig, folder: Path
) -> None:
    changed = folder / "changed"
    shutil.copytree(run, changed)
    inspect(InspectConfig(data=str(changed)), RunOptions())
    for name in ("task.weights.h5", "bertmill_task.json", "metadata.json"):
        path = changed / "preset" / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        problem = f"preset/{name} is not the file of SHA256SUMS"
        for preset in (str(changed), str(changed / "preset")):
            with pytest.raises(UserError, match=problem):
                evaluate(EvaluateConfig(preset=preset, data=config.validation), RunOptions())
            with pytest.raises(UserError, match=problem):
                predict(PredictConfig(preset=preset, texts=("good",)), RunOptions())
            with pytest.raises(UserError, match=problem):
                finetune(replace(config, preset=preset, output=str(folder / "no")), RunOptions())
            with pytest.raises(UserError, match=problem):
                inspect(InspectConfig(data=preset), RunOptions())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    (changed / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match=r"metrics\.json is not the file of SHA256SUMS"):
        inspect(InspectConfig(data=str(changed)), RunOptions())


def test_evaluate_gives_the_figures_of_fine_tuning(
    run: Path, config: FinetuneConfig, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = folder / "evaluated"
    settings = EvaluateConfig(preset=str(run), data=config.validation, output=str(output))
    report = evaluate(settings, RunOptions())
    assert report is not None
    expected = json.loads((run / "metrics.json").read_text())
    assert report.pop("truncated") == 0
    assert {k: v for k, v in report.items() if k != "loss"} == {
        k: v for k, v in expected.items() if k != "loss"
    }
    assert report["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    said = capsys.readouterr()
    shown = said.out
    assert "accuracy" in shown
    assert f"evaluate: accuracy {report['accuracy']:.1%}, with 95 % certainty " in said.err
    assert "always saying '" in said.err
    for name, row in zip(report["classes"], report["confusion"], strict=True):
        cells = [name, *map(str, row), f"{report['f1'][name]:.4f}"]
        assert cells in [line.split() for line in shown.split("\n")]
    assert json.loads((output / "metrics.json").read_text())["accuracy"] == expected["accuracy"]
    assert evaluate(settings, RunOptions()) is None
    empty = write_jsonl(folder / "empty.jsonl", [review(0), {"text": " ", "label": "good"}])
    evaluate(replace(settings, data=(empty,), output=""), RunOptions())
    assert "2 texts; 1 without any text" in capsys.readouterr().err
    unseen = write_jsonl(folder / "unseen.jsonl", [review(0), {"text": "a", "label": "odd"}])
    with pytest.raises(UserError, match=r"unseen\.jsonl:2: label 'odd' was never seen"):
        evaluate(EvaluateConfig(preset=str(run), data=(unseen,)), RunOptions())


def test_predict_names_the_classes_in_the_order_of_the_texts(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ("The film was lovely", "a very dull song", "", "warm " * 40)
    found = predict(PredictConfig(preset=str(run / "preset"), texts=texts), RunOptions())
    assert [row["label"] for row in found][:2] == ["good", "bad"]
    assert found[3]["label"] == "good"
    assert [row["text"] for row in found] == list(texts)
    for row in found:
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
    shown = capsys.readouterr()
    assert shown.out.split("\n")[0].split() == [
        "good", f"{found[0]['probabilities']['good']:.3f}", "The", "film", "was", "lovely",
    ]  # fmt: skip
    assert "1 (25.0%) longer than 16 tokens lose their end; 1 without any text" in shown.err

    data = write_jsonl(folder / "texts.jsonl", [{"text": text} for text in texts])
    settings = PredictConfig(
        preset=str(run), data=(data,), output=str(folder / "new" / "p.jsonl"), batch_size=3
    )
    predict(settings, RunOptions())
    lines = Path(settings.output).read_text("utf-8").split("\n")[:-1]
    for line, row in zip(map(json.loads, lines), found, strict=True):
        assert (line["text"], line["label"]) == (row["text"], row["label"])
        assert line["probabilities"] == pytest.approx(row["probabilities"], abs=2e-6)
    predict(settings, RunOptions())
    with pytest.raises(UserError, match="exists and differs"):
        predict(replace(settings, data=(), texts=("a film",)), RunOptions())
    table = folder / "new" / "p.csv"
    predict(replace(settings, output=str(table)), RunOptions())
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["text"], row["label"]) for row in rows] == [
        (row["text"], row["label"]) for row in found
    ]
    with pytest.raises(UserError, match=r"p\.txt: unknown kind of file"):
        predict(replace(settings, output=str(folder / "p.txt")), RunOptions())


def test_results_do_not_depend_on_batches_or_buckets(run: Path) -> None:
    model, preprocessor, task = load_finetuned(str(run))
    assert task.classes == ("bad", "good")
    preprocessor.sequence_length = 12
    rows = [review(key)["text"] for key in range(37)]
    encoded = encode_texts(preprocessor, [LabelledText(row, None, None, "") for row in rows])
    assert encoded.tokens.lengths.tolist() == [min(12, len(row.split()) + 2) for row in rows]
    assert encoded.truncated == sum(len(row.split()) > 10 for row in rows) > 0
    batched = run_model(model, encoded, 5)
    inputs = encoded.batch(np.arange(37), 37)
    assert inputs["token_ids"].shape == (37, 12)
    expected = preprocessor(rows)
    for name, values in inputs.items():
        np.testing.assert_array_equal(values, expected[name])
    single = model.predict_on_batch(inputs)
    np.testing.assert_allclose(batched, single, atol=1e-5)


def test_pairs_regression_and_a_validation_part(config: FinetuneConfig, folder: Path) -> None:
    rows = [review(key) for key in range(600)]
    # Far from 0, where a new layer begins: 3,000 or 3,500.
    data = [
        {"a": row["text"], "b": "the film", "score": 3000 + 250 * row["number"]} for row in rows
    ]
    data += [{"a": "", "b": " ", "score": 0}] * 3 + data[:40]
    bad: list[Any] = [{"a": "x", "b": "y"}, {"a": "x", "b": "y", "score": None}, ["no object"]]
    settings = replace(
        config,
        train=(write_jsonl(folder / "pairs.jsonl", bad + data),),
        on_bad_record="drop",
        validation=(),
        validation_fraction=0.2,
        task="regression",
        text_field="a",
        text_pair_field="b",
        label_field="score",
        output=str(folder / "regression"),
        from_scratch=True,
        epochs=6,
    )
    report = finetune(settings, RunOptions())
    assert report is not None
    assert report["pearson"] > 0.8
    assert report["mean_squared_error"] < 0.5 * 250**2  # of what the mean alone would have
    counts = json.loads((folder / "regression" / "manifest.json").read_text())["counts"]
    assert counts["examples_dropped_empty"] == 3
    dropped = [counts[f"examples_dropped_{name}"] for name in _REASONS]
    assert dropped == [1, 1, 1]
    assert counts["examples_read"] == len(data) + len(bad)
    assert counts["examples_train"] + counts["examples_validation"] == 640
    part = folder / "regression" / "validation.jsonl"
    kept = Counter(json.loads(line)["a"] for line in part.read_text().split("\n")[:-1])
    assert sum(kept.values()) == counts["examples_validation"]
    # Equal texts are on one side: all copies of what is here are here.
    everywhere = Counter(row["a"] for row in data)
    assert all(everywhere[text] == number for text, number in kept.items())
    judging = EvaluateConfig(
        str(folder / "regression"),
        (str(part), write_jsonl(folder / "bad.jsonl", bad)),
        str(folder / "judged"),
        on_bad_record="drop",
    )
    again = evaluate(judging, RunOptions())
    assert again is not None
    assert again["examples"] == counts["examples_validation"]
    counts = json.loads((folder / "judged" / "manifest.json").read_text())["counts"]
    assert [counts[f"texts_dropped_{name}"] for name in _REASONS] == [1, 1, 1]
    assert again["pearson"] == pytest.approx(report["pearson"], abs=1e-5)
    assert again["mean_squared_error"] == pytest.approx(report["mean_squared_error"], rel=1e-3)
    found = predict(
        PredictConfig(settings.output, texts=("a lovely film", "the film")), RunOptions()
    )
    assert found[0]["text_pair"] == "the film"
    assert all(2500 < row["value"] < 4000 for row in found)
    with pytest.raises(UserError, match="pairs of texts, got 1"):
        predict(PredictConfig(settings.output, texts=("one",)), RunOptions())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "/nowhere/at/all"}, "no such directory"),
        ({"train": ("/nowhere/*.jsonl",)}, "--train: no file matches"),
        ({"text_field": "texts"}, r"train\.jsonl:1: .*'texts'.*; did you mean text;"),
        ({"label_field": "lable"}, r"train\.jsonl:1: .*'lable'.*; did you mean label;"),
        ({"seq_length": 17}, "--seq_length 17: the preset has 16 positions"),
        ({"epochs": 0}, "--epochs 0: must be at least 1"),
        ({"learning_rate": float("nan")}, "--learning_rate nan"),
        ({"task": "regression"}, r"train\.jsonl:1: label 'bad' is not a number"),
        ({"validation": (), "validation_fraction": 1e-9}, "leaves training or validation without"),
    ],
)
def test_bad_options(
    config: FinetuneConfig, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        finetune(replace(config, output=str(tmp_path / "out"), **changes), RunOptions())
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_of_somebody_is_replaced(
    run: Path, config: FinetuneConfig, folder: Path, tmp_path: Path, overwrite: bool
) -> None:
    mine = tmp_path / "my"
    shutil.copytree(config.preset, mine / "preset")
    for name in ("metrics.json", "validation.jsonl"):
        (mine / name).write_text("mine")
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    for preset in (config.preset, str(mine / "preset")):
        with pytest.raises(UserError, match="--output: .*my (holds metrics|is or holds .*preset)"):
            finetune(
                replace(config, preset=preset, output=str(mine)), RunOptions(overwrite=overwrite)
            )
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before


def test_an_output_does_not_replace_what_it_is_made_from(
    run: Path, config: FinetuneConfig, tmp_path: Path
) -> None:
    again = tmp_path / "run"
    shutil.copytree(run, again)
    (tmp_path / "link").symlink_to(again)
    (again / "more.jsonl").write_bytes(Path(config.train[0]).read_bytes())
    before = {path: path.read_bytes() for path in again.rglob("*") if path.is_file()}
    options = RunOptions(overwrite=True)
    for preset in (again, again / "preset", tmp_path / "link"):
        with pytest.raises(UserError, match="is or holds .*, which --preset reads"):
            finetune(replace(config, preset=str(preset), output=str(again)), options)
        with pytest.raises(UserError, match="is or holds .*, which --preset reads"):
            evaluate(EvaluateConfig(str(preset), config.validation, str(again)), options)
    more = (str(tmp_path / "link" / "more.jsonl"),)
    with pytest.raises(UserError, match="is or holds .*, which --train reads"):
        finetune(replace(config, train=more, output=str(again)), options)
    assert {path: path.read_bytes() for path in again.rglob("*") if path.is_file()} == before


def test_predictions_do_not_replace_the_texts(run: Path, tmp_path: Path) -> None:
    data = Path(write_jsonl(tmp_path / "texts.jsonl", [{"text": "a film"}]))
    (tmp_path / "link.jsonl").symlink_to(data)
    before = data.read_bytes()
    for output in (data, tmp_path / "." / "texts.jsonl", tmp_path / "link.jsonl"):
        settings = PredictConfig(preset=str(run), data=(str(data),), output=str(output))
        with pytest.raises(UserError, match="is or holds .*, which --data reads"):
            predict(settings, RunOptions(overwrite=True))
    assert data.read_bytes() == before


def test_overwriting_destroys_nothing_before_the_new_run_is_possible(
    run: Path, config: FinetuneConfig
) -> None:
    with pytest.raises(UserError, match="17: the preset has 16 positions"):
        finetune(replace(config, seq_length=17), RunOptions(overwrite=True))
    assert finetune(config, RunOptions()) is None


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        ([("a", "x"), ("b", "x")], [], "all 2 examples have the label 'x'; two classes"),
        ([("a", "x"), ("b", "y")], [("c", "z")], r"validation\.jsonl:1: label 'z' was never seen"),
        ([("", "x"), (" ", "y")], [], "--train: all texts are empty"),
        (
            [("a", "x"), ("b", "")],
            [],
            r"train\.jsonl:2: .* no label .* drop .* --on_bad_record drop",
        ),
    ],
)
def test_bad_data(
    config: FinetuneConfig,
    tmp_path: Path,
    train: list[tuple[str, str]],
    validation: list[tuple[str, str]],
    message: str,
) -> None:
    changed: dict[str, Any] = {}
    for name, rows in (("train", train), ("validation", validation)):
        path = tmp_path / f"{name}.jsonl"
        write_jsonl(path, [{"text": text, "label": label} for text, label in rows])
        changed[name] = (str(path),) if rows else ()
    with pytest.raises(UserError, match=message):
        finetune(replace(config, output=str(tmp_path / "out"), **changed), RunOptions())


def test_the_output_itself_is_a_preset(run: Path, tmp_path: Path) -> None:
    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.bert_text_classifier import BertTextClassifier, TextClassifier
    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    texts = [review(key)["text"] for key in range(600, 604)]
    inner = BertTextClassifier.from_preset(str(run / "preset"))
    for place in (str(run), run):
        outer = TextClassifier.from_preset(place)
        np.testing.assert_array_equal(outer.predict(texts), inner.predict(texts))
    assert BertBackbone.from_preset(str(run)).num_layers == inner.backbone.num_layers
    pieces = BertTokenizer.from_preset(str(run)).get_vocabulary()
    # Wherever a command takes a preset.
    assert list(load_preset_vocabulary(str(run)).vocabulary.tokens) == pieces
    start = InitialPreset.open(str(run))
    assert start.text is not None
    assert list(start.text.vocabulary.tokens) == pieces
    # Of a run that was interrupted.
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(UserError, match="is not finished; run its trainer.finetune again"):
        BertBackbone.from_preset(str(tmp_path / "run"))


def test_what_is_no_fine_tuned_preset_is_told(config: FinetuneConfig, folder: Path) -> None:
    for preset, message in (
        (config.preset, "is no fine-tuned preset"),
        ("/nowhere", "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            predict(PredictConfig(preset, texts=("a",)), RunOptions())
    with pytest.raises(UserError, match="--data or --texts"):
        predict(PredictConfig(config.preset), RunOptions())


def test_bucket_lengths() -> None:
    assert bucket_lengths(200) == [32, 64, 96, 128, 160, 192, 200]
    assert bucket_lengths(512) == [64, 128, 192, 256, 320, 384, 448, 512]
    assert bucket_lengths(128) == [16, 32, 48, 64, 80, 96, 112, 128]
    assert bucket_lengths(16) == [8, 16]
    assert bucket_lengths(5) == [5]


def test_probabilities_of_huge_logits() -> None:
    assert probabilities(np.array([[1e4, 0.0, -1e4]], np.float32)).tolist() == [[1.0, 0.0, 0.0]]


@given(st.lists(st.integers(3, 128), min_size=1, max_size=200), st.integers(1, 20))
def test_every_example_is_in_each_epoch_once(lengths: list[int], batch_size: int) -> None:
    array = np.array(lengths)
    first, second = (epoch_batches(array, batch_size, 3, epoch) for epoch in (0, 1))
    assert sorted(np.concatenate(first).tolist()) == list(range(len(lengths)))
    assert len(first) == -(-len(lengths) // batch_size)
    assert all(len(batch) <= batch_size for batch in first)
    again = epoch_batches(array, batch_size, 3, 0)
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in first]
    if len(lengths) > 30:
        assert np.concatenate(first).tolist() != np.concatenate(second).tolist()


def test_batches_are_alike_in_length() -> None:
    lengths = 3 + below(fold(purpose_key(1, "test"), np.arange(2000)), 126)
    spread = [np.ptp(lengths[batch]) for batch in epoch_batches(lengths, 16, 0, 0)]
    assert np.mean(spread) < 8


@pytest.mark.long
def test_keras_hub_loads_the_preset(run: Path) -> None:
    keras_hub = pytest.importorskip("keras_hub")
    texts = [review(key)["text"] for key in range(600, 620)]
    model, preprocessor, _ = load_finetuned(str(run))
    ours = run_model(
        model, encode_texts(preprocessor, [LabelledText(text, None, None, "") for text in texts]), 8
    )
    theirs = keras_hub.models.TextClassifier.from_preset(str(run / "preset")).predict(texts)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
