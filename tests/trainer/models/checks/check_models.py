"""The backbone and the pretraining model: packed rows, mixed precision, training steps."""

from __future__ import annotations

import functools

import keras
import numpy as np
from keras import ops

from tests.trainer.models.checks.outputs import loss_and_gradients, outputs_of
from trainer.layers.transformer_encoder import TransformerEncoder
from trainer.models.bert_backbone import BertBackbone
from trainer.models.compiled import compiled
from trainer.models.pretraining_model import PretrainingModel

_DIMENSIONS = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
_WORDS = 50


def _backbone(**kwargs):
    keras.utils.set_random_seed(1)
    backbone = BertBackbone(_WORDS, **_DIMENSIONS, max_sequence_length=24, **kwargs)
    rng = np.random.default_rng(2)
    for weight in backbone.weights:
        if "seed_generator" not in weight.path:
            weight.assign(rng.normal(0.0, 0.3, weight.shape))
    return backbone


def _packed_row():
    """Three documents of 8, 5 and 8 tokens and three places of padding."""
    lengths = (8, 5, 8)
    rng = np.random.default_rng(3)
    documents = [rng.integers(1, _WORDS, n).astype("int32") for n in lengths]
    segments = [rng.integers(0, 2, n).astype("int32") for n in lengths]
    tokens, types, owners = (np.zeros((1, 24), "int32") for _ in range(3))
    start = 0
    for i, (ids, segment) in enumerate(zip(documents, segments, strict=True), 1):
        place = slice(start, start + len(ids))
        tokens[0, place], types[0, place], owners[0, place] = ids, segment, i
        start += len(ids)
    return documents, segments, tokens, types, owners


def _inputs(token_ids, segment_ids, padding_mask=None):
    if padding_mask is None:
        padding_mask = np.ones_like(token_ids)
    return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask}


def check_packed_documents_get_what_they_get_alone(folder):
    backbone = _backbone()
    documents, segments, tokens, types, owners = _packed_row()
    inputs = {**_inputs(tokens, types, owners > 0), "document_ids": owners}
    packed = outputs_of(backbone, inputs)["sequence_output"][0]
    start = 0
    for ids, segment in zip(documents, segments, strict=True):
        alone = outputs_of(backbone, _inputs(ids[None], segment[None]))["sequence_output"][0]
        np.testing.assert_allclose(packed[start : start + len(ids)], alone, atol=1e-5)
        start += len(ids)
    # Without document_ids the documents see each other: the test above can fail.
    mixed = outputs_of(backbone, _inputs(tokens, types, (owners > 0).astype("int32")))
    assert np.abs(mixed["sequence_output"][0, :21] - packed[:21]).max() > 1e-2


@functools.cache
def _packed_step():
    """A model, a packed batch, the function that gives its loss and gradients, and those."""
    # Dropout would draw other masks for other shapes.
    model = PretrainingModel(_backbone(dropout=0.0))
    _, _, tokens, types, owners = _packed_row()
    batch = {
        **_inputs(tokens, types, owners > 0),
        "document_ids": owners,
        "mask_positions": np.array([[1, 9, 16, 0]], "int32"),
        "mask_ids": np.array([[4, 5, 6, 0]], "int32"),
        "mask_weights": np.array([[1.0, 1.0, 1.0, 0.0]], "float32"),
    }
    compute = loss_and_gradients(model)
    return model, batch, compute, *compute(batch)


def check_packed_loss_and_gradients_are_the_sums_over_documents(folder):
    model, batch, compute, packed, gradients = _packed_step()
    documents, segments, *_ = _packed_row()
    alone, sums = 0.0, [0.0] * len(gradients)
    places = ((1, 4), (1, 5), (3, 6))
    for ids, segment, (position, label) in zip(documents, segments, places, strict=True):
        part = {
            **_inputs(ids[None], segment[None]),
            "mask_positions": np.array([[position]], "int32"),
            "mask_ids": np.array([[label]], "int32"),
            "mask_weights": np.ones((1, 1), "float32"),
        }
        loss, parts = compute(part)
        alone += loss
        sums = [total + gradient for total, gradient in zip(sums, parts, strict=True)]
    np.testing.assert_allclose(packed, alone, rtol=1e-5)
    names = [variable.path for variable in model.trainable_variables]
    for name, one, other in zip(names, gradients, sums, strict=True):
        greatest = np.abs(other).max()
        # The loss does not use the pooler, and a softmax forgets what all keys have in common.
        assert greatest > 1e-5 or "pooled_dense" in name or "key/bias" in name, name
        np.testing.assert_allclose(one, other, atol=2e-5 * greatest + 2e-6, err_msg=name)
    # Documents that see each other get other gradients: the test can fail.
    _, mixed = compute({name: batch[name] for name in batch if name != "document_ids"})
    far = [np.abs(a - b).max() for a, b in zip(mixed, gradients, strict=True)]
    assert max(far) > 1e-2, max(far)


