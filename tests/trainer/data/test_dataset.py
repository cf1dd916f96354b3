"""Reading rows and examples by number, and refusing what does not fit together."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.records.ragged import Ragged, concatenate, take
from pipelines.records.shards import ShardReader
from pipelines.text.vocabulary import Vocabulary
from trainer.data.dataset import TRAIN, VALIDATION, open_dataset, open_datasets
from trainer.data.row_reader import RowReader


def read_everything(dataset, split):
    manifest = dataset.manifest
    parts = []
    for shard in manifest.splits[split]:
        path = f"{dataset.folder}/{shard.name}"
        reader = ShardReader(path, shard, manifest.schema, manifest.facts["format"])
        parts.append(reader.read(np.arange(len(reader))))
    return concatenate(parts)


def assert_same(columns, expected):
    assert columns.keys() == expected.keys()
    for name, column in columns.items():
        if isinstance(column, Ragged):
            np.testing.assert_array_equal(column.offsets, expected[name].offsets)
            np.testing.assert_array_equal(column.values, expected[name].values)
        else:
            np.testing.assert_array_equal(column, expected[name])


@pytest.mark.parametrize("format", ["array_record", "tfrecord"])
def test_rows_are_numbered_through_the_shards(make_rows, format):
    dataset = open_dataset(str(make_rows(format=format)))
    assert (dataset.rows(TRAIN), dataset.rows(VALIDATION)) == (50, 9)
    everything = read_everything(dataset, TRAIN)
    asked = np.array([49, 0, 17, 16, 33, 34, 0])
    columns = RowReader(dataset, TRAIN).read(asked, np.arange(len(asked)))
    assert_same(columns, take(everything, asked))


def test_examples_are_read_from_the_copy_of_the_epoch(make_rows, make_examples):
    dataset = open_dataset(str(make_examples(make_rows(), copies=3)))
    assert dataset.is_masked
    assert (dataset.rows(TRAIN), dataset.copies(TRAIN)) == (50, 3)
    assert (dataset.rows(VALIDATION), dataset.copies(VALIDATION)) == (9, 1)
    everything = read_everything(dataset, TRAIN)
    rows, epochs = np.array([3, 3, 3, 3, 49]), np.array([0, 1, 2, 4, 5])
    columns = RowReader(dataset, TRAIN).read(rows, epochs)
    assert columns["copy"].tolist() == [0, 1, 2, 1, 2]
    assert_same(columns, take(everything, rows + epochs % 3 * 50))


def test_a_damaged_shard_is_named(make_rows, tmp_path):
    folder = tmp_path / "rows"
    shutil.copytree(make_rows(), folder)
    shard = next(folder.glob("train-00001*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    reader = RowReader(open_dataset(str(folder)), TRAIN)
    reader.read(np.array([0]), np.array([0]))
    with pytest.raises(UserError, match=shard.name):
        reader.read(np.arange(50), np.zeros(50, np.int64))
    shard.unlink()
    with pytest.raises(UserError, match=rf"{shard.name} is missing"):
        RowReader(open_dataset(str(folder)), TRAIN).read(np.array([20]), np.array([0]))


def test_what_is_not_finished_or_not_its_own(make_rows, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        open_dataset(str(tmp_path / "nothing"))
    folder = tmp_path / "rows"
    shutil.copytree(make_rows(), folder)
    vocabulary = Vocabulary.load(folder / "vocab.txt")
    (folder / "vocab.txt").write_text("\n".join([*vocabulary.tokens[:-1], "other"]))
    with pytest.raises(UserError, match=r"vocab\.txt: not the vocabulary"):
        open_dataset(str(folder))


def test_mixtures_must_share_vocabulary_and_have_rows(make_rows):
    other = Vocabulary((*Vocabulary.load(make_rows() / "vocab.txt").tokens, "more"))
    with pytest.raises(UserError, match="another vocabulary"):
        open_datasets([str(make_rows()), str(make_rows(vocabulary=other))])
    with pytest.raises(UserError, match="no training rows"):
        open_datasets([str(make_rows(train=0))])
    assert len(open_datasets([str(make_rows()), str(make_rows(seed=1))])) == 2
