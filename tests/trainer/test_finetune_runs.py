"""Several runs, early stopping, warm-up, and the part that is held out."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.command import RunOptions
from pipelines.errors import UserError
from pipelines.keyed_random import below, fold, purpose_key
from pipelines.vocabulary import SPECIAL_TOKENS
from trainer.encoded_texts import EncodedTexts
from trainer.evaluate import EvaluateConfig, evaluate
from trainer.examples import Examples, split_off
from trainer.finetune import FinetuneConfig, finetune
from trainer.finetune_run import restart_seed
from trainer.scores import mean_and_spread

WORDS = ["fine", "poor", "the", "film", "was", "and", "song", "it"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> FinetuneConfig:
    """A small preset and labels of which a fifth is wrong, so that runs differ and get worse."""
    from trainer.models.bert_backbone import BertBackbone
    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    folder = tmp_path_factory.mktemp("runs")
    BertBackbone(
        vocabulary_size=13,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=16,
    ).save_to_preset(str(folder / "preset"))
    BertTokenizer([*SPECIAL_TOKENS, *WORDS], lowercase=True).save_to_preset(str(folder / "preset"))
    draws = fold(purpose_key(1, "test"), np.arange(300)[:, None], np.arange(10))
    words = [[WORDS[i] for i in row] for row in below(draws, len(WORDS)).tolist()]
    rows = [
        {"text": " ".join(text), "label": int(("fine" in text) ^ (i % 5 == 0))}
        for i, text in enumerate(words)
    ]
    data = folder / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return FinetuneConfig(
        preset=str(folder / "preset"),
        train=(str(data),),
        output=str(folder / "out"),
        validation_fraction=0.3,
        seq_length=16,
        learning_rate=2e-2,
    )


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"restarts": 0}, "--restarts 0: must be at least 1"),
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
    encoded = EncodedTexts(
        ids.astype(np.int32),
        np.zeros(ids.shape, np.int32),
        np.full(400, length, np.int64),
        np.zeros(400, np.bool_),
    )
    names = fold(key, chars)
    order = np.argsort(names)
    examples = Examples(encoded, names, chars.tolist(), [""] * 400, None).select(order)
    train, validation = split_off(examples, 0.2, seed=0)
    sides = [set(part.labels) for part in (train, validation)]
    assert sides[0] | sides[1] == set(range(400))
    for side in sides:
        assert {label % 200 for label in side} == {label for label in side if label < 200}
    assert 40 < len(validation) < 130
    assert set(split_off(examples, 0.2, seed=1)[1].labels) != sides[1]
