"""Presets travel between KerasHub and us, both ways, with equal outputs and token ids."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

import trainer
from tests.trainer.models.checks.outputs import assert_close, outputs_of
from trainer.models.pretraining_model import PretrainingModel

_VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "quick", "fox", ".", "##s", "é"]
_TEXTS = ["the quick FOX foxs.", "fox, The", ""]
_FILES = {
    "SHA256SUMS",
    "config.json",
    "metadata.json",
    "tokenizer.json",
    "preprocessor.json",
    "task.json",
    "model.weights.h5",
    "task.weights.h5",
    "assets/tokenizer/vocabulary.txt",
}


def _keras_hub():
    import keras_hub

    return keras_hub


def _task(library, kind, layers=2):
    models = library.models
    backbone = models.BertBackbone(
        vocabulary_size=len(_VOCABULARY),
        num_layers=layers,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=16,
    )
    tokenizer = models.BertTokenizer(vocabulary=_VOCABULARY, lowercase=True)
    if kind == "masked_lm":
        preprocessor = models.BertMaskedLMPreprocessor(
            tokenizer, sequence_length=16, mask_selection_length=4
        )
        task = models.BertMaskedLM(backbone, preprocessor=preprocessor)
    else:
        preprocessor = models.BertTextClassifierPreprocessor(tokenizer, sequence_length=16)
        task = models.BertTextClassifier(backbone, num_classes=3, preprocessor=preprocessor)
    rng = np.random.default_rng(0)
    for weight in task.weights:
        if "seed_generator" not in weight.path:
            weight.assign(rng.normal(0.0, 0.5, weight.shape))
    return task


def _load(library, kind, folder):
    base = library.models.MaskedLM if kind == "masked_lm" else library.models.TextClassifier
    return base.from_preset(str(folder))


def _outputs(task):
    rng = np.random.default_rng(1)
    inputs = {
        "token_ids": rng.integers(0, len(_VOCABULARY), (3, 16)).astype("int32"),
        "segment_ids": rng.integers(0, 2, (3, 16)).astype("int32"),
        "padding_mask": (np.arange(16) < np.array([[16], [9], [2]])).astype("int32"),
    }
    encoded = outputs_of(task.backbone, inputs)
    if "mask_positions" in task.input:
        inputs["mask_positions"] = np.array([[1, 2], [3, 0], [0, 1]], "int32")
    return [outputs_of(task, inputs), encoded["sequence_output"], encoded["pooled_output"]]


def _assert_same(task, loaded):
    libraries = " to ".join(type(model).__module__.split(".")[0] for model in (task, loaded))
    names = (type(task).__name__, "sequence_output", "pooled_output")
    for name, one, other in zip(names, _outputs(task), _outputs(loaded), strict=True):
        assert_close(f"{libraries}, {name}", one, other, atol=1e-5)
    tokenizers = task.preprocessor.tokenizer, loaded.preprocessor.tokenizer
    ids = [[list(map(int, row)) for row in tokenizer(_TEXTS)] for tokenizer in tokenizers]
    assert ids[0] == ids[1]
    if "mask_positions" not in task.input:  # no random masks
        rows = [preprocessor(_TEXTS) for preprocessor in (task.preprocessor, loaded.preprocessor)]
        for name in ("token_ids", "segment_ids", "padding_mask"):
            one, other = (np.asarray(ops.convert_to_numpy(row[name])) for row in rows)
            np.testing.assert_array_equal(one, other)


def check_masked_lm_ours_to_keras_hub(folder):
    task = _task(trainer, "masked_lm")
    task.save_to_preset(str(folder))
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == _FILES
    _assert_same(task, _load(_keras_hub(), "masked_lm", folder))
    _assert_same(task, _load(trainer, "masked_lm", folder))


def check_classifier_ours_to_keras_hub(folder):
    task = _task(trainer, "classifier", layers=1)
    task.save_to_preset(str(folder))
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == _FILES
    _assert_same(task, _load(_keras_hub(), "classifier", folder))
    _assert_same(task, _load(trainer, "classifier", folder))


def check_masked_lm_keras_hub_to_ours(folder):
    task = _task(_keras_hub(), "masked_lm")
    task.save_to_preset(str(folder))
    _assert_same(task, _load(trainer, "masked_lm", folder))


def check_classifier_keras_hub_to_ours(folder):
    task = _task(_keras_hub(), "classifier", layers=1)
    task.save_to_preset(str(folder))
    loaded = _load(trainer, "classifier", folder)
    _assert_same(task, loaded)
    # num_classes puts a fresh head on, load_weights=False makes everything fresh.
    fresh = trainer.models.TextClassifier.from_preset(str(folder), num_classes=5)
    assert fresh.output_shape == (None, 5)
    np.testing.assert_allclose(_outputs(fresh)[1], _outputs(task)[1], atol=1e-5)
    unloaded = trainer.models.Backbone.from_preset(str(folder), load_weights=False)
    assert isinstance(unloaded, trainer.models.BertBackbone)
    masked_lm = trainer.models.MaskedLM.from_preset(str(folder))
    assert isinstance(masked_lm.preprocessor, trainer.models.BertMaskedLMPreprocessor)


def check_pretrained_masked_lm_to_keras_hub(folder):
    """Also with the head that Hugging Face can hold: ours, the loss in training and theirs agree."""
    for portable in (False, True):
        plain = _task(trainer, "masked_lm", layers=1)
        model = PretrainingModel(plain.backbone, portable_head=portable)
        rng = np.random.default_rng(2)
        for weight in model.masked_lm_head.trainable_variables:
            weight.assign(rng.normal(0.0, 0.5, weight.shape))
        task = model.to_masked_lm(plain.preprocessor)
        assert task.get_config().keys() == plain.get_config().keys(), "a head KerasHub can build"
        tokens = rng.integers(0, len(_VOCABULARY), (3, 16)).astype("int32")
        inputs = {"token_ids": tokens, "segment_ids": 0 * tokens, "padding_mask": 0 * tokens + 1}
        inputs["mask_positions"] = np.array([[1, 2], [3, 0], [0, 1]], "int32")
        ids, weights = tokens[:, :2], np.ones((3, 2), "float32")
        loss = outputs_of(model, {**inputs, "mask_ids": ids, "mask_weights": weights})["loss"]
        logits = outputs_of(task, inputs)
        expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(ids, logits)
        np.testing.assert_allclose(loss, ops.convert_to_numpy(expected), rtol=1e-5)
        task.save_to_preset(str(folder / str(portable)))
        _assert_same(task, _load(_keras_hub(), "masked_lm", folder / str(portable)))


def check_another_epsilon_is_refused_by_keras_hub(folder):
    """Whose model would compute with 1e-12 and say nothing."""
    backbone = trainer.models.BertBackbone(8, 1, 1, 4, 4, layer_norm_epsilon=0.01)
    backbone.save_to_preset(str(folder))
    assert trainer.models.Backbone.from_preset(str(folder)).layer_norm_epsilon == 0.01
    said = ""
    try:
        _keras_hub().models.Backbone.from_preset(str(folder))
    except ValueError as error:
        said = str(error)
    assert "bertmill>BertBackbone" in said or "not a subclass" in said
