"""One fine-tuning run: from a fresh classifier to its best or last epoch.

Which examples make up a batch, the new layer's weights and dropout follow from the run's seed alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.command.progress import track
from pipelines.errors import UserError
from pipelines.keyed_random import fold, purpose_key, uniform
from pipelines.records.preset_folder import preset_folder
from trainer.finetuning.config import FinetuneConfig
from trainer.finetuning.encoded import batches_by_length, run_model
from trainer.finetuning.examples import Examples
from trainer.finetuning.label_scale import LabelScale
from trainer.finetuning.scores import score
from trainer.finetuning.task import reading_model

# Batches whose rows are sorted by length together: enough for even lengths, few enough to stay
# mixed.
_POOL = 32
_WEIGHT_DECAY, _CLIP_NORM = 0.01, 1.0


@dataclass(frozen=True)
class RunResult:
    """The epoch that a run kept: its number from 1, figures, outputs float32[n, classes], weights.

    ``history`` tells of the epochs that ended with a validation: a dict of ``epoch``, ``train_loss`` and
    ``validation`` (the figures) for each.
    """

    seed: int
    epoch: int
    history: list[dict[str, Any]]
    figures: dict[str, Any]
    outputs: NDArray[np.float32]
    weights: list[NDArray[Any]]


def restart_seed(seed: int, restart: int) -> int:
    """The seed of restart 0, 1, …: the user's own, then others drawn from it."""
    return int(fold(purpose_key(seed, "restart"), restart)) & 0xFFFFFFFF if restart else seed


def load_fresh(
    config: FinetuneConfig, preprocessor: Any, classes: int, seed: int, dtype: str
) -> Any:
    """The preset as a classifier with a fresh last layer (and fresh weights, if so asked).

    It takes encoded texts. Raises UserError if the vocabulary or length of ``preprocessor``, which
    encodes them, or the layers to freeze are more than the preset has.
    """
    import keras

    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.bert_text_classifier import BertTextClassifier
    from trainer.presets.weights import check_vocabulary

    if config.adversarial and keras.config.backend() != "jax":
        raise UserError(
            f"--adversarial {config.adversarial:g}: needs JAX; leave it out or set KERAS_BACKEND=jax"
        )
    keras.utils.set_random_seed(seed)
    folder = preset_folder(config.preset)
    dropout = {} if config.dropout is None else {"dropout": config.dropout}
    backbone = BertBackbone.from_preset(
        folder, load_weights=not config.from_scratch, dtype=dtype, **dropout
    )
    check_vocabulary(backbone, preprocessor, f"preset {folder!r}: ")
    longest = backbone.max_sequence_length
    if preprocessor.sequence_length > longest:
        raise UserError(
            f"--seq_length {preprocessor.sequence_length}: the preset has {longest} positions; "
            "lower it"
        )
    _freeze(backbone, config.frozen_layers)
    return BertTextClassifier(backbone, max(1, classes), preprocessor=None, **dropout)


def _freeze(backbone: Any, layers: int) -> None:
    """Makes the embeddings and the first layers, if any, keep their weights."""
    if layers > backbone.num_layers:
        raise UserError(
            f"--frozen_layers {layers}: the preset has {backbone.num_layers} layers; lower it"
        )
    if layers:
        above = {*backbone.transformer_layers[layers:], backbone.pooled_dense}
        for layer in backbone.layers:
            layer.trainable = layer in above


