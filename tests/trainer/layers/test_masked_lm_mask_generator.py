"""MaskedLMMaskGenerator beside KerasHub's: the same structures, shapes, types and counts."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest

from trainer.layers import MaskedLMMaskGenerator

tf = pytest.importorskip("tensorflow")

BASIC = {"vocabulary_size": 30, "mask_selection_rate": 0.4, "mask_token_id": 3}
NAMES = ["token_ids", "mask_positions", "mask_ids", "mask_weights"]


def tables(rows=64, length=40):
    random = np.random.default_rng(0)
    ids = random.integers(4, 30, (rows, length)).astype(np.int32)
    ids[:, random.integers(5, length) :] = 0
    return ids


def values(outputs):
    """Everything as nested lists."""
    return {
        name: value.to_list() if hasattr(value, "to_list") else np.asarray(value).tolist()
        for name, value in outputs.items()
    }


def assert_restores(inputs, outputs):
    """One row: the chosen positions, put back, give the inputs; returns the positions."""
    chosen = np.asarray(outputs["mask_weights"]) > 0
    positions = np.asarray(outputs["mask_positions"], np.int64)[chosen]
    restored = np.array(outputs["token_ids"])
    restored[positions] = np.asarray(outputs["mask_ids"])[chosen]
    assert restored.tolist() == list(inputs)
    assert (np.diff(positions) > 0).all()
    return positions


@pytest.mark.parametrize("length", [None, 5])
def test_every_kind_of_input_eagerly(length):
    masker = MaskedLMMaskGenerator(**BASIC, mask_selection_length=length, seed=1)
    rectangle = [[5, 6, 7, 8], [9, 10, 11, 12]]
    ragged = [[5, 6], [7, 8, 9, 10], []]
    for batch in (
        rectangle,
        np.array(rectangle),
        tf.constant(rectangle),
        keras.ops.convert_to_tensor(rectangle),
        ragged,
        tf.ragged.constant(ragged),
    ):
        outputs = masker(batch)
        assert list(outputs) == NAMES
        rows = batch.to_list() if hasattr(batch, "to_list") else np.array(batch, object).tolist()
        for r, row in enumerate(rows):
            positions = assert_restores(row, {name: outputs[name][r] for name in NAMES})
            assert len(positions) == np.ceil(0.4 * len(row))
        if length is not None:
            assert {np.shape(outputs[name]) for name in NAMES[1:]} == {(len(rows), length)}
        if len(rows) == 2:
            assert outputs["token_ids"].dtype == np.int32
            assert outputs["mask_weights"].dtype == np.float32
    for row in ([5, 6, 7], np.array([5, 6, 7]), tf.constant([5, 6, 7])):
        outputs = masker(row)
        assert outputs["token_ids"].shape == (3,)
        assert outputs["mask_positions"].shape == (length or 2,)
        assert len(assert_restores([5, 6, 7], outputs)) == 2


def datasets():
    dense = tf.data.Dataset.from_tensor_slices(tables(6, 10))
    ragged = tf.ragged.constant([[5, 6], [7, 8, 9], [10], [11, 12, 13, 14]])
    return {
        "unbatched": dense,
        "batched int64": dense.map(lambda ids: tf.cast(ids, tf.int64)).batch(4),
        "ragged": tf.data.Dataset.from_tensor_slices(ragged).ragged_batch(3),
    }


@pytest.mark.parametrize("length", [None, 6])
def test_the_same_structure_as_keras_hub_in_tf_data(length):
    keras_hub = pytest.importorskip("keras_hub")
    options = BASIC | {"mask_selection_length": length}
    ours, theirs = (
        MaskedLMMaskGenerator(**options, seed=1),
        keras_hub.layers.MaskedLMMaskGenerator(**options),
    )
    for name, dataset in datasets().items():
        ours_mapped, theirs_mapped = dataset.map(ours), dataset.map(theirs)
        for key, spec in theirs_mapped.element_spec.items():
            mine = ours_mapped.element_spec[key]
            assert type(mine) is type(spec), (name, key)
            assert mine.dtype == spec.dtype, (name, key)
            # Never less is known about the shape, sometimes more (their batch size gets lost).
            assert spec.is_compatible_with(mine), (name, key)
        for row, a, b in zip(dataset, ours_mapped, theirs_mapped, strict=True):
            assert list(a) == NAMES
            for key in NAMES:
                assert a[key].shape.as_list() == b[key].shape.as_list(), (name, key)
            used = np.sum(values(b)["mask_weights"]) if length else b["mask_weights"].shape
            assert used == (
                np.sum(values(a)["mask_weights"]) if length else a["mask_weights"].shape
            )
            rows = values({"ids": row})["ids"]
            if row.shape.rank == 1:
                assert_restores(rows, values(a))
            else:
                for r, ids in enumerate(rows):
                    assert_restores(ids, {key: value[r] for key, value in values(a).items()})


@pytest.mark.parametrize("rate", [0.15, 0.2])
def test_as_many_are_chosen_as_keras_hub_does(rate):
    keras_hub = pytest.importorskip("keras_hub")
    lengths = np.arange(0, 520, 5)  # where rate * length is whole, or nearly, in floats
    rows = tf.RaggedTensor.from_row_lengths(np.full(lengths.sum(), 9, np.int32), lengths)
    dataset = tf.data.Dataset.from_tensors(rows)
    options = BASIC | {"mask_selection_rate": rate}
    ours = MaskedLMMaskGenerator(**options, seed=1)
    theirs = keras_hub.layers.MaskedLMMaskGenerator(**options)
    a, b = next(iter(dataset.map(ours))), next(iter(dataset.map(theirs)))
    assert (a["mask_ids"].row_lengths() == b["mask_ids"].row_lengths()).numpy().all()


def test_the_keras_nlp_signature():
    keras_hub = pytest.importorskip("keras_hub")
    theirs = inspect.signature(keras_hub.layers.MaskedLMMaskGenerator.__init__).parameters
    ours = inspect.signature(MaskedLMMaskGenerator.__init__).parameters
    names = [name for name in ours if name != "seed"]
    assert names == list(theirs)
    assert [ours[name].default for name in names] == [p.default for p in theirs.values()]


def by_row(dataset):
    """{(row, times seen so far): masked row}, so that the order of rows does not count."""
    seen, result = {}, {}
    for batch in dataset:
        outputs = values(batch)
        for r, masked in enumerate(outputs["token_ids"]):
            original = list(masked)
            places = zip(
                outputs["mask_positions"][r],
                outputs["mask_ids"][r],
                outputs["mask_weights"][r],
                strict=True,
            )
            for position, token_id, weight in places:
                if weight:
                    original[position] = token_id
            key = tuple(original)
            seen[key] = seen.get(key, -1) + 1
            result[key, seen[key]] = masked, outputs["mask_positions"][r]
    return result


def test_a_seed_repeats_the_masks_in_any_order_and_epochs_differ():
    ids = tables(96)

    def masks(batch, seed=5, shuffle=False, parallel=None, epochs=3):
        masker = MaskedLMMaskGenerator(**BASIC, mask_selection_length=8, seed=seed)
        dataset = tf.data.Dataset.from_tensor_slices(ids)
        if shuffle:
            dataset = dataset.shuffle(96, seed=1)
        dataset = dataset.batch(batch).map(masker, num_parallel_calls=parallel)
        return by_row(dataset.repeat(epochs))

    first = masks(32)
    assert len(first) == 3 * 96
    assert masks(32) == first
    assert masks(7, shuffle=True, parallel=4) == first
    assert masks(32, seed=6) != first
    for row in {row for row, _ in first}:
        assert len({str(first[row, epoch]) for epoch in range(3)}) == 3
    # Eager calls, row by row, count as well.
    masker = MaskedLMMaskGenerator(**BASIC, mask_selection_length=8, seed=5)
    alone = [masker(row) for _ in range(3) for row in ids]
    assert by_row([{k: v[None] for k, v in outputs.items()} for outputs in alone]) == first


def test_equal_rows_of_a_batch_get_different_masks():
    masker = MaskedLMMaskGenerator(**BASIC, mask_selection_length=12, seed=0)
    outputs = masker(np.full((50, 30), 9))
    assert len({tuple(row) for row in outputs["mask_positions"].tolist()}) > 45


def test_padding_of_a_ragged_batch_does_not_show():
    rows = [[5, 6, 7, 8], list(range(4, 24)), [9]]
    a = MaskedLMMaskGenerator(**BASIC, seed=2)
    b = MaskedLMMaskGenerator(**BASIC, seed=2)
    together = a(rows)
    for r, row in enumerate(rows):
        alone = b(row)
        for name in NAMES:
            assert list(together[name][r]) == alone[name].tolist()


def test_without_a_seed_keras_decides():
    def positions():
        masker = MaskedLMMaskGenerator(**BASIC, mask_selection_length=8)
        return masker(tables())["mask_positions"].tolist()

    keras.utils.set_random_seed(1)
    first = positions()
    assert positions() != first
    keras.utils.set_random_seed(1)
    assert positions() == first


def test_unselectable_ids_and_rates_are_kept():
    ids = tables(200)
    masker = MaskedLMMaskGenerator(
        30, 0.5, 3, 20, [0, 7, 8], mask_token_rate=0.0, random_token_rate=0.0, seed=0
    )
    outputs = masker(ids)
    assert (outputs["token_ids"] == ids).all()
    chosen = outputs["mask_ids"][outputs["mask_weights"] > 0]
    assert not np.isin(chosen, [0, 7, 8]).any()
    assert np.isin(np.arange(4, 30), [*chosen, 7, 8]).all()
    masker = MaskedLMMaskGenerator(30, 0.5, 3, 20, [0], 1.0, 0.0, seed=0)
    outputs = masker(ids)
    assert ((outputs["token_ids"] == 3).sum(axis=1) == outputs["mask_weights"].sum(axis=1)).all()


def test_config_makes_the_same_layer():
    masker = MaskedLMMaskGenerator(
        30, 0.2, 3, 9, [0, 1], mask_token_rate=0.7, random_token_rate=0.2, seed=4, name="masker"
    )
    again = MaskedLMMaskGenerator.from_config(masker.get_config())
    assert again.get_config() == masker.get_config()
    assert again.name == "masker"
    serialized = keras.layers.serialize(masker)
    third = keras.layers.deserialize(serialized)
    ids = tables()
    assert values(masker(ids)) == values(again(ids)) == values(third(ids))


def test_mixed_precision_weights_in_tf_data():
    masker = MaskedLMMaskGenerator(**BASIC, mask_selection_length=4, dtype="mixed_bfloat16")
    dataset = tf.data.Dataset.from_tensors(tables()).map(masker)
    assert dataset.element_spec["mask_weights"].dtype == tf.bfloat16


def test_none_to_predict():
    masker = MaskedLMMaskGenerator(**BASIC, mask_selection_length=0)
    outputs = masker([[5, 6, 7], [8]])
    assert outputs["token_ids"] == [[5, 6, 7], [8]]
    assert outputs["mask_positions"].shape == outputs["mask_weights"].shape == (2, 0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mask_token_id": 30}, "Mask token id should be in range .0, 29."),
        ({"mask_selection_rate": 1.1}, "mask_selection_rate is 1.1"),
        ({"mask_token_rate": 0.9, "random_token_rate": 0.2}, "at most 1"),
    ],
)
def test_impossible_arguments_are_value_errors(change, says):
    with pytest.raises(ValueError, match=says):
        MaskedLMMaskGenerator(**(BASIC | change))


def test_ids_outside_the_vocabulary_are_value_errors():
    masker = MaskedLMMaskGenerator(**BASIC)
    with pytest.raises(ValueError, match="token id 30 at position 1"):
        masker([[5, 30]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="token id 30 at position 1"):
        list(tf.data.Dataset.from_tensors([[5, 30]]).map(masker))
