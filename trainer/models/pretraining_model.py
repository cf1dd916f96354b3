"""BERT with its masked-LM head, from a batch of examples straight to the loss.

The logits never leave the loss (see ``masked_lm_loss``). A batch is a dict of arrays, in which other
keys (row_id, …) are ignored:

    token_ids, segment_ids, padding_mask            int32 or bool [B, L]
    mask_positions, mask_ids                        int32 [B, S]
    mask_weights                                    float32 [B, S], 0.0 = unused slot
    document_ids (only for packed rows)             int32 [B, L], 0 = padding
    next_sentence_labels (only for next_sentence)   int32 [B]: 0, 1, or -1 = not counted

The outputs are float32 scalars: ``loss`` and ``accuracy`` (means weighted with mask_weights over the
whole batch) and ``loss_sum``, ``correct_sum``, ``weight_sum``. To accumulate gradients over parts of
a batch, differentiate ``loss_sum`` and divide the summed gradients by the summed ``weight_sum``.
With ``next_sentence`` there are ``next_sentence_loss_sum``, ``…_correct_sum`` and ``…_weight_sum``
beside them; ``loss`` stays the masked LM's, and what Keras minimises is the sum of both means.

On every backend, without a loss and metrics, as they are built in::

    model = PretrainingModel(BertBackbone(vocabulary_size, **dimensions_of("bert_tiny")))
    model.compile(optimizer=keras.optimizers.AdamW(1e-4))
    model.train_on_batch(batch, return_dict=True)            # {"loss": …, "accuracy": …}

On JAX ``model.stateless_call(trainable, non_trainable, batch, training=True)`` is a pure function to
differentiate; the non-trainable variables it returns are dropout seeds to carry along.

Shapes: B rows of the batch, L positions of a row, S masked positions of a row, D hidden dimensions.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.layers.gelu import SHARPNESS, gelu_approximate, gelu_sharp
from trainer.layers.masked_lm_head import MaskedLMHead
from trainer.models.bert_backbone import BertBackbone, bert_kernel_initializer
from trainer.models.masked_lm_loss import sum_masked_lm_loss

_INPUTS = ("token_ids", "segment_ids", "padding_mask")
_NEXT_SENTENCE_MEANS = ("masked_lm_loss", "next_sentence_loss", "next_sentence_accuracy")


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
        portable_head: the head's activation is ``gelu_sharp``. Then what ``to_masked_lm``
            gives is the same function in KerasHub and at Hugging Face; a plain head's logits differ
            there by about 1e-3 (see ``trainer.presets.huggingface``).
        next_sentence: also predict, from the pooled first position, whether a row's second segment
            follows the first (Devlin et al. 2018, section 3.1) or how the two are ordered.
        head_options: arguments of ``MaskedLMHead`` that differ from KerasNLP's, for a head that was
            trained elsewhere; not together with ``portable_head``.
        block_rows: rows of logits computed at a time on JAX; see ``sum_masked_lm_loss``.
    """

    def __init__(
        self,
        backbone: BertBackbone,
        block_rows: int | None = None,
        portable_head: bool = False,
        next_sentence: bool = False,
        head_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backbone = backbone
        self.head_options = head_options or None
        portable = {"intermediate_activation": gelu_sharp} if portable_head else {}
        self.masked_lm_head = bert_masked_lm_head(backbone, **portable, **(head_options or {}))
        self.block_rows = block_rows
        self.accuracy_tracker = keras.metrics.Mean(name="accuracy")
        self.next_sentence_head = None
        if next_sentence:
            options = {"dtype": backbone.dtype_policy, "name": "next_sentence"}
            self.next_sentence_head = keras.layers.Dense(
                2, kernel_initializer=bert_kernel_initializer(), **options
            )
            self.next_sentence_head.build((None, backbone.hidden_dim))
            self.next_sentence_trackers = {
                name: keras.metrics.Mean(name=name) for name in _NEXT_SENTENCE_MEANS
            }
        self.built = True

    def call(self, batch: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Gives the float32 scalars that the module's docstring names."""
        inputs = {name: ops.cast(batch[name], "int32") for name in _INPUTS}
        if batch.get("document_ids") is not None:
            inputs["document_ids"] = batch["document_ids"]
        positions_BS = batch["mask_positions"]
        if self.next_sentence_head is not None:
            first = ops.zeros_like(positions_BS[:, :1])
            positions_BS = ops.concatenate([first, positions_BS], axis=1)
        encoded_BSD = self.backbone.encode_at(inputs, positions_BS, training=training)
        next_sentence = {}
        if self.next_sentence_head is not None:
            pooled_BD = self.backbone.pooled_dense(encoded_BSD[:, 0])
            logits = ops.cast(self.next_sentence_head(pooled_BD), "float32")
            next_sentence = _sum_next_sentence_loss(logits, batch["next_sentence_labels"])
            encoded_BSD = encoded_BSD[:, 1:]
        sums = sum_masked_lm_loss(
            self.masked_lm_head.transform(encoded_BSD),
            self.backbone.token_embedding.embeddings,
            self.masked_lm_head.output_bias,
            batch["mask_ids"],
            batch["mask_weights"],
            block_rows=self.block_rows,
        )
        # A batch without any mask has loss 0, not 0/0.
        divisor = ops.maximum(sums.weight, 1e-6)
        return {
            "loss": sums.loss / divisor,
            "accuracy": sums.correct / divisor,
            "loss_sum": sums.loss,
            "correct_sum": sums.correct,
            "weight_sum": sums.weight,
            **next_sentence,
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
        if self.next_sentence_head is None:
            return y_pred["loss"]
        divisor = ops.maximum(y_pred["next_sentence_weight_sum"], 1)
        means = {
            "masked_lm_loss": y_pred["loss"],
            "next_sentence_loss": y_pred["next_sentence_loss_sum"] / divisor,
            "next_sentence_accuracy": y_pred["next_sentence_correct_sum"] / divisor,
        }
        for name, tracker in self.next_sentence_trackers.items():
            tracker.update_state(means[name])
        return means["masked_lm_loss"] + means["next_sentence_loss"]

    def to_masked_lm(self, preprocessor: Any = None) -> Any:
        """A ``BertMaskedLM`` task over the same backbone with a head of equal outputs, for saving."""
        from trainer.models.bert_masked_lm import BertMaskedLM

        head = self.masked_lm_head
        task = BertMaskedLM(self.backbone, preprocessor, self.head_options)
        task.masked_lm_head.set_weights(head.get_weights())
        if head.intermediate_activation is gelu_sharp:
            dense = task.masked_lm_head._intermediate_dense
            dense.set_weights([SHARPNESS * weight for weight in dense.get_weights()])
        return task


def _sum_next_sentence_loss(logits: Any, labels: Any) -> dict[str, Any]:
    """Sums over the rows with a label: cross-entropy, right answers, rows."""
    counted = ops.cast(labels >= 0, "float32")
    label = ops.cast(ops.maximum(labels, 0), "int32")
    wanted = ops.take_along_axis(logits, label[:, None], axis=-1)[:, 0]
    loss = ops.logsumexp(logits, axis=-1) - wanted
    right = ops.cast(wanted >= ops.max(logits, axis=-1), "float32")
    return {
        "next_sentence_loss_sum": ops.sum(loss * counted),
        "next_sentence_correct_sum": ops.sum(right * counted),
        "next_sentence_weight_sum": ops.sum(counted),
    }