class Finetuning:
    """A classifier that is compiled once and trained any number of times, each from fresh weights.

    ``evaluated`` gives the validation figures: the classifier itself, or its float32 twin where it is
    trained in another dtype, so that the figures are those of the published preset. ``tokenizer`` is
    needed where tokens are dropped.
    """

    def __init__(
        self,
        classifier: Any,
        evaluated: Any,
        train: Examples,
        validation: Examples,
        config: FinetuneConfig,
        tokenizer: Any = None,
    ) -> None:
        import keras

        from trainer.pretraining.optimizer import WarmupThenDecay, build_optimizer

        self.classifier, self.evaluated, self.config = classifier, evaluated, config
        self._tokenizer = tokenizer
        self._scale = None if train.classes else LabelScale.of(train.labels)
        learned = self._scale.shrink(train.labels) if self._scale else train.labels
        self.train, self.validation = replace(train, labels=learned), validation
        in_windows = train.encoded.in_windows
        shifted = config.adversarial > 0
        self._model = reading_model(classifier, in_windows=in_windows, shifted=shifted)
        if keras.config.backend() == "jax":
            from trainer.finetuning.training_model import TrainingModel

            width = classifier.backbone.hidden_dim
            self._model = TrainingModel(self._model, width, config.adversarial)
        self._evaluated_model = reading_model(evaluated, in_windows=in_windows)
        self._epochs = config.epochs_for(len(train))
        self._rate = config.rate_for(classifier.backbone.hidden_dim)
        steps = self._epochs * math.ceil(len(train) / config.batch_size)
        warmup = int(steps * config.warmup_fraction)
        self._model.compile(
            optimizer=build_optimizer(
                "adamw",
                self._model.trainable_variables,
                schedule=WarmupThenDecay(self._rate, warmup, steps),
                weight_decay=_WEIGHT_DECAY,
                clip_norm=_CLIP_NORM,
            ),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            if train.classes
            else keras.losses.MeanSquaredError(),
            metrics=[],
        )

    def begin_with(self, fresh: Any) -> None:
        """Resets the classifier to ``fresh``, of the same architecture, and the optimizer to zero."""
        for variable, value in zip(self.classifier.variables, fresh.variables, strict=True):
            variable.assign(value)
        for variable in self._model.optimizer.variables:
            variable.assign(np.zeros(variable.shape))

    def run(self, seed: int, note: Callable[[dict[str, Any], float], None]) -> RunResult:
        """Trains the classifier; leaves ``evaluated`` with the weights of the epoch it returns.

        ``note(line of the history, examples a second)`` is called after each validation. Raises
        UserError if the loss is no longer a number.
        """
        config, validation = self.config, self.validation
        history: list[dict[str, Any]] = []
        best: RunResult | None = None
        unvalidated = 0
        for epoch in range(1, self._epochs + 1):
            began = time.perf_counter()
            loss = self._train_epoch(seed, epoch)
            rate = len(self.train) / (time.perf_counter() - began)
            unvalidated += len(self.train)
            # Else few examples would be trained on in minutes and validated for an hour.
            wanted = config.early_stopping or unvalidated >= len(validation)
            if epoch < self._epochs and not wanted:
                continue
            unvalidated = 0
            # Copies: the backend may give its own buffers.
            weights = [np.array(array) for array in self.classifier.get_weights()]
            self.evaluated.set_weights(weights)
            outputs = run_model(self._evaluated_model, validation.encoded, 2 * config.batch_size)
            if self._scale:
                outputs = self._scale.restore(outputs)
            figures = score(validation.classes, validation.labels, outputs)
            history.append({"epoch": epoch, "train_loss": loss, "validation": figures})
            note(history[-1], rate)
            better = best is None or config.quality(figures) > config.quality(best.figures)
            if better or not config.early_stopping:
                if self._scale:
                    weights = self._scale.restore_weights(self.classifier, weights)
                best = RunResult(seed, epoch, history, figures, outputs, weights)
            elif best is not None and epoch - best.epoch >= config.early_stopping:
                break
        assert best is not None
        self.evaluated.set_weights(best.weights)
        return best

    def _train_epoch(self, seed: int, epoch: int) -> float:
        """One pass; returns the mean loss of an example. Raises UserError if it is not finite."""
        model, train, config = self._model, self.train, self.config
        total, size = 0.0, config.batch_size
        batches = epoch_batches(train.encoded.tokens.lengths, size, seed, epoch - 1)
        key = fold(purpose_key(seed, "token dropout"), epoch)
        with track(batches, f"finetune: epoch {epoch}", "steps") as bar:
            for step, rows in enumerate(bar):
                # A batch that is not full is filled up with rows of no weight: one shape compiled less.
                filled = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
                weights = (np.arange(size) < len(rows)).astype(np.float32)
                inputs = train.encoded.batch(rows, size)
                if rate := config.token_dropout:
                    inputs["token_ids"] = drop_tokens(
                        inputs["token_ids"], rate, fold(key, step), self._tokenizer
                    )
                model.reset_metrics()  # Else some backends give the mean loss of all batches so far.
                labels = train.labels[filled]
                loss = float(model.train_on_batch(inputs, labels, sample_weight=weights))
                if not math.isfinite(loss):
                    raise UserError(
                        f"the loss is {loss} in epoch {epoch}; lower --learning_rate {self._rate:g}"
                    )
                total += loss * size
                bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        return total / len(train)


def drop_tokens(
    token_ids: NDArray[np.int32], rate: float, key: ArrayLike, tokenizer: Any
) -> NDArray[np.int32]:
    """The ids, each replaced by [MASK] with probability ``rate``, but for [CLS], [SEP] and [PAD].

    Which ones follows from ``key`` and the positions in the array alone.
    """
    kept = (tokenizer.start_token_id, tokenizer.end_token_id, tokenizer.pad_token_id)
    hidden = uniform(fold(key, np.arange(token_ids.size))).reshape(token_ids.shape) < rate
    mask_id = np.int32(tokenizer.mask_token_id)
    return np.where(hidden & ~np.isin(token_ids, kept), mask_id, token_ids)


def epoch_batches(
    lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """The batches of an epoch: every row once, in an order of its own, of similar lengths."""
    key = fold(purpose_key(seed, "fine-tuning order"), epoch)
    order = np.argsort(fold(key, 0, np.arange(len(lengths))), kind="stable")
    batches = batches_by_length(lengths, order, batch_size, _POOL)
    return [batches[i] for i in np.argsort(fold(key, 1, np.arange(len(batches))), kind="stable")]
