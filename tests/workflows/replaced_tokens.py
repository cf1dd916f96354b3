"""Pretraining by another objective: which tokens of a row were replaced (ELECTRA, Clark et al. 2020)?

``python -m tests.workflows.replaced_tokens trainer.pretrain --data ROWS --output RUN …`` and then
``… trainer.export --run RUN --output PRESET`` run those commands with ``ReplacedTokenModel`` in the
place of the masked-LM model, with the same options. A generator of half the width is trained as a
masked LM; tokens drawn from what it predicts replace the hidden ones, and the encoder tells for every
token whether it is the original. ELECTRA hides all chosen tokens: ``--mask_token_rate 1
--random_token_rate 0``. The exported encoder is a BERT; its masked-LM head has learned nothing. (JAX.)
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras

from trainer.models import pretraining_model
from trainer.models.bert_backbone import BertBackbone, bert_kernel_initializer
from trainer.models.masked_lm_loss import sum_masked_lm_loss

# Of the loss of telling tokens apart, as in the paper.
_WEIGHT = 50.0
# Tokens that are drawn from together.
_GROUP = 128


class ReplacedTokenModel(pretraining_model.PretrainingModel):
    """``loss`` is the generator's and 50 times the encoder's; ``accuracy`` that of the encoder at the
    positions that the generator filled."""

    def __init__(self, backbone: BertBackbone, **options: Any) -> None:
        super().__init__(backbone, **options)
        width = backbone.hidden_dim // 2
        with keras.name_scope("generator"):  # else both would have variables of the same names
            self.generator = BertBackbone(
                backbone.vocabulary_size,
                backbone.num_layers,
                max(1, backbone.num_heads // 2),
                width,
                4 * width,
                dropout=backbone.dropout,
                max_sequence_length=backbone.max_sequence_length,
                dtype=backbone.dtype_policy,
                name="generator",
            )
            self.generator_head = pretraining_model.bert_masked_lm_head(self.generator)
        self.detector_dense = keras.layers.Dense(
            backbone.hidden_dim,
            activation="gelu",
            kernel_initializer=bert_kernel_initializer(),
            dtype=backbone.dtype_policy,
            name="detector_dense",
        )
        self.detector_dense.build((None, None, backbone.hidden_dim))
        self.detector = self.add_weight(shape=(backbone.hidden_dim,), name="detector")

    def call(self, batch: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        names = ("token_ids", "segment_ids", "padding_mask", "document_ids")
        inputs = {name: jnp.asarray(batch[name], "int32") for name in names if name in batch}
        positions, weights = batch["mask_positions"], batch["mask_weights"]
        encoded = self.generator.encode_at(inputs, positions, training=training)
        hidden = self.generator_head.transform(encoded)
        table = self.generator.token_embedding.embeddings
        bias = self.generator_head.output_bias
        sums = sum_masked_lm_loss(
            hidden, table, bias, batch["mask_ids"], weights, block_rows=self.block_rows
        )
        drawn = _draw(*map(jax.lax.stop_gradient, (hidden, jnp.asarray(table), jnp.asarray(bias))))
        rows = jnp.arange(len(positions))[:, None]
        # An unused slot names position 0, which keeps its token.
        places = jnp.where(weights > 0, positions, inputs["token_ids"].shape[1])
        original = inputs["token_ids"].at[rows, places].set(batch["mask_ids"], mode="drop")
        seen = original.at[rows, places].set(drawn, mode="drop")
        outputs = self.backbone({**inputs, "token_ids": seen}, training=training)
        features = self.detector_dense(outputs["sequence_output"])
        logits = jnp.asarray(features, jnp.float32) @ jnp.asarray(self.detector)
        replaced = seen != original
        losses = jnp.logaddexp(0.0, jnp.where(replaced, -logits, logits))
        real = jnp.asarray(inputs["padding_mask"] > 0, jnp.float32)
        detection = (losses * real).sum() / jnp.maximum(real.sum(), 1)
        right = jnp.take_along_axis((logits > 0) == replaced, positions, axis=1)
        correct, divisor = (right * weights).sum(), jnp.maximum(sums.weight, 1e-6)
        loss = sums.loss + _WEIGHT * detection * sums.weight
        return {
            "loss": loss / divisor,
            "accuracy": correct / divisor,
            "loss_sum": loss,
            "correct_sum": correct,
            "weight_sum": sums.weight,
        }


def _draw(hidden: Any, table: Any, bias: Any) -> Any:
    """int32[B, S]: a token for each of the vectors float[B, S, D], by the probabilities of the head.

    What is drawn is a function of the vectors, so that a step can be computed again.
    """
    logits = jnp.asarray(hidden @ table.T.astype(hidden.dtype), jnp.float32) + bias
    seed = jax.lax.bitcast_convert_type(hidden.astype(jnp.float32), jnp.uint32).sum()
    shares = jax.random.uniform(jax.random.key(seed), hidden.shape[:2])
    weights = jnp.exp(logits - logits.max(axis=-1, keepdims=True))
    weights = jnp.pad(weights, [(0, 0), (0, 0), (0, -logits.shape[-1] % _GROUP)])
    # First a group of tokens, then one of it: adding up all weights one by one takes longer.
    groups = weights.reshape(*shares.shape, -1, _GROUP)
    shares *= groups.sum(axis=(2, 3))
    group, shares = _place(groups.sum(axis=3), shares)
    chosen = jnp.take_along_axis(groups, group[..., None, None], axis=2)[:, :, 0]
    tokens = group * _GROUP + _place(chosen, shares)[0]
    return jnp.minimum(tokens, logits.shape[-1] - 1)


def _place(weights: Any, share: Any) -> tuple[Any, Any]:
    """Of weights float32[B, S, n] end to end: in which ``share`` falls, and how far from its start."""
    ends = jnp.cumsum(weights, axis=-1)
    place = jnp.minimum((ends <= share[..., None]).sum(axis=-1), weights.shape[-1] - 1)
    begins = jnp.take_along_axis(ends - weights, place[..., None], axis=-1)[..., 0]
    return place, share - begins


def main() -> None:
    pretraining_model.PretrainingModel = ReplacedTokenModel  # type: ignore[misc]
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
