"""Training on JAX where TensorFlow cannot be imported: raw strings, pretraining, presets."""

from __future__ import annotations

import sys

import numpy as np

import trainer as keras_nlp
from trainer.models.pretraining_model import PretrainingModel


def check_without_tensorflow(folder):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film"]
    tokenizer = keras_nlp.models.BertTokenizer(vocabulary, lowercase=True)
    preprocessor = keras_nlp.models.BertPreprocessor(tokenizer, sequence_length=8)
    backbone = keras_nlp.models.BertBackbone(len(vocabulary), 1, 2, 8, 16, max_sequence_length=8)
    classifier = keras_nlp.models.BertClassifier(backbone, 2, preprocessor=preprocessor)
    texts, labels = ["good film", "bad film", "good"], np.array([1, 0, 1])
    loss = classifier.fit(texts, labels, batch_size=2, verbose=0).history["loss"][0]
    assert np.isfinite(loss)
    classifier.save_to_preset(str(folder))
    loaded = keras_nlp.models.TextClassifier.from_preset(str(folder))
    np.testing.assert_allclose(
        loaded.predict(texts, verbose=0), classifier.predict(texts, verbose=0), atol=1e-6
    )
    model = PretrainingModel(backbone)
    model.compile(optimizer="adam")
    tokens = np.ones((2, 8), "int32")
    batch = {
        "token_ids": tokens,
        "segment_ids": 0 * tokens,
        "padding_mask": tokens,
        "document_ids": tokens,
        "mask_positions": np.ones((2, 1), "int32"),
        "mask_ids": np.ones((2, 1), "int32"),
        "mask_weights": np.ones((2, 1), "float32"),
    }
    assert np.isfinite(model.train_on_batch(batch, return_dict=True)["loss"])
    assert "tensorflow" not in sys.modules
