"""Fine-tuning from an encoded dataset: the weights that raw text gives, or one clear line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.keyed_random import below, fold, purpose_key
from pipelines.records.manifest import read_manifest
from pipelines.text.vocabulary import SPECIAL_TOKENS
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pipeline import tokenize
from trainer.evaluate import EvaluateConfig, evaluate
from trainer.finetune import FinetuneConfig, finetune

WORDS = ["fine", "lovely", "poor", "dull", "the", "film", "was", "and", "song", "##s", "it"]
FIELDS = {"text_field": "a", "text_pair_field": "b", "label_field": "tag"}


def make_rows(count: int) -> list[dict[str, Any]]:
    draws = fold(purpose_key(0, "test"), np.arange(count)[:, None], np.arange(30))
    words = [[WORDS[i] for i in row] for row in below(draws, len(WORDS)).tolist()]
    rows = [
        {
            "a": " ".join(text[: 1 + i % 17]),
            "b": " ".join(text[20 : 20 + i % 10]),
            "tag": ("no", "yes")["fine" in text[:9]],
            "score": i % 3 - 0.5,
        }
        for i, text in enumerate(words)
    ]
    return [*rows, *rows[:15], {"a": " ", "b": "", "tag": "no", "score": 1}]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset with dropout, texts of pairs, and a vocabulary file."""
    from trainer.models.bert_backbone import BertBackbone
    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    folder = tmp_path_factory.mktemp("cached")
    vocabulary = [*SPECIAL_TOKENS, *WORDS]
    BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=16,
    ).save_to_preset(str(folder / "preset"))
    BertTokenizer(vocabulary, lowercase=True).save_to_preset(str(folder / "preset"))
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary))
    write_jsonl(folder / "train.jsonl", make_rows(150))
    return folder


def encode(folder: Path, name: str, **changes: Any) -> str:
    """An output of the stage tokenize over the folder's examples."""
    fields = {**FIELDS, "seq_length": 16, "num_shards": 3, "lowercase": True, "packing": "examples"}
    config = TokenizeConfig(
        **{
            "input": (str(folder / "train.jsonl"),),
            "vocab": str(folder / "vocab.txt"),
            "output": str(folder / name),
            **fields,
            **changes,
        }
    )
    tokenize(config, RunOptions())
    return config.output


@pytest.fixture(scope="module")
def dataset(folder: Path) -> str:
    return encode(folder, "dataset")


@pytest.fixture(scope="module")
def config(folder: Path) -> FinetuneConfig:
    return FinetuneConfig(
        preset=str(folder / "preset"),
        train=(str(folder / "train.jsonl"),),
        output=str(folder / "raw"),
        epochs=2,
        learning_rate=1e-2,
        validation_fraction=0.3,
        seq_length=16,
        **FIELDS,
    )


def weights(output: str) -> dict[str, NDArray[Any]]:
    """All arrays of a fine-tuned preset."""
    found: dict[str, NDArray[Any]] = {}

    for name in ("model.weights.h5", "task.weights.h5"):
        with h5py.File(Path(output) / "preset" / name) as file:
            file.visititems(
                lambda key, item, name=name: (
                    found.update({f"{name}: {key}": item[...]})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
    assert len(found) > 20
    return found


def assert_equal_outputs(first: str, second: str) -> None:
    for name in ("metrics.json", "history.jsonl", "preset/bertmill_task.json"):
        assert (Path(first) / name).read_bytes() == (Path(second) / name).read_bytes(), name
    mine, theirs = weights(first), weights(second)
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        np.testing.assert_array_equal(array, theirs[name])


def test_raw_texts_in_any_order_and_the_dataset_give_the_same_weights(
    folder: Path, dataset: str, config: FinetuneConfig
) -> None:
    finetune(config, RunOptions())
    rows = make_rows(150)
    shuffled = folder / "shuffled"
    shuffled.mkdir()
    for part in range(3):
        write_jsonl(shuffled / f"{part}.jsonl", rows[::-1][part::3])
    asked = replace(config, train=(str(shuffled),), output=str(folder / "from_shuffled"))
    finetune(asked, RunOptions())
    assert_equal_outputs(asked.output, config.output)
    cached = FinetuneConfig(
        preset=config.preset,
        train=(dataset,),
        output=str(folder / "from_dataset"),
        epochs=2,
        learning_rate=1e-2,
        validation_fraction=0.3,
    )
    finetune(cached, RunOptions())
    assert_equal_outputs(cached.output, config.output)
    other = replace(config, seed=1, output=str(folder / "other_seed"))
    finetune(other, RunOptions())
    with pytest.raises(AssertionError):
        assert_equal_outputs(other.output, config.output)
    # The dataset's own validation part, and evaluating it.
    parts = encode(folder, "parts", validation_fraction=0.2)
    settings = replace(cached, train=(parts,), output=str(folder / "from_parts"))
    report = finetune(settings, RunOptions())
    again = evaluate(EvaluateConfig(settings.output, (parts,)), RunOptions())
    assert report is not None
    assert again is not None
    assert again["examples"] == read_manifest(parts).rows("validation") == report["examples"]
    assert again["confusion"] == report["confusion"]


@pytest.mark.parametrize(
    ("dataset_options", "options", "message"),
    [
        ({"vocab": "other.txt"}, {}, "made with another vocabulary than the preset's"),
        ({"lowercase": False}, {}, "made with lowercase false, the preset has true"),
        ({"seq_length": 8}, {"seq_length": 16}, "--seq_length 16: .* was made with 8"),
        ({"seq_length": 20}, {"seq_length": None}, "--seq_length 20: the preset has 16 positions"),
        (
            {"packing": "documents", "label_field": None, "text_pair_field": None},
            {},
            "packed as documents, for pretraining; make examples with",
        ),
        ({"text_pair_field": None}, {}, "--text_pair_field b: .* was made with none"),
        ({}, {"task": "regression"}, "label '(no|yes)' is not a number"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(
    folder: Path,
    config: FinetuneConfig,
    tmp_path: Path,
    dataset_options: dict[str, Any],
    options: dict[str, Any],
    message: str,
) -> None:
    if "vocab" in dataset_options:
        path = tmp_path / "other.txt"
        path.write_text("".join(f"{piece}\n" for piece in [*SPECIAL_TOKENS, *WORDS[::-1]]))
        dataset_options = {"vocab": str(path)}
    made = encode(folder, tmp_path.name, output=str(tmp_path / "data"), **dataset_options)
    changed = replace(config, train=(made,), output=str(tmp_path / "out"), **options)
    with pytest.raises(UserError, match=message):
        finetune(changed, RunOptions())
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_damaged_dataset_and_one_among_files_are_told(
    folder: Path, config: FinetuneConfig, tmp_path: Path
) -> None:
    made = encode(folder, "x", output=str(tmp_path / "data"))
    both = replace(config, train=(made, config.train[0]), output=str(tmp_path / "out"))
    with pytest.raises(UserError, match="name it alone, found 2 names"):
        finetune(both, RunOptions())
    shard = sorted(Path(made).glob("train-*"))[1]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    damaged = replace(config, train=(made,), output=str(tmp_path / "out"))
    with pytest.raises(UserError, match=f"{shard.name} does not match the checksum"):
        finetune(damaged, RunOptions())
