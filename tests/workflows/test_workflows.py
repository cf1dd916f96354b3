"""Each workflow, and GLUE, on a few real examples: they run, and say how right they are."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.workflows.__main__ import GUIDE
from tests.workflows.budgets import PHASES
from tests.workflows.choices import CHOICES, choice_settings
from tests.workflows.linear import linear_scores
from tests.workflows.reviews import Options
from trainer.pretraining.check_config import check_config
from trainer.pretraining.config import PretrainConfig

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return done.stdout


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> str:
    """A very small preset with the first pieces of BERT's own vocabulary and random weights."""
    from trainer.models.bert_backbone import BertBackbone
    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    folder = str(tmp_path_factory.mktemp("preset"))
    vocabulary = (data_dir / "vocab" / "bert-base-uncased-vocab.txt").read_text("utf-8")
    tokenizer = BertTokenizer(vocabulary.split("\n")[:6000], lowercase=True)
    BertBackbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=128,
    ).save_to_preset(folder)
    tokenizer.save_to_preset(folder)
    return folder


def test_the_six_workflows_run_on_real_reviews(preset: str, data_dir: Path, tmp_path: Path) -> None:
    classifier = str(tmp_path / "classifier")
    found = {}
    for name in GUIDE:
        module = importlib.import_module(f"tests.workflows.{name}")
        options = Options(
            data=[str(data_dir / "imdb" / "train-00000-of-00008.jsonl.gz")],
            preset=classifier if name == "classify" else preset,
            limit=120,
            epochs=1,
            seq_length=80,
            save=classifier if name == "finetune_pretrained" else "",
        )
        found[name] = getattr(module, name)(options)
    for name, figures in found.items():
        accuracy = figures["masked accuracy" if name == "pretrain_backbone" else "accuracy"]
        assert 0 <= accuracy <= 1
    # What was saved is what was fine-tuned.
    assert found["classify"] == pytest.approx(found["finetune_pretrained"], abs=1e-6)
    assert found["from_scratch"]["pieces"] > 500
    assert 0 < found["pretrain_backbone"]["loss"] < 5


@pytest.mark.long
def test_the_table_stands_beside_the_guides_figures(
    preset: str, data_dir: Path, tmp_path: Path
) -> None:
    shown = run(
        "tests.workflows",
        *("--data", str(data_dir / "imdb" / "train-00000-of-00008.jsonl.gz"), "--preset", preset),
        *("--limit", "120", "--epochs", "1", "--seq_length", "80"),
        *("--seeds", "2", "--dtype", "mixed_bfloat16", "--output", str(tmp_path)),
    )
    assert all(figure in shown for figure in GUIDE.values())
    found = {
        name: [
            json.loads((tmp_path / f"{name}-{seed}.json").read_text())["figures"] for seed in (0, 1)
        ]
        for name in GUIDE
    }
    for saved, loaded in zip(found["finetune_pretrained"], found["classify"], strict=True):
        assert saved["accuracy"] == pytest.approx(loaded["accuracy"], abs=1e-4)
    # Seeds differ, and their mean is what the table says.
    losses = [figures["loss"] for figures in found["pretrain_backbone"]]
    assert losses[0] != losses[1]
    assert f"loss {sum(losses) / 2:.4g} ± " in shown
    assert "NB-SVM, a linear model" in shown


def test_glue_from_a_preset_and_from_random_weights(
    preset: str, data_dir: Path, tmp_path: Path
) -> None:
    shown = run(
        "tests.workflows.glue",
        *("--preset", preset, "--output", str(tmp_path), "--data", str(data_dir / "glue")),
        *("--seeds", "2", "--epochs", "1", "--limit", "64", "--seq_length", "8"),
        *("--tasks", "CoLA"),
    )
    runs = json.loads((tmp_path / "CoLA-random" / "runs.json").read_text())
    assert len(runs["runs"]) == 2
    assert [run["examples"] for run in runs["runs"]] == [1043, 1043]
    assert f"{runs['mean']['matthews']:.4f} ± {runs['standard_deviation']['matthews']:.4f}" in shown
    assert "NB-SVM" in shown
    pretrained = json.loads((tmp_path / "CoLA-pretrained" / "manifest.json").read_text())
    assert pretrained["config"]["from_scratch"] is False


