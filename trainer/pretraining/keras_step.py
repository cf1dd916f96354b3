"""One training step by Keras' ``train_on_batch``: what the backends other than JAX do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from trainer.pretraining.logs.meter import NEXT_SENTENCE_VALUES
from trainer.pretraining.step import check_arrays, dropout_states, name_variables, sum_names


class KerasTrainStep:
    """The steps of a run on TensorFlow or Torch; shapes as in ``trainer.pretraining.step``."""

    def __init__(self, model: Any, optimizer: Any, *, seed: int):
        self._model, self._seed = model, seed
        model.compile(optimizer=optimizer)
        self._variables = name_variables(model, optimizer)
        self._dropout = model.non_trainable_variables

    def run(self, step: int, batch: Mapping[str, Any]) -> Any:
        """Trains on the batch of ``step``; returns STEP_VALUES … as float32[V]."""
        states = dropout_states(self._seed, step, len(self._dropout))
        for variable, state in zip(self._dropout, states, strict=True):
            variable.assign(state)
        self._model.reset_metrics()
        logs = self._model.train_on_batch(dict(batch), return_dict=True)
        weight = batch["mask_weights"].sum()
        loss = logs.get("masked_lm_loss", logs["loss"])
        more = [logs[name] for name in NEXT_SENTENCE_VALUES if name in logs]
        return np.array([loss, logs["accuracy"], weight, 0.0, *more, 0.0], np.float32)

    def run_group(self, step: int, batches: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Trains on the batches of ``step``, ``step`` + 1, …; returns the STEP_VALUES of each."""
        return [self.run(step + i, batch) for i, batch in enumerate(batches)]

    def evaluate(self, batch: Mapping[str, Any]) -> NDArray[np.float32]:
        """[loss_sum, correct_sum, weight_sum, …] of the batch, without dropout."""
        outputs = self._model(dict(batch), training=False)
        sums = [keras.ops.convert_to_numpy(outputs[name]) for name in sum_names(self._model)]
        return np.array(sums, np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """A copy of all weights and optimizer variables."""
        return {
            name: np.array(keras.ops.convert_to_numpy(variable))
            for name, variable in self._variables.items()
        }

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Puts the variables back. Raises UserError where they do not fit."""
        check_arrays(self._variables, arrays)
        for name, variable in self._variables.items():
            variable.assign(arrays[name])

    def update_model(self) -> None:
        """Makes the model's own variables current (here they always are)."""
