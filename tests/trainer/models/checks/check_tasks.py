"""Tasks on raw strings and on preprocessed inputs, with numpy and with ``tf.data``."""

from __future__ import annotations

import keras
import numpy as np

import trainer as keras_nlp

_VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "##s", "."]
_TEXTS = ["good film.", "bad films.", "good, good", "a bad film"] * 4
_LABELS = np.array([1, 0, 1, 0] * 4)


def _classifier(preprocessor="default"):
    keras.utils.set_random_seed(3)
    backbone = keras_nlp.models.BertBackbone(len(_VOCABULARY), 1, 2, 16, 32, max_sequence_length=12)
    if preprocessor == "default":
        tokenizer = keras_nlp.models.BertTokenizer(_VOCABULARY, lowercase=True)
        preprocessor = keras_nlp.models.BertPreprocessor(tokenizer, sequence_length=12)
    return keras_nlp.models.BertClassifier(backbone, num_classes=2, preprocessor=preprocessor)


def check_classifier_learns_from_strings(folder):
    classifier = _classifier()
    classifier.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(1e-2),
        metrics=["sparse_categorical_accuracy"],
    )
    classifier.fit(
        _TEXTS, _LABELS, batch_size=8, epochs=15, validation_data=(_TEXTS, _LABELS), verbose=0
    )
    loss, accuracy = classifier.evaluate(_TEXTS, _LABELS, verbose=0)
    assert accuracy > 0.9, (loss, accuracy)
    assert classifier.predict(_TEXTS[:3], batch_size=2, verbose=0).shape == (3, 2)
    pairs = (_TEXTS[:8], _TEXTS[:8])
    assert np.isfinite(classifier.train_on_batch(pairs, _LABELS[:8])[0])


def check_classifier_takes_preprocessed_inputs(folder):
    classifier = _classifier()
    expected = classifier.predict(_TEXTS, verbose=0)
    inputs = classifier.preprocessor(_TEXTS)
    classifier.preprocessor = None
    found = classifier.predict(inputs, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    history = classifier.fit(inputs, _LABELS, batch_size=8, verbose=0).history
    assert np.isfinite(history["loss"][0])


def check_masked_lm_fits_strings(folder):
    keras.utils.set_random_seed(4)
    tokenizer = keras_nlp.models.BertTokenizer(_VOCABULARY, lowercase=True)
    preprocessor = keras_nlp.models.BertMaskedLMPreprocessor(
        tokenizer, sequence_length=12, mask_selection_length=3
    )
    x, y, weights = preprocessor(_TEXTS)
    again, _, _ = preprocessor(_TEXTS)
    assert set(x) == {"token_ids", "padding_mask", "segment_ids", "mask_positions"}
    assert y.shape == weights.shape == (16, 3)
    assert (x["mask_positions"] != again["mask_positions"]).any(), "new masks at each call"
    backbone = keras_nlp.models.BertBackbone(len(_VOCABULARY), 1, 2, 16, 32, max_sequence_length=12)
    masked_lm = keras_nlp.models.BertMaskedLM(backbone, preprocessor=preprocessor)
    masked_lm.compile(optimizer=keras.optimizers.Adam(1e-2))  # the loss stays the default one
    loss = masked_lm.fit(_TEXTS, batch_size=8, epochs=12, verbose=0).history["loss"]
    assert loss[-1] < 0.8 * loss[0], loss


def check_tf_data_gives_what_eager_calls_give(folder):
    import tensorflow as tf

    classifier = _classifier()
    dataset = tf.data.Dataset.from_tensor_slices((_TEXTS, _LABELS)).batch(8)
    eager = classifier.preprocessor(_TEXTS[:8])
    mapped, labels = next(iter(dataset.map(classifier.preprocessor)))
    for name, values in eager.items():
        np.testing.assert_array_equal(mapped[name].numpy(), values)
    np.testing.assert_array_equal(labels.numpy(), _LABELS[:8])
    tokenizer = classifier.preprocessor.tokenizer
    ragged = next(iter(dataset.map(lambda x, y: tokenizer(x))))
    assert ragged.to_list() == tokenizer(_TEXTS[:8])
    packer = keras_nlp.layers.MultiSegmentPacker(6, start_value=2, end_value=3)
    ids, segments = next(iter(dataset.map(lambda x, y: packer((tokenizer(x), tokenizer(x))))))
    expected = packer((tokenizer(_TEXTS[:8]), tokenizer(_TEXTS[:8])))
    np.testing.assert_array_equal(ids.numpy(), expected[0])
    np.testing.assert_array_equal(segments.numpy(), expected[1])
    assert np.isfinite(classifier.fit(dataset, verbose=0).history["loss"][0])
    np.testing.assert_allclose(
        classifier.predict(dataset.map(lambda x, y: x), verbose=0),
        classifier.predict(_TEXTS, batch_size=8, verbose=0),
        atol=1e-5,
    )


def check_model_saved_by_keras_loads_again(folder):
    classifier = _classifier()
    expected = classifier.predict(_TEXTS[:3], verbose=0)
    path = str(folder / "model.keras")
    classifier.save(path)
    found = keras.saving.load_model(path).predict(_TEXTS[:3], verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
