"""Numbers in training and in their own unit: there and back, and with the unit in the weights."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.finetuning.label_scale import LabelScale


@pytest.mark.parametrize(
    "labels", [[1000.0, 3000.0], [0.25, 0.5, 4.0], [-7.0, 7.0, 0.0], [5.0, 5.0]]
)
def test_labels_go_there_and_back(labels):
    given = np.array(labels, np.float32)
    scale = LabelScale.of(given)
    learned = scale.shrink(given)
    assert learned.dtype == np.float32
    assert learned.mean() == pytest.approx(0, abs=1e-6)
    assert learned.std() == pytest.approx(1 if np.ptp(given) else 0)
    np.testing.assert_allclose(scale.restore(learned), given, rtol=1e-6)


def test_the_weights_take_the_unit_in():
    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.bert_text_classifier import BertTextClassifier

    backbone = BertBackbone(
        vocabulary_size=20,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=8,
    )
    classifier = BertTextClassifier(backbone, 1, preprocessor=None)
    ids = np.arange(24, dtype="int32").reshape(3, 8) % 20
    inputs = {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1}
    classifier.output_dense.bias.assign([0.3])
    before = classifier.predict_on_batch(inputs)
    scale = LabelScale(3000.0, 250.0)
    classifier.set_weights(scale.restore_weights(classifier, classifier.get_weights()))
    np.testing.assert_allclose(
        classifier.predict_on_batch(inputs), scale.restore(before), rtol=1e-5
    )
