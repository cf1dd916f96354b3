"""Small corpora and finished stages that several tests of the pipelines share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.tokenize.config import TokenizeConfig
from pipelines.vocab.config import VocabConfig

_SYLLABLES = ["ka", "lo", "mi", "tu", "re", "ßa", "né", "三", "so", "x"]


def make_texts(count: int, seed: int = 0, longest: int = 120) -> list[str]:
    """Documents of invented words: many lengths, some equal, some not ASCII."""
    random = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        words = [
            "".join(random.choice(_SYLLABLES, random.integers(1, 4)))
            for _ in range(random.integers(1, longest))
        ]
        texts.append(" ".join(words) + random.choice([".", "!", ""]))
    return texts + texts[: count // 20]


def write_jsonl(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
    path.write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return make_texts(600)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, texts) -> Path:
    """A corpus of one jsonl file."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    write_jsonl(path, texts)
    return path


@pytest.fixture(scope="session")
def vocab_dir(tmp_path_factory, corpus) -> Path:
    """The finished output of the stage vocab over the corpus."""
    from pipelines.vocab.pipeline import learn_vocabulary

    output = tmp_path_factory.mktemp("stages") / "vocab"
    config = VocabConfig(input=(str(corpus),), output=str(output), vocab_size=300)
    learn_vocabulary(config, RunOptions())
    return output


@pytest.fixture(scope="session")
def rows_dir(tmp_path_factory, corpus, vocab_dir) -> Path:
    """The finished output of the stage tokenize over the corpus."""
    from pipelines.tokenize.pipeline import tokenize

    output = tmp_path_factory.mktemp("stages") / "rows"
    tokenize(
        TokenizeConfig(
            input=(str(corpus),),
            vocab=str(vocab_dir),
            output=str(output),
            seq_length=64,
            num_shards=3,
            validation_fraction=0.1,
        ),
        RunOptions(),
    )
    return output