def check_encoding_selected_positions_gives_the_values_of_all(folder):
    backbone = _backbone()
    rng = np.random.default_rng(6)
    tokens = rng.integers(0, _WORDS, (3, 24)).astype("int32")
    owners = np.repeat([[1, 2, 0], [1, 1, 2], [1, 2, 3]], 8, axis=1).astype("int32")
    positions = rng.integers(0, 24, (3, 5)).astype("int32")  # in any order, also twice
    plain = _inputs(tokens, 0 * tokens, (owners > 0).astype("int32"))
    for inputs in (plain, {**plain, "document_ids": owners}):
        whole = outputs_of(backbone, inputs)["sequence_output"]
        some = ops.convert_to_numpy(backbone.encode_at(inputs, positions))
        wanted = np.take_along_axis(whole, positions[..., None], axis=1)
        np.testing.assert_allclose(some, wanted, atol=1e-5)


def check_loss_and_gradients_are_those_of_encoding_all_positions(folder):
    model, batch, _, lean, lean_gradients = _packed_step()

    def encode_all(inputs, positions, training=None):
        whole = model.backbone(inputs, training=training)["sequence_output"]
        return ops.take_along_axis(whole, ops.expand_dims(positions, -1), axis=1)

    model.backbone.encode_at = encode_all
    try:
        loss, gradients = loss_and_gradients(model)(batch)
    finally:
        del model.backbone.encode_at
    np.testing.assert_allclose(lean, loss, rtol=1e-5)
    for one, other in zip(lean_gradients, gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5 * np.abs(other).max() + 2e-6)


def check_one_document_a_row_changes_nothing(folder):
    backbone = _backbone()
    tokens = np.random.default_rng(4).integers(0, _WORDS, (3, 12)).astype("int32")
    mask = (np.arange(12) < np.array([[12], [7], [3]])).astype("int32")
    inputs = _inputs(tokens, 0 * tokens, mask)
    plain = outputs_of(backbone, inputs)
    packed = outputs_of(backbone, {**inputs, "document_ids": mask})
    for name in ("sequence_output", "pooled_output"):
        one, other = plain[name], packed[name]
        if name == "sequence_output":
            one, other = one[mask > 0], other[mask > 0]
        np.testing.assert_allclose(one, other, atol=1e-5)


def check_pretraining_model_learns(folder):
    keras.utils.set_random_seed(1)
    backbone = BertBackbone(_WORDS, **_DIMENSIONS | {"num_layers": 1}, max_sequence_length=24)
    model = PretrainingModel(backbone)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    rng = np.random.default_rng(5)
    tokens = rng.integers(1, _WORDS, (4, 24)).astype("int32")
    batch = {
        **_inputs(tokens, 0 * tokens),
        "mask_positions": np.tile(np.arange(5, dtype="int32"), (4, 1)),
        "mask_ids": tokens[:, :5],
        "mask_weights": np.ones((4, 5), "float32"),
        "row_id": np.arange(4, dtype="int64"),
    }
    first = outputs_of(model, batch)["loss"]
    for _ in range(40):
        model.reset_metrics()
        logs = model.train_on_batch(batch, return_dict=True)
    assert logs["loss"] < 0.5 * first, (first, logs)
    assert set(logs) == {"loss", "accuracy"}
    task = model.to_masked_lm()
    inputs = {**_inputs(tokens, 0 * tokens), "mask_positions": batch["mask_positions"]}
    right = outputs_of(task, inputs).argmax(-1) == batch["mask_ids"]
    np.testing.assert_allclose(right.mean(), outputs_of(model, batch)["accuracy"], atol=1e-6)


