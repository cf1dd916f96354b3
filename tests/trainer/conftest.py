"""Small real outputs of the stages before training, for the trainer's tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.keyed_random import below, fold, purpose_key
from pipelines.records.codec import schema_of
from pipelines.records.manifest import Manifest
from pipelines.records.output_folder import finish_output
from pipelines.records.ragged import Columns, Ragged, offsets_of, take
from pipelines.records.shards import shard_name, write_shard
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from pipelines.text.vocabulary_source import save_vocabulary

SEQ_LENGTH = 32


def small_vocabulary(size: int = 120) -> Vocabulary:
    """Specials, then letters and suffix pieces."""
    words = [f"w{i}" for i in range((size - 5) // 2)]
    suffixes = [f"##s{i}" for i in range(size - 5 - len(words))]
    return Vocabulary((*SPECIAL_TOKENS, *words, *suffixes))


def small_rows(count: int, vocabulary: Vocabulary, seed: int = 0) -> Columns:
    """Rows of one or two documents that count upwards from a random start: easy to learn."""
    key = fold(purpose_key(seed, "test rows"), np.arange(count))
    first = 4 + below(fold(key, 0), SEQ_LENGTH // 2 - 4)
    second = below(fold(key, 1), SEQ_LENGTH // 2)
    starts = below(fold(key, 2), 1 << 20)
    tokens, runs, owners, ids = [], [], [], []
    for i in range(count):
        mine = []
        for length in (int(first[i]), int(second[i])):
            if length >= 4:
                body = 5 + (starts[i] + len(mine) + np.arange(length - 2)) % (vocabulary.size - 5)
                mine.append([vocabulary.cls_id, *body.tolist(), vocabulary.sep_id])
        tokens.append(np.concatenate(mine))
        runs.append([len(document) for document in mine])
        owners.append([len(ids) + j for j in range(len(mine))])
        ids.append(int(fold(key[i], 3)[()]))

    def ragged(parts, dtype):
        return Ragged(
            np.concatenate([[], *parts]).astype(dtype),
            offsets_of(np.array([len(part) for part in parts])),
        )

    return {
        "row_id": np.array(ids, np.uint64),
        "token_ids": ragged(tokens, np.uint16),
        "segment_lengths": ragged(runs, np.uint16),
        "doc_ids": ragged(owners, np.uint64),
    }


def small_pairs(count: int, vocabulary: Vocabulary, seed: int = 0) -> Columns:
    """Rows as packing ``pairs`` makes them: the second segment counts on, or (label 1) downwards."""
    key = fold(purpose_key(seed, "test pairs"), np.arange(count))
    labels = below(fold(key, 0), 2).astype(np.uint8)
    starts = below(fold(key, 1), 1 << 20)
    half = (SEQ_LENGTH - 3) // 2
    up = np.arange(half)
    second = np.where(labels[:, None], -up, half + up)
    body = 5 + (starts[:, None] + np.concatenate([np.tile(up, (count, 1)), second], 1)) % (
        vocabulary.size - 5
    )
    cls, sep = np.full((count, 1), vocabulary.cls_id), np.full((count, 1), vocabulary.sep_id)
    tokens = np.concatenate([cls, body[:, :half], sep, body[:, half:], sep], 1)
    segments = np.tile(np.repeat([0, 1], [half + 2, half + 1]), (count, 1))

    def ragged(values, dtype):
        return Ragged(values.astype(dtype).ravel(), offsets_of(np.full(count, values.shape[1])))

    return {
        "row_id": fold(key, 2),
        "token_ids": ragged(tokens, np.uint16),
        "segment_lengths": ragged(np.full((count, 1), tokens.shape[1]), np.uint16),
        "doc_ids": ragged(np.arange(count)[:, None], np.uint64),
        "segment_ids": ragged(segments, np.uint8),
        "next_sentence_labels": labels,
    }


def write_rows(
    folder: Path,
    *,
    train: int = 50,
    validation: int = 9,
    shards: int = 3,
    packing: str = "documents",
    format: str = "array_record",
    vocabulary: Vocabulary | None = None,
    seed: int = 0,
    seq_length: int = SEQ_LENGTH,
) -> Path:
    """An output of stage tokenize, as its readers see it."""
    vocabulary = vocabulary or small_vocabulary()
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, count, number in (("train", train, shards), ("validation", validation, 1)):
        make = small_pairs if packing == "pairs" else small_rows
        columns = make(count, vocabulary, seed + (split == "validation") * 1000)
        cuts = np.array_split(np.arange(count), number)
        splits[split] = tuple(
            write_shard(
                str(folder), shard_name(split, i, number, format), [take(columns, rows)], format
            )[0]
            for i, rows in enumerate(cuts)
        )
    save_vocabulary(str(folder), vocabulary)
    manifest = Manifest(
        stage="tokenize",
        config={"seed": seed},
        counts={"rows": train + validation},
        facts={
            "format": format,
            "seq_length": seq_length,
            "packing": packing,
            "lowercase": True,
            "strip_accents": True,
            "vocabulary": {
                "fingerprint": vocabulary.fingerprint,
                "size": vocabulary.size,
                **{f"{n}_id": getattr(vocabulary, f"{n}_id") for n in ("pad", "cls", "sep")},
                **{f"{n}_id": getattr(vocabulary, f"{n}_id") for n in ("unk", "mask")},
            },
        },
        schema=schema_of(columns),
        splits=splits,
    )
    finish_output(str(folder), manifest, {}, {})
    return folder


@pytest.fixture(scope="session")
def make_rows(tmp_path_factory) -> Callable[..., Path]:
    """``make_rows(**options)``: a folder of rows; equal options give the same folder."""
    made: dict[str, Path] = {}

    def make(**options) -> Path:
        name = hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()[:12]
        if name not in made:
            made[name] = write_rows(tmp_path_factory.mktemp(f"rows-{name}"), **options)
        return made[name]

    return make


@pytest.fixture(scope="session")
def make_examples(tmp_path_factory) -> Callable[..., Path]:
    """``make_examples(rows, **options)``: the output of the real stage mask over some rows."""

    def make(rows: Path, **options) -> Path:
        from pipelines.command.run import RunOptions
        from pipelines.mask.config import MaskStageConfig
        from pipelines.mask.pipeline import mask

        folder = tmp_path_factory.mktemp("examples")
        config = MaskStageConfig(input=str(rows), output=str(folder), **options)
        mask(config, RunOptions())
        return folder

    return make


@pytest.fixture(scope="session")
def finished_run(make_rows, tmp_path_factory) -> Path:
    """A finished pretraining run of 20 steps, all logged, with checkpoints after 14 and 20; without
    dropout, so that the losses of its rows make up those of its steps. Not to be written to."""
    pytest.importorskip("keras")
    from pipelines.command.run import RunOptions
    from trainer.pretrain import pretrain
    from trainer.pretraining.config import PretrainConfig
    from trainer.pretraining.startup import without_tensorflow

    output = tmp_path_factory.mktemp("finished")
    config = PretrainConfig(
        data=(str(make_rows()),),
        output=str(output),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        dropout=0.0,
        batch_size=8,
        steps=20,
        learning_rate=0.01,
        log_every=1,
        eval_every=10,
        checkpoint_every=7,
        mask_selection_rate=0.3,
        peak_tflops=1.0,
    )
    without_tensorflow(pretrain)(config, RunOptions())
    return output
