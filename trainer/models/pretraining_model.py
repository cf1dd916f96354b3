"""BERT with its masked-LM head, from a batch of examples straight to the loss.

Lean on purpose: the logits never leave the loss (see masked_lm_loss), and everything a training loop
needs comes back as a handful of scalars. The batch is a dict of arrays:

    token_ids, segment_ids, padding_mask            int32 or bool [batch, sequence]
    mask_positions, mask_ids                        int32 [batch, masks]
    mask_weights                                    float32 [batch, masks], 0.0 = unused slot
    document_ids (only for packed rows)             int32 [batch, sequence], 0 = padding

Other keys (row_id, …) are ignored. On every backend, the Keras way::

    model = PretrainingModel(BertBackbone(vocabulary_size, **dimensions_of("bert_tiny")))
    model.compile(optimizer=keras.optimizers.AdamW(1e-4))    # no loss, no metrics: they are built in
    model.train_on_batch(batch, return_dict=True)            # {"loss": …, "accuracy": …}

On JAX, as a pure function (variables are built on construction)::

    def loss_fn(trainable, non_trainable, batch):
        outputs, non_trainable = model.stateless_call(trainable, non_trainable, batch, training=True)
        return outputs["loss"], (outputs, non_trainable)
    (loss, (outputs, non_trainable)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],   # dropout seeds: carry them along
        batch)

``outputs`` holds float32 scalars: ``loss`` and ``accuracy`` (means weighted with mask_weights over
the whole batch) and ``loss_sum``, ``correct_sum``, ``weight_sum``. To accumulate gradients over parts
of a batch, differentiate ``loss_sum`` and divide the summed gradients by the summed ``weight_sum``.
With the rows of a batch sharded over d devices, pass ``block_rows=128 * d``.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.layers.gelu import SHARPNESS, gelu_approximate, gelu_sharp
from trainer.layers.masked_lm_head import MaskedLMHead
from trainer.models.bert_backbone import BertBackbone, bert_kernel_initializer
from trainer.models.masked_lm_loss import sum_masked_lm_loss

KERAS_NLP_HEAD_EPSILON = 1e-5
_INPUTS = ("token_ids", "segment_ids", "padding_mask")


def bert_masked_lm_head(backbone: BertBackbone, **options: Any) -> MaskedLMHead:
    """BERT's head over the backbone's own token embedding, already built.

    ``options`` override ``MaskedLMHead``'s arguments; the defaults are KerasNLP's. The activation
    may also be "gelu_approximate".
    """
    if options.get("intermediate_activation") == "gelu_approximate":
        options["intermediate_activation"] = gelu_approximate
    head = MaskedLMHead(
        **{"intermediate_activation": "gelu", **options},
        vocabulary_size=backbone.vocabulary_size,
        token_embedding=backbone.token_embedding,
        kernel_initializer=bert_kernel_initializer(),
        dtype=backbone.dtype_policy,
        name="mlm_head",
    )
    head.build((None, None, backbone.hidden_dim), (None, None))
    return head


class PretrainingModel(keras.Model):
    """Computes the masked-LM loss and accuracy of a batch; see the module's docstring.

    Args:
        backbone: the encoder to train.
        masked_lm_head: a built head over ``backbone.token_embedding``; a fresh one where None.
        portable_head: the fresh head's activation is ``gelu_sharp``. Then what ``to_masked_lm``
            gives is the same function in KerasHub and at Hugging Face. KerasHub's head has the exact
            GELU and epsilon 1e-5, Hugging Face's what its encoder has: with a plain head no weights
            make the two equal, and logits differ by about 1e-3.
        block_rows: rows of logits computed at a time on JAX; see ``sum_masked_lm_loss``.
    """

    def __init__(
        self,
        backbone: BertBackbone,
        masked_lm_head: MaskedLMHead | None = None,
        block_rows: int | None = None,
        portable_head: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backbone = backbone
        options = {"intermediate_activation": gelu_sharp} if portable_head else {}
        self.masked_lm_head = masked_lm_head or bert_masked_lm_head(backbone, **options)
        self.block_rows = block_rows
        self.accuracy_tracker = keras.metrics.Mean(name="accuracy")
        self.built = True

    def call(self, batch: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Gives float32 scalars: loss, accuracy, loss_sum, correct_sum, weight_sum."""
        inputs = {name: ops.cast(batch[name], "int32") for name in _INPUTS}
        if batch.get("document_ids") is not None:
            inputs["document_ids"] = batch["document_ids"]
        encoded = self.backbone.encode_at(inputs, batch["mask_positions"], training=training)
        hidden = self.masked_lm_head.transform(encoded)
        sums = sum_masked_lm_loss(
            hidden,
            self.backbone.token_embedding.embeddings,
            self.masked_lm_head.output_bias,
            batch["mask_ids"],
            batch["mask_weights"],
            block_rows=self.block_rows,
        )
        # A batch without a single mask has loss 0, not 0/0.
        divisor = ops.maximum(sums.weight, 1e-6)
        return {
            "loss": sums.loss / divisor,
            "accuracy": sums.correct / divisor,
            "loss_sum": sums.loss,
            "correct_sum": sums.correct,
            "weight_sum": sums.weight,
        }

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        self.accuracy_tracker.update_state(y_pred["accuracy"], sample_weight=y_pred["weight_sum"])
        return y_pred["loss"]

    def to_masked_lm(self, preprocessor: Any = None) -> Any:
        """A ``BertMaskedLM`` task over the same backbone with a head of equal outputs, for saving."""
        from trainer.models.bert_masked_lm import BertMaskedLM

        head = self.masked_lm_head
        task = BertMaskedLM(self.backbone, preprocessor, _options_of(head))
        task.masked_lm_head.set_weights(head.get_weights())
        if head.intermediate_activation is gelu_sharp:
            dense = task.masked_lm_head._intermediate_dense
            dense.set_weights([SHARPNESS * weight for weight in dense.get_weights()])
        return task


def _options_of(head: MaskedLMHead) -> dict[str, Any]:
    """What ``BertMaskedLM`` must be told to build this head: nothing where it is KerasNLP's."""
    options: dict[str, Any] = {}
    if head.intermediate_activation is gelu_approximate:
        options["intermediate_activation"] = "gelu_approximate"
    elif head.intermediate_activation not in (gelu_sharp, keras.activations.gelu):
        options["intermediate_activation"] = keras.activations.serialize(
            head.intermediate_activation
        )
    if head.layer_norm_epsilon != KERAS_NLP_HEAD_EPSILON:
        options["layer_norm_epsilon"] = head.layer_norm_epsilon
    return options
