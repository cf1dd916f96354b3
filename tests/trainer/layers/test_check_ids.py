"""What has no row in a table is an error wherever its value can be seen, and heads share evenly."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pipelines.errors import UserError  # noqa: E402
from trainer.layers.head_size import head_size  # noqa: E402
from trainer.layers.masked_lm_head import MaskedLMHead  # noqa: E402
from trainer.layers.position_embedding import PositionEmbedding  # noqa: E402
from trainer.layers.token_and_position_embedding import TokenAndPositionEmbedding  # noqa: E402
from trainer.layers.transformer_encoder import TransformerEncoder  # noqa: E402
from trainer.models.bert_backbone import BertBackbone  # noqa: E402
from trainer.models.bert_text_classifier import BertTextClassifier  # noqa: E402
from trainer.models.bert_text_classifier_preprocessor import (  # noqa: E402
    BertTextClassifierPreprocessor,
)
from trainer.tokenizers.bert_tokenizer import BertTokenizer  # noqa: E402

_SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}


@pytest.fixture(scope="module")
def backbone() -> BertBackbone:
    return BertBackbone(vocabulary_size=30, max_sequence_length=8, **_SIZES)


def inputs(token: int = 29, segment: int = 1) -> dict[str, np.ndarray]:
    ids = {"token_ids": token, "segment_ids": segment, "padding_mask": 1}
    return {name: np.array([[1, value]], "int32") for name, value in ids.items()}


BAD = [
    (inputs(token=30), "token_ids holds 30, but there are only 30: 0 to 29"),
    (inputs(token=-1), "token_ids holds -1"),
    (inputs(segment=2), "segment_ids holds 2, but there are only 2"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_a_model_refuses_ids_that_it_does_not_have(backbone, bad, message) -> None:
    classifier = BertTextClassifier(backbone, 2)
    tensors = {name: keras.ops.convert_to_tensor(array) for name, array in bad.items()}
    calls = [
        lambda: backbone(bad),
        lambda: backbone(tensors),
        lambda: backbone.predict(bad, verbose=0),
        lambda: classifier.predict(bad, verbose=0),
        lambda: classifier.predict_on_batch(bad),
        lambda: classifier.evaluate(bad, np.array([0]), verbose=0),
        lambda: classifier.fit(bad, np.array([0]), verbose=0),
        lambda: classifier.train_on_batch(bad, np.array([0])),
    ]
    for call in calls:
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert str(caught.value).startswith(message[:9]), "Keras' list of all arguments is in it"
    assert np.isfinite(backbone(inputs())["sequence_output"]).all()


def test_layers_refuse_them_too() -> None:
    with pytest.raises(UserError, match="token_ids holds 10"):
        TokenAndPositionEmbedding(10, 8, 4)(np.array([[10]]))
    with pytest.raises(UserError, match="^positions holds 8"):
        PositionEmbedding(8)(np.zeros((1, 2, 4), "float32"), positions=np.array([0, 8]))
    with pytest.raises(UserError, match="mask_positions holds 3"):
        MaskedLMHead(10)(np.zeros((1, 3, 4), "float32"), mask_positions=np.array([[3]]))


def test_compiled_functions_are_not_slowed(backbone) -> None:
    jax = pytest.importorskip("jax")
    if keras.backend.backend() != "jax":
        pytest.skip("on JAX")
    traced = jax.jit(lambda inputs: backbone(inputs)["pooled_output"])
    assert "callback" not in traced.lower(inputs()).as_text()


def test_a_tokenizer_of_more_pieces_than_the_model_is_refused(backbone) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(26))]
    preprocessor = BertTextClassifierPreprocessor(BertTokenizer(pieces), sequence_length=8)
    with pytest.raises(UserError, match="the vocabulary has 31 pieces but the embedding only 30"):
        BertTextClassifier(backbone, 2, preprocessor)


@pytest.mark.parametrize("heads", [3, 0, 16])
def test_heads_share_the_width_evenly(heads) -> None:
    message = f"hidden_dim 8 cannot be shared evenly by num_heads {heads}"
    calls = [
        lambda: head_size(8, heads),
        lambda: TransformerEncoder(8, heads)(np.zeros((1, 2, 8), "float32")),
        lambda: BertBackbone(vocabulary_size=30, **{**_SIZES, "num_heads": heads}),
    ]
    for call in calls:
        with pytest.raises(UserError, match=message):
            call()
