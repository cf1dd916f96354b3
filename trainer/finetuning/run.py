"""One fine-tuning run: from a fresh classifier to its best or last epoch.

Which examples make up a batch, the new layer's weights and dropout follow from the run's seed alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipelines.errors import UserError
from pipelines.keyed_random import fold, purpose_key
from trainer.finetuning.config import FinetuneConfig
from trainer.finetuning.encoded import EncodedTexts, batches_by_length, run_model
from trainer.finetuning.task import FinetunedTask, score

# Batches are sorted by length within so many: enough for even lengths, few enough to stay mixed.
_POOL = 32
_WEIGHT_DECAY, _CLIP_NORM = 0.01, 1.0


@dataclass(frozen=True)
class TaskData:
    """What all runs share: the task, encoded examples, and labels int64[n] or float32[n]."""

    task: FinetunedTask
    train: EncodedTexts
    train_labels: NDArray[Any]
    validation: EncodedTexts
    validation_labels: NDArray[Any]


@dataclass(frozen=True)
class RunResult:
    """The epoch that a run kept: its number from 1, figures, outputs float32[n, classes], weights."""

    seed: int
    epoch: int
    epochs: int
    figures: dict[str, Any]
    outputs: NDArray[np.float32]
    weights: list[NDArray[Any]]


def restart_seed(seed: int, restart: int) -> int:
    """The seed of restart 0, 1, …: the user's own, then others drawn from it."""
    return int(fold(purpose_key(seed, "restart"), restart)) & 0xFFFFFFFF if restart else seed


class Finetuning:
    """A classifier made ready to be trained, from any number of beginnings, and compiled only once.

    ``judged`` gives the validation figures: the classifier itself, or its float32 twin where it is
    trained in another dtype, so that figures and published preset belong together.
    """

    def __init__(
        self, classifier: Any, judged: Any, data: TaskData, config: FinetuneConfig
    ) -> None:
        import keras

        from trainer.finetuning.first_token_model import build_first_token_model
        from trainer.pretraining.optimizer import WarmupThenDecay, build_optimizer

        self.classifier, self.judged, self.data, self.config = classifier, judged, data, config
        self._model = build_first_token_model(classifier)
        self._judge = self._model if judged is classifier else build_first_token_model(judged)
        steps = config.epochs * math.ceil(len(data.train) / config.batch_size)
        self._model.compile(
            optimizer=build_optimizer(
                "adamw",
                self._model.trainable_variables,
                schedule=WarmupThenDecay(
                    config.learning_rate, int(steps * config.warmup_fraction), steps
                ),
                weight_decay=_WEIGHT_DECAY,
                clip_norm=_CLIP_NORM,
            ),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            if data.task.classes
            else keras.losses.MeanSquaredError(),
            metrics=[],
        )

    def begin_with(self, fresh: Any) -> None:
        """Makes the classifier what ``fresh``, one of the same architecture, is: as never trained."""
        for variable, value in zip(self.classifier.variables, fresh.variables, strict=True):
            variable.assign(value)
        for variable in self._model.optimizer.variables:
            variable.assign(np.zeros(variable.shape))  # Step and moments all begin there.

    def run(
        self, seed: int, note: Callable[[int, float, dict[str, Any], float], None]
    ) -> RunResult:
        """Trains the classifier; leaves ``judged`` with the weights of the epoch it returns.

        ``note(epoch, loss, figures, examples a second)`` is called after each epoch. Raises UserError
        if the loss is no longer a number.
        """
        classifier, judged, data, config = self.classifier, self.judged, self.data, self.config
        best: RunResult | None = None
        for epoch in range(1, config.epochs + 1):
            began = time.perf_counter()
            loss = _train_epoch(self._model, data, config, seed, epoch)
            rate = len(data.train) / (time.perf_counter() - began)
            if judged is not classifier:
                put_weights(judged, _weights(classifier))
            outputs = run_model(self._judge, data.validation, 2 * config.batch_size)
            figures = score(data.task, data.validation_labels, outputs)
            note(epoch, loss, figures, rate)
            better = best is None or config.quality(figures) > config.quality(best.figures)
            if better or not config.early_stopping:
                best = RunResult(seed, epoch, epoch, figures, outputs, _weights(classifier))
            elif best is not None and epoch - best.epoch >= config.early_stopping:
                break
        assert best is not None
        put_weights(judged, best.weights)
        return RunResult(seed, best.epoch, epoch, best.figures, best.outputs, best.weights)


def put_weights(classifier: Any, weights: list[NDArray[Any]]) -> None:
    """Gives a classifier of the same architecture the weights that a run kept."""
    for variable, value in zip(classifier.trainable_variables, weights, strict=True):
        variable.assign(value)


def _weights(classifier: Any) -> list[NDArray[Any]]:
    from keras import ops

    return [np.array(ops.convert_to_numpy(v)) for v in classifier.trainable_variables]


def epoch_batches(
    lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """The batches of an epoch: every row once, mixed anew each epoch, alike in length."""
    key = fold(purpose_key(seed, "fine-tuning order"), epoch)
    order = np.argsort(fold(key, 0, np.arange(len(lengths))), kind="stable")
    batches = batches_by_length(lengths, order, batch_size, _POOL)
    return [batches[i] for i in np.argsort(fold(key, 1, np.arange(len(batches))), kind="stable")]


def _train_epoch(
    model: Any, data: TaskData, config: FinetuneConfig, seed: int, epoch: int
) -> float:
    """One pass; returns the mean loss of an example. Raises UserError if it is no number."""
    total = 0.0
    size, labels = config.batch_size, data.train_labels
    batches = epoch_batches(data.train.lengths, size, seed, epoch - 1)
    with tqdm(batches, f"epoch {epoch}", unit="step", leave=False, disable=None) as bar:
        for rows in bar:
            # A batch that is not full is filled up with rows of no weight: one shape compiled less.
            filled = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
            weights = (np.arange(size) < len(rows)).astype(np.float32)
            inputs = data.train.batch(rows, size)
            model.reset_metrics()  # So that every backend tells this batch's loss, over ``size``.
            loss = float(model.train_on_batch(inputs, labels[filled], sample_weight=weights))
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss is {loss} in epoch {epoch}; lower --learning_rate "
                    f"{config.learning_rate:g}"
                )
            total += loss * size
            bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
    return total / len(data.train)