def check_mixed_precision_and_frozen_backbone(folder):
    backbone = _backbone(dtype="mixed_bfloat16")
    tokens = np.ones((2, 6), "int32")
    output = backbone.compute_output_spec(_inputs(tokens, 0 * tokens))["sequence_output"]
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    encoded = outputs_of(backbone, _inputs(tokens, 0 * tokens))["sequence_output"]
    assert np.isfinite(encoded.astype("float32")).all()
    assert {w.dtype for w in backbone.trainable_weights} == {"float32"}
    backbone.trainable = False
    assert backbone.trainable_weights == []


def check_dropout_rate_and_mean(folder):
    from trainer.layers.dropout import Dropout

    layer = Dropout(0.25, seed=7)
    ones = np.ones((64, 1000), "float32")
    first, second = (ops.convert_to_numpy(layer(ones, training=True)) for _ in range(2))
    for dropped in (first, second):
        np.testing.assert_allclose(np.unique(dropped), [0.0, 1 / 0.75], rtol=1e-6)
        assert abs((dropped == 0).mean() - 0.25) < 0.01
        # Neither rows nor columns share their masks.
        assert (dropped == 0).mean(axis=0).std() < 0.08
        assert (dropped == 0).mean(axis=1).std() < 0.03
    assert abs(((first == 0) & (second == 0)).mean() - 0.25**2) < 0.01
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(ones)), ones)


def check_transformer_encoder_equals_keras_hub(folder):
    """Outputs and scores with the same weights, both kinds of mask, both places of the norms."""
    import keras_hub

    rng = np.random.default_rng(6)
    x = rng.normal(size=(2, 7, 12)).astype("float32")
    masks = {
        "padding_mask": (np.arange(7) < np.array([[7], [4]])).astype("int32"),
        "attention_mask": np.tril(np.ones((2, 7, 7), "int32")),
    }
    for normalize_first in (False, True):
        options = {"intermediate_dim": 20, "num_heads": 3, "normalize_first": normalize_first}
        ours = TransformerEncoder(**options, dropout=0.1, activation="gelu")
        theirs = keras_hub.layers.TransformerEncoder(**options, dropout=0.1, activation="gelu")
        for layer in (ours, theirs):
            layer.build(x.shape)
        names = [weight.path.split("/", 1)[1] for weight in ours.trainable_weights]
        assert names == [weight.path.split("/", 1)[1] for weight in theirs.trainable_weights]
        for mine, other in zip(ours.trainable_weights, theirs.trainable_weights, strict=True):
            value = rng.normal(size=mine.shape)
            mine.assign(value)
            other.assign(value)
        copy = TransformerEncoder.from_config(ours.get_config())
        assert copy.get_config() == ours.get_config()
        assert ours.get_config().keys() >= theirs.get_config().keys()
        for given in ({}, masks):
            found, expected = (
                compiled(layer, functools.partial(layer, **given))(x) for layer in (ours, theirs)
            )
            np.testing.assert_allclose(found, expected, atol=1e-5)
        options = {**masks, "return_attention_scores": True}
        found, expected = (
            compiled(layer, functools.partial(layer, **options))(x)[1] for layer in (ours, theirs)
        )
        np.testing.assert_allclose(found, expected, atol=1e-5)


def check_load_weights_dtype_and_dropout_of_a_preset(folder):
    backbone = _backbone()
    backbone.save_to_preset(str(folder))
    loaded = BertBackbone.from_preset(str(folder), dtype="mixed_bfloat16", trainable=False)
    assert loaded.compute_dtype == "bfloat16"
    assert loaded.trainable_weights == []
    assert loaded.token_embedding.embeddings.dtype == "float32"
    fresh = BertBackbone.from_preset(str(folder), load_weights=False, dropout=0.3)
    assert fresh.dropout == fresh.transformer_layers[0].dropout == 0.3
    tables = [ops.convert_to_numpy(b.token_embedding.embeddings) for b in (backbone, loaded, fresh)]
    np.testing.assert_array_equal(tables[0], tables[1])
    assert np.abs(tables[0] - tables[2]).max() > 0.1
    assert backbone.cls_token_index == 0
