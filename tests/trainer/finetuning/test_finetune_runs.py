"""Several runs, early stopping, warm-up, and the part that is held out."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.keyed_random import below, fold, purpose_key
from pipelines.records.ragged import Ragged
from pipelines.text.vocabulary import SPECIAL_TOKENS
from tests.command_process import CommandProcess
from tests.trainer.finetuning.word_preset import WORDS, save_word_preset
from trainer.evaluate import EvaluateConfig, evaluate
from trainer.finetune import FinetuneConfig, finetune
from trainer.finetuning.encoded import EncodedTexts
from trainer.finetuning.examples import Examples, split_off
from trainer.finetuning.output import FinishedRestarts
from trainer.finetuning.run import Finetuning, RunResult, restart_seed
from trainer.finetuning.scores import mean_and_spread


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> FinetuneConfig:
    """A small preset and labels of which a fifth is wrong, so that runs differ and get worse."""
    folder = tmp_path_factory.mktemp("runs")
    draws = fold(purpose_key(1, "test"), np.arange(300)[:, None], np.arange(10))
    words = [[WORDS[i] for i in row] for row in below(draws, len(WORDS)).tolist()]
    rows = [
        {"text": " ".join(text), "label": int(("fine" in text) ^ (i % 5 == 0))}
        for i, text in enumerate(words)
    ]
    data = folder / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return FinetuneConfig(
        preset=save_word_preset(folder, 16),
        train=(str(data),),
        output=str(folder / "out"),
        epochs=3,
        validation_fraction=0.3,
        seq_length=16,
        learning_rate=2e-2,
    )


def encoded_rows(ids: NDArray[Any]) -> EncodedTexts:
    """Texts of one length, from their ids [n, length]."""
    count, length = ids.shape
    tokens = Ragged(ids.reshape(-1), np.arange(count + 1) * length)
    return EncodedTexts(tokens, np.full(count, length), np.zeros(count, np.bool_), length, 0)


def read(output: str, name: str) -> Any:
    return json.loads((Path(output) / name).read_text())


def test_restarts_have_seeds_of_their_own_and_the_best_is_published(
    config: FinetuneConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = replace(config, restarts=2, epochs=1, metric="loss", seed=4)
    report = finetune(asked, RunOptions())
    assert report is not None
    runs = read(asked.output, "runs.json")
    seeds = [run["seed"] for run in runs["runs"]]
    assert seeds == [4, restart_seed(4, 1)]
    assert seeds[1] != 4
    losses = [run["loss"] for run in runs["runs"]]
    assert losses[0] != losses[1]
    assert runs["published_run"] == losses.index(min(losses))
    assert report["loss"] == min(losses)
    assert runs["mean"]["loss"] == pytest.approx(statistics.mean(losses))
    assert runs["standard_deviation"]["loss"] == pytest.approx(statistics.stdev(losses))
    shown = capsys.readouterr()
    assert f"{statistics.mean(losses):.4f} ± {statistics.stdev(losses):.4f}" in shown.out
    assert "flatter" in shown.err
    # What was published is that very run.
    data = (str(Path(asked.output) / "validation.jsonl"),)
    again = evaluate(EvaluateConfig(asked.output, data), RunOptions())
    assert again is not None
    assert again["loss"] == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.parametrize(
    "options", [{"token_dropout": 0.2}, {"dtype": "mixed_bfloat16"}], ids=lambda o: next(iter(o))
)
def test_a_restart_is_what_its_seed_alone_gives(
    config: FinetuneConfig, options: dict[str, Any]
) -> None:
    """Though the model is compiled, and was trained, for the run before."""
    name = f"{config.output}_{next(iter(options))}"
    shared = replace(config, validation=config.train, epochs=2, **options)
    several = replace(shared, restarts=2, seed=4, output=f"{name}_two")
    alone = replace(shared, seed=restart_seed(4, 1), output=f"{name}_one")
    finetune(several, RunOptions())
    finetune(alone, RunOptions())
    first, second = read(several.output, "runs.json")["runs"]
    assert second == read(alone.output, "runs.json")["runs"][0]
    assert second["loss"] != first["loss"]


def test_a_killed_command_goes_on_with_the_restart_that_is_not_finished(
    config: FinetuneConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = replace(config, restarts=3, epochs=12, output=config.output + "_whole")
    finetune(asked, RunOptions())
    killed = replace(asked, output=config.output + "_killed")
    first = Path(killed.output) / "restarts.unfinished" / "0.npz"
    # Epochs enough that the kill comes before the last restart is done.
    options = ["--preset", killed.preset, "--train", *killed.train, "--output", killed.output]
    options += ["--restarts", "3", "--epochs", "12", "--seq_length", "16"]
    options += ["--validation_fraction", "0.3", "--learning_rate", "2e-2"]
    with CommandProcess("trainer.finetune", *options) as process:
        while not first.exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert not (Path(killed.output) / "manifest.json").exists()
    capsys.readouterr()
    finetune(killed, RunOptions())
    assert "run 1 of 3 was finished before" in capsys.readouterr().err
    assert not first.parent.exists()
    for name in ("runs.json", "metrics.json", "history.jsonl"):
        whole = (Path(asked.output) / name).read_bytes()
        assert (Path(killed.output) / name).read_bytes() == whole


def test_only_the_restarts_of_the_same_task_are_taken_up(tmp_path: Path) -> None:
    weights = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((), np.float32)]
    outputs = np.array([[0.5, -1.0]], np.float32)
    history = [{"epoch": 1, "train_loss": 0.1 + 0.2, "validation": {"accuracy": 1 / 3}}]
    result = RunResult(7, 2, history, {"accuracy": 1 / 3, "examples": 1}, outputs, weights)
    asked, inputs = {"seed": 7, "restarts": 3}, {"train": [[10, "sha"]]}
    FinishedRestarts(tmp_path, asked, inputs).keep(1, result)

    again = FinishedRestarts(tmp_path, {**asked, "restarts": 5}, inputs).find(1)
    assert again is not None
    for field in ("seed", "epoch", "history", "figures"):
        assert getattr(again, field) == getattr(result, field)
    for one, other in zip([*again.weights, again.outputs], [*weights, outputs], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype

    same = FinishedRestarts(tmp_path, asked, inputs)
    assert same.find(0) is None
    assert FinishedRestarts(tmp_path, {**asked, "seed": 8}, inputs).find(1) is None
    assert FinishedRestarts(tmp_path, asked, {"train": [[10, "other"]]}).find(1) is None
    path = tmp_path / "restarts.unfinished" / "1.npz"
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"x" * 100):
        path.write_bytes(damaged)
        assert same.find(1) is None
    same.remove()
    assert not path.parent.exists()


def test_early_stopping_keeps_the_best_epoch(config: FinetuneConfig) -> None:
    asked = replace(
        config, epochs=12, early_stopping=2, metric="loss", output=config.output + "_stopped"
    )
    report = finetune(asked, RunOptions())
    lines = (Path(asked.output) / "history.jsonl").read_text().splitlines()
    losses = [json.loads(line)["validation"]["loss"] for line in lines]
    run = read(asked.output, "runs.json")["runs"][0]
    best = int(np.argmin(losses))
    assert report is not None
    assert report["loss"] == losses[best] == run["loss"]
    assert (run["best_epoch"], run["epochs"]) == (best + 1, len(losses))
    assert len(losses) == best + 3 < 12
    data = (str(Path(asked.output) / "validation.jsonl"),)
    again = evaluate(EvaluateConfig(asked.output, data), RunOptions())
    assert again is not None
    assert again["loss"] == pytest.approx(losses[best], rel=1e-4)
    assert abs(losses[-1] - losses[best]) > 1e-3 * losses[best]


def test_warm_up_changes_what_is_learned(config: FinetuneConfig) -> None:
    losses = []
    for fraction in (0.0, 0.9):
        asked = replace(
            config, epochs=1, warmup_fraction=fraction, output=f"{config.output}_{fraction}"
        )
        finetune(asked, RunOptions())
        line = (Path(asked.output) / "history.jsonl").read_text()
        losses.append(json.loads(line)["train_loss"])
    assert losses[0] != losses[1]


def test_mixed_precision_trains_and_leaves_a_float32_preset(config: FinetuneConfig) -> None:
    """Figures are those of the preset that is published, not of the bfloat16 model."""
    from trainer.models.bert_text_classifier import BertTextClassifier

    reports = {}
    for name, changes in {
        "float32": {},
        "mixed": {"dtype": "mixed_bfloat16"},
        "restarts": {"dtype": "mixed_bfloat16", "restarts": 2},
    }.items():
        asked = replace(
            config, epochs=2, metric="loss", output=f"{config.output}_{name}", **changes
        )
        reports[name] = finetune(asked, RunOptions())
        classifier = BertTextClassifier.from_preset(str(Path(asked.output) / "preset"))
        assert classifier.backbone.compute_dtype == "float32"
        data = (str(Path(asked.output) / "validation.jsonl"),)
        judged = evaluate(EvaluateConfig(asked.output, data), RunOptions())
        assert judged is not None
        assert reports[name] is not None
        assert judged["loss"] == pytest.approx(reports[name]["loss"], rel=1e-5)
    assert reports["mixed"] != reports["float32"]
    assert reports["mixed"]["loss"] == pytest.approx(reports["float32"]["loss"], rel=0.1)
    runs = read(f"{config.output}_restarts", "runs.json")["runs"]
    # The first of several runs is what a run alone gives, to the last bit.
    once = read(f"{config.output}_mixed", "runs.json")["runs"]
    assert runs[:1] == once
    assert runs[1]["loss"] != once[0]["loss"]


def test_dropout_of_the_preset_can_be_replaced(config: FinetuneConfig) -> None:
    from trainer.models.bert_text_classifier import BertTextClassifier

    losses = []
    for dropout in (None, 0.1, 0.0):
        output = f"{config.output}_dropout_{dropout}"
        finetune(replace(config, epochs=1, dropout=dropout, output=output), RunOptions())
        line = (Path(output) / "history.jsonl").read_text()
        losses.append(json.loads(line)["train_loss"])
        classifier = BertTextClassifier.from_preset(f"{output}/preset")
        expected = 0.1 if dropout is None else dropout
        assert (classifier.dropout, classifier.backbone.dropout) == (expected, expected)
    assert losses[0] == losses[1] != losses[2]


def test_frozen_layers_keep_the_weights_of_the_preset(config: FinetuneConfig) -> None:
    from trainer.models.bert_backbone import BertBackbone

    output = f"{config.output}_frozen"
    changes = {"epochs": 1, "learning_rate": 0.01, "dtype": "mixed_bfloat16", "restarts": 2}
    finetune(replace(config, **changes, frozen_layers=1, output=output), RunOptions())
    before, after = (
        {variable.path: np.asarray(variable) for variable in backbone.trainable_variables}
        for backbone in map(BertBackbone.from_preset, (config.preset, f"{output}/preset"))
    )
    assert len(before) == len(after) > 20
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert changed == {"pooled_dense/kernel", "pooled_dense/bias"}


def test_a_vocabulary_that_is_not_the_presets_is_refused(
    config: FinetuneConfig, tmp_path: Path
) -> None:
    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    shutil.copytree(config.preset, tmp_path / "preset")
    words = [*SPECIAL_TOKENS, *WORDS, "more", "than", "rows"]
    BertTokenizer(words, lowercase=True).save_to_preset(str(tmp_path / "preset"))
    asked = replace(config, preset=str(tmp_path / "preset"), output=str(tmp_path / "out"))
    with pytest.raises(UserError, match=r"16 pieces but the embedding only 13 rows"):
        finetune(asked, RunOptions())
    assert not (tmp_path / "out" / "history.jsonl").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"restarts": 0}, "--restarts 0: must be at least 1"),
        ({"dropout": 1.0}, "--dropout 1.0: must be at least 0 and below 1"),
        ({"frozen_layers": 2}, "--frozen_layers 2: the preset has 1 layers; lower it"),
        ({"early_stopping": -1}, "--early_stopping -1: must be at least 0"),
        ({"warmup_fraction": 1.5}, "--warmup_fraction 1.5: must be between 0 and 1"),
        (
            {"metric": "pearson"},
            "--metric pearson: choose one of accuracy, macro_f1, matthews, loss",
        ),
        ({"metric": "accuracy", "task": "regression"}, "choose one of pearson, spearman"),
    ],
)
def test_bad_options(config: FinetuneConfig, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        finetune(replace(config, output=config.output + "_bad", **changes), RunOptions())


def test_mean_and_spread() -> None:
    assert mean_and_spread([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert mean_and_spread([5.0]) == (5.0, 0.0)


def test_near_duplicates_are_held_out_together() -> None:
    key, length = purpose_key(0, "near"), 40
    ids = 5 + below(fold(key, np.arange(400)[:, None], np.arange(length)), 1000)
    ids[200:] = ids[:200]
    ids[200:, 7] = 3  # One token of forty is another.
    chars = np.arange(400)
    encoded = encoded_rows(ids)
    names = fold(key, chars)
    order = np.argsort(names)
    examples = Examples(encoded, names, chars, ()).select(order)
    train, validation = split_off(examples, 0.2, seed=0)
    sides = [set(part.labels.tolist()) for part in (train, validation)]
    assert sides[0] | sides[1] == set(range(400))
    for side in sides:
        assert {label % 200 for label in side} == {label for label in side if label < 200}
    assert 40 < len(validation) < 130
    assert set(split_off(examples, 0.2, seed=1)[1].labels.tolist()) != sides[1]


def test_the_loss_of_an_epoch_is_the_mean_over_its_examples(config: FinetuneConfig) -> None:
    from trainer.models.bert_text_classifier import BertTextClassifier

    classifier = BertTextClassifier.from_preset(config.preset, num_classes=2)
    count, length = 45, 12  # The last batch of 32 is not full.
    ids = 5 + below(fold(purpose_key(3, "test"), np.arange(count)[:, None], np.arange(length)), 8)
    encoded = encoded_rows(ids)
    labels = np.arange(count) % 2
    examples = Examples(encoded, np.arange(count, dtype=np.uint64), labels, ("0", "1"))
    losses: list[float] = []
    # So slow that the weights stay what they are; without dropout it would be the same number.
    slow = replace(config, learning_rate=1e-9, epochs=3)
    finetuning = Finetuning(classifier, classifier, examples, examples, slow)
    found = finetuning.run(0, lambda epoch, rate: losses.append(epoch["train_loss"]))
    assert losses == pytest.approx([found.figures["loss"]] * 3, rel=0.1)
