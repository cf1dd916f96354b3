from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.keyed_random import below, fold, purpose_key
from tests.trainer.finetuning.word_preset import WORDS, save_word_preset
from trainer.finetuning.config import FinetuneConfig


@pytest.fixture(scope="module")
def windows_config(tmp_path_factory: pytest.TempPathFactory) -> FinetuneConfig:
    """Texts of 20 words in windows of 8 tokens, decided by a word behind the first window."""
    folder, length = tmp_path_factory.mktemp("windows"), 8
    draws = fold(purpose_key(1, "test"), np.arange(500)[:, None], np.arange(20))
    rows = []
    for i, picks in enumerate((2 + below(draws, len(WORDS) - 2)).tolist()):
        picks[length - 2 + i % 14] = i % 2
        rows.append({"text": " ".join(WORDS[pick] for pick in picks), "label": i % 2})
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return FinetuneConfig(
        preset=save_word_preset(folder, length),
        train=(str(folder / "train.jsonl"),),
        output=str(folder / "out"),
        validation_fraction=0.3,
        seq_length=length,
        learning_rate=1e-2,
        epochs=25,
        long_texts="windows",
    )
