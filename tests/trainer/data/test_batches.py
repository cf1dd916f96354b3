"""Batches: right by hand, equal whether masked here or before, whatever the hosts, made ahead."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.mask.config import MaskConfig
from trainer.data.batches import BatchMaker
from trainer.data.dataset import TRAIN, VALIDATION, open_dataset, open_datasets
from trainer.data.order import RowOrder
from trainer.data.prefetch import Prefetcher
from trainer.data.row_reader import RowReader

MASK = MaskConfig(mask_selection_rate=0.3, mask_selection_length=7, seed=3)


def make_maker(*folders, **changes):
    datasets = open_datasets([str(folder) for folder in folders])
    mask = changes.pop("mask", MASK)
    hosts = {name: changes.pop(name) for name in ("host", "hosts") if name in changes}
    shards = [dataset.shard_rows(TRAIN) for dataset in datasets]
    order = RowOrder(shards, **{"seed": 3, "batch_size": 8} | changes)
    return BatchMaker(datasets, order, mask, **hosts)


def assert_equal_batches(first, second):
    assert first.arrays.keys() == second.arrays.keys()
    for name, values in first.arrays.items():
        assert values.dtype == second.arrays[name].dtype, name
        np.testing.assert_array_equal(values, second.arrays[name], err_msg=name)


def test_a_batch_is_the_rows_of_its_step_masked(make_rows):
    folder = make_rows()
    batch = make_maker(folder).train_batch(9)
    epoch, _, row = RowOrder([[50]], seed=3, batch_size=8).rows(9)
    assert set(epoch.tolist()) == {1}
    columns = RowReader(open_dataset(str(folder)), TRAIN).read(row, epoch)
    arrays = batch.arrays
    np.testing.assert_array_equal(batch.row_id, columns["row_id"])
    assert arrays["token_ids"].shape == (8, 32)
    assert arrays["mask_positions"].shape == (8, 7)
    for i in range(8):
        start, end = columns["token_ids"].offsets[i : i + 2]
        original = columns["token_ids"].values[start:end]
        runs = columns["segment_lengths"]
        lengths = runs.values[runs.offsets[i] : runs.offsets[i + 1]]
        used = arrays["mask_weights"][i] == 1
        restored = arrays["token_ids"][i].copy()
        restored[arrays["mask_positions"][i][used]] = arrays["mask_ids"][i][used]
        np.testing.assert_array_equal(restored[: len(original)], original)
        assert not restored[len(original) :].any()
        owners = np.repeat(np.arange(1, len(lengths) + 1), lengths)
        np.testing.assert_array_equal(arrays["document_ids"][i][: len(original)], owners)
        assert arrays["padding_mask"][i].sum() == len(original)
        assert used.sum() == min(7, np.ceil(np.float32(0.3) * np.float32((original > 4).sum())))
    assert batch.tokens == len(columns["token_ids"].values)
    assert (arrays["token_ids"] == 4).any()


@pytest.mark.parametrize("strategy", ["token", "whole_word", "span"])
def test_examples_equal_rows_masked_on_the_fly(make_rows, make_examples, strategy):
    rows = make_rows()
    options = vars(MASK) | {"strategy": strategy, "seed": 3}
    examples = make_examples(rows, copies=2, **options)
    here = make_maker(rows, mask=MaskConfig(**options))
    before = make_maker(examples, mask=MaskConfig(**options))
    crossed = set()
    for step in range(12):  # two epochs, with a step that lies in both
        first, second = here.train_batch(step), before.train_batch(step)
        crossed.add(tuple(np.unique(first.epoch)))
        assert_equal_batches(first, second)
        np.testing.assert_array_equal(first.row_id, second.row_id)
    assert (0, 1) in crossed
    # After the last copy comes the first again.
    third = before.train_batch(13)
    np.testing.assert_array_equal(third.epoch, 2)
    fresh = here.train_batch(13)
    assert (third.arrays["mask_positions"] != fresh.arrays["mask_positions"]).any()


def test_hosts_share_each_batch(make_rows):
    whole = make_maker(make_rows(), make_rows(seed=1, packing="full"), weights=[2.0, 1.0])
    parts = [
        make_maker(
            make_rows(), make_rows(seed=1, packing="full"), weights=[2.0, 1.0], host=h, hosts=4
        )
        for h in range(4)
    ]
    for step in (0, 3, 50):
        expected = whole.train_batch(step)
        made = [part.train_batch(step) for part in parts]
        for name, values in expected.arrays.items():
            joined = np.concatenate([batch.arrays[name] for batch in made])
            np.testing.assert_array_equal(joined, values, err_msg=name)


def test_a_row_of_one_stream_is_one_document(make_rows):
    alone = make_maker(make_rows(packing="full")).train_batch(0)
    assert "document_ids" not in alone.arrays
    mixed = make_maker(make_rows(), make_rows(seed=1, packing="full")).train_batch(0)
    documents, is_full = mixed.arrays["document_ids"], mixed.source == 1
    assert is_full.any()
    assert not is_full.all()
    np.testing.assert_array_equal(documents[is_full], mixed.arrays["padding_mask"][is_full])
    assert (documents[~is_full] == 2).any()


@pytest.mark.parametrize(("data", "count"), [((50, 2), 2), ((50, 9), 8), ((5, 0), 5), ((50, 0), 8)])
def test_a_sample_holds_no_row_twice_and_none_without_masks(make_rows, data, count):
    train, validation = data
    batch = make_maker(make_rows(train=train, validation=validation)).sample_batch()
    assert len(batch.row) == len(set(batch.row_id.tolist())) == count
    assert all(len(values) == count for values in batch.arrays.values())
    assert batch.arrays["mask_weights"].any(axis=1).all()
    assert batch.tokens == batch.arrays["padding_mask"].sum()


def test_validation_is_every_row_once_with_fixed_masks(make_rows):
    folder = make_rows()
    maker = make_maker(folder, batch_size=4)
    assert maker.validation_steps == 3
    batches = [maker.validation_batch(k) for k in range(3)]
    counted = np.concatenate([b.arrays["mask_weights"].sum(axis=1) > 0 for b in batches])
    rows = np.concatenate([batch.row for batch in batches])
    assert sorted(rows[counted].tolist()) == list(range(9))
    assert counted.sum() == 9
    other = make_maker(folder, batch_size=4, seed=99, mask=MaskConfig(**vars(MASK) | {"seed": 99}))
    for k in range(3):
        assert_equal_batches(batches[k], other.validation_batch(k))
    assert make_maker(make_rows(validation=0)).validation_steps == 0
    ids = RowReader(open_dataset(str(folder)), VALIDATION).read(rows[:1], rows[:1] * 0)["row_id"]
    assert batches[0].row_id[0] == ids[0]


def test_token_outside_the_vocabulary(make_rows, tmp_path):
    folder = tmp_path / "rows"
    shutil.copytree(make_rows(), folder)
    maker = make_maker(folder)
    small = maker.datasets[0].vocabulary.tokens[:50]
    object.__setattr__(maker.datasets[0], "vocabulary", type(maker.datasets[0].vocabulary)(small))
    with pytest.raises(UserError, match="outside the vocabulary of 50 pieces"):
        maker.train_batch(0)


def test_prefetcher_keeps_order_and_stays_one_ahead():
    made = []

    def make(step):
        made.append(step)
        return step

    batches = Prefetcher(make, 5, 40)
    seen = []
    for step in batches:
        seen.append(step)
        # One handed over, one in the queue, one in the making.
        assert len(made) <= len(seen) + 2
    assert seen == list(range(5, 40))


def test_prefetcher_hands_over_errors_in_their_place():
    def make(step):
        if step == 3:
            raise UserError("shard three is damaged")
        return step

    batches = iter(Prefetcher(make, 0, 10))
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="three"):
        next(batches)


def test_prefetcher_measures_waiting_and_can_be_stopped():
    asked = threading.Event()

    def make(step):
        asked.wait()
        return step

    batches = Prefetcher(make, 0, 1000)
    iterator = iter(batches)
    threading.Timer(0.05, asked.set).start()
    assert next(iterator) == 0
    assert batches.take_waited() > 0
    assert batches.take_waited() == 0
    (thread,) = batches._thread._threads
    assert thread.is_alive()
    batches.close()
    assert not thread.is_alive()


def test_tfrecords_give_the_same_batches(make_rows, make_examples):
    rows, examples = make_rows(), make_examples(make_rows(), **vars(MASK))
    assert list(make_rows(format="tfrecord").glob("*.tfrecord"))
    in_records = make_rows(format="tfrecord")
    for changes in ({}, {"window": 2}):
        makers = [make_maker(folder, **changes) for folder in (rows, in_records, examples)]
        for step in range(6):  # of the first epoch
            first, *others = [maker.train_batch(step) for maker in makers]
            for other in others:
                assert_equal_batches(first, other)
    masked = make_examples(in_records, format="tfrecord", **vars(MASK))
    assert list(masked.glob("*.tfrecord"))
    again = make_maker(masked, window=2)
    for step in range(6):
        assert_equal_batches(again.train_batch(step), makers[2].train_batch(step))


def test_skipped_rows_are_in_no_batch(make_rows):
    skipped = np.array([0, 17, 18, 49])
    for window in (None, 1):
        maker = make_maker(make_rows(), skipped=[skipped], window=window, batch_size=23)
        first = np.concatenate([maker.train_batch(step).row for step in range(2)])
        assert sorted([*first.tolist(), *skipped.tolist()]) == list(range(50))