def test_few_labels_are_the_same_for_all_models(
    preset: str, data_dir: Path, tmp_path: Path
) -> None:
    reviews = str(data_dir / "imdb" / "train-00000-of-00008.jsonl.gz")
    arguments = ["tests.workflows.few_labels", "--labels", "50", "--samples", "1"]
    arguments += ["--preset", preset, "--train", reviews, "--output", str(tmp_path)]
    arguments += ["--epochs", "1", "--seq_length", "8"]
    shown = run(*arguments)
    lines, held_out = (
        (tmp_path / f"{name}.jsonl").read_text().split("\n")[:-1]  # texts hold other ends of lines
        for name in ("texts_50_0", "validation")
    )
    assert (len(lines), len(set(lines))) == (6400, 50)
    assert not {*lines} & {*held_out}
    for start, from_scratch in (("pretrained", False), ("random", True)):
        made = tmp_path / f"{start}_50_0"
        manifest = json.loads((made / "manifest.json").read_text())
        assert manifest["config"]["from_scratch"] is from_scratch
        figures = json.loads((made / "metrics.json").read_text())
        assert figures["examples"] == len(held_out)
        assert f"{100 * figures['accuracy']:.4g}" in shown
    assert "NB-SVM" in shown
    assert run(*arguments) == shown


def test_linear_models_learn_what_words_tell() -> None:
    nouns = ["film", "plot", "cast", "end"]
    texts = [f"a {word} {noun}" for word in ("good", "bad", "odd") for noun in nouns]
    labels = np.repeat([0, 1, 2], len(nouns))
    for classes in (2, 3):
        chosen = labels < classes
        seen = [text for text, is_chosen in zip(texts, chosen, strict=True) if is_chosen]
        found = linear_scores(seen, labels[chosen], ["good x", "bad y"], np.array([0, 1]))
        assert all(scores["accuracy"] == 1 for scores in found.values())
    # Labels that the words do not tell are not learned.
    found = linear_scores(texts, np.tile([0, 1], 6), ["good x", "good y"], np.array([0, 1]))
    assert all(scores["accuracy"] == 0.5 for scores in found.values())


def test_choices_change_what_they_name_and_are_judged_alike(tmp_path: Path) -> None:
    options = argparse.Namespace(data="data/imdb", output=str(tmp_path), millions=1.0, restarts=1)
    options.size = "2x256"
    base = choice_settings("base", 0, options)
    for choice, changes in CHOICES.items():
        settings = choice_settings(choice, 0, options)
        own = {"output", "initial_run", "steps"}
        for phase in ("pretrain_128", "pretrain", "pretrain_judge"):
            check_config(PretrainConfig(**settings[phase]))
            differing = {k for k, v in settings[phase].items() if base[phase].get(k, 0) != v}
            changed = {*changes.get(phase, {})} | {
                "data" for _ in changes.get(PHASES.get(phase), {})
            }
            assert differing - own == changed
            if phase in PHASES:  # as many tokens, to a batch
                before, after = (
                    each[phase]["steps"]
                    * each[phase]["batch_size"]
                    * each[PHASES[phase]]["seq_length"]
                    for each in (base, settings)
                )
                assert 0 <= before - after < 8192
        assert settings["pretrain_judge"]["initial_run"] == settings["pretrain"]["output"]


@pytest.mark.long
def test_choices_are_compared_over_seeds(data_dir: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(data_dir / "imdb"), "--output", str(tmp_path), "--millions", "0.1"]
    arguments += ["--seeds", "2", "--choices", "base", "mask_30"]
    shown = run("tests.workflows.choices", *arguments)
    table = [line.split() for line in shown.splitlines()[-2:]]
    assert [line[0] for line in table] == ["base", "mask_30"]
    assert all(2 < float(line[4]) < 6 for line in table)  # bits a byte
    assert run("tests.workflows.choices", *arguments) == shown


@pytest.mark.long
def test_ways_to_a_model_of_a_domain(preset: str, data_dir: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(data_dir), "--output", str(tmp_path), "--presets", preset, "--few"]
    arguments += ["--steps", "4", "--texts", "200", "--seeds", "1"]
    shown = run("tests.workflows.domain", *arguments)
    table = [line.split() for line in shown.splitlines()[-12:]]
    assert [line[0] for line in table] == 6 * ["imdb"] + 6 * ["books"]
    assert all(0 <= float(line[-1]) <= 100 for line in table)
    for line in (line for line in table if not {"it", "NB-SVM", "TF-IDF"} & set(line)):
        assert 0 < float(line[-2]) < 16  # bits a byte
    assert run("tests.workflows.domain", *arguments) == shown
