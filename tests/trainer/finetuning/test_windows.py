"""Long texts in windows: nothing is lost, and what decides a text may stand anywhere in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.text.vocabulary import SPECIAL_TOKENS
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pipeline import tokenize
from tests.trainer.finetuning.word_preset import END, START, WORDS, a_classifier, texts_of
from trainer.evaluate import EvaluateConfig, evaluate
from trainer.finetune import finetune
from trainer.finetuning.encoded import EncodedTexts, run_model
from trainer.finetuning.task import load_finetuned, reading_model
from trainer.finetuning.windows import MOST_WINDOWS, keep_ends, lay_out
from trainer.predict import PredictConfig, predict

_LENGTH = 8


def test_windows_hold_all_of_a_text_once_in_even_parts():
    texts = texts_of(6, 7, 0, 15)
    batch = lay_out(texts, 4, _LENGTH, pad_id=0)
    assert batch["token_ids"].shape == (4, 3, _LENGTH)
    np.testing.assert_allclose(batch["window_weights"].sum(axis=1), 1, rtol=1e-6)
    for i, count in enumerate((1, 2, 1, 3)):
        assert (batch["window_weights"][i] > 0).sum() == count
        lengths = batch["padding_mask"][i, :count].sum(axis=1)
        assert lengths.max() - lengths.min() <= 1
        read = []
        for j in range(count):
            ids = batch["token_ids"][i, j][batch["padding_mask"][i, j]]
            assert (ids[0], ids[-1]) == (START, END)
            read += ids[1:-1].tolist()
        assert read == texts.values[texts.offsets[i] : texts.offsets[i + 1]][1:-1].tolist()
    # Where a text has no window, attention still has something to look at.
    assert batch["padding_mask"].any(axis=2).all()


def test_short_windows_cost_less():
    lengths = [
        lay_out(texts_of(n), 1, 64, pad_id=0)["token_ids"].shape[1:] for n in (3, 31, 40, 65)
    ]
    assert lengths == [(1, 16), (1, 48), (1, 48), (2, 48)]


def test_of_a_text_too_long_the_ends_are_kept():
    most = MOST_WINDOWS * (_LENGTH - 2)
    assert keep_ends(range(most), _LENGTH) == range(most)
    kept = keep_ends(range(most + 5), _LENGTH)
    assert kept == [*range(most // 2), *range(most // 2 + 5, most + 5)]
    counts = lay_out(texts_of(most), 1, _LENGTH, pad_id=0)["window_weights"]
    assert counts.shape == (1, MOST_WINDOWS)


def test_a_text_has_the_mean_of_its_windows():
    classifier, texts = a_classifier(_LENGTH), texts_of(13, 2, 20)
    encoded = EncodedTexts(texts, texts.lengths, np.zeros(3, np.bool_), _LENGTH, 0, in_windows=True)
    outputs = run_model(reading_model(classifier, in_windows=True), encoded, 2)
    batch = lay_out(texts, 3, _LENGTH, pad_id=0)
    for i, weights in enumerate(batch.pop("window_weights")):
        windows = {name: values[i][weights > 0] for name, values in batch.items()}
        alone = np.asarray(classifier.predict(windows, verbose=0))
        np.testing.assert_allclose(outputs[i], alone.mean(axis=0), rtol=0, atol=1e-6)


def test_a_classifier_in_windows_sees_what_a_cut_one_does_not(windows_config):
    report = finetune(windows_config, RunOptions())
    assert report is not None
    assert report["accuracy"] > 0.95
    cut = replace(windows_config, long_texts="cut", output=windows_config.output + "_cut", epochs=3)
    unseen = finetune(cut, RunOptions())
    assert unseen is not None
    assert unseen["accuracy"] < 0.7

    # Evaluating and predicting read in windows too.
    held_out = str(Path(windows_config.output) / "validation.jsonl")
    again = evaluate(EvaluateConfig(windows_config.output, (held_out,)), RunOptions())
    assert again is not None
    assert again["accuracy"] == report["accuracy"]
    assert again["truncated"] == 0
    examples = [json.loads(line) for line in Path(held_out).read_text().splitlines()]
    found = predict(PredictConfig(windows_config.output, (held_out,)), RunOptions())
    right = [p["label"] == str(e["label"]) for p, e in zip(found, examples, strict=True)]
    assert np.mean(right) == pytest.approx(report["accuracy"])
    assert load_finetuned(windows_config.output)[2].in_windows
    assert not load_finetuned(cut.output)[2].in_windows


def test_what_cannot_be_read_in_windows_is_refused(windows_config, tmp_path):
    with pytest.raises(UserError, match="for single texts"):
        replace(windows_config, text_pair_field="second").check()
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("".join(f"{piece}\n" for piece in [*SPECIAL_TOKENS, *WORDS]))
    tokenize(
        TokenizeConfig(
            input=windows_config.train,
            output=str(tmp_path / "encoded"),
            vocab=str(vocabulary),
            lowercase=True,
            packing="examples",
            label_field="label",
            seq_length=_LENGTH,
        ),
        RunOptions(),
    )
    with pytest.raises(UserError, match="cut already"):
        finetune(
            replace(
                windows_config, train=(str(tmp_path / "encoded"),), output=str(tmp_path / "out")
            ),
            RunOptions(),
        )
    assert not (tmp_path / "out").exists()
