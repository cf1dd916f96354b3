"""One training step: the state lives here, and a step changes nothing else.

On JAX a step is one compiled pure function whose buffers are donated (elsewhere: ``keras_step``).
Dropout is a function of (seed, step) alone: before each step every dropout layer gets a fresh keyed
state, so nothing random has to be carried from step to step.

Shapes: the arrays of a batch are those of ``trainer.data.batches``, their first axis B, the rows of
a step; P parts that these are worked through in (``grad_accumulation``), G dropout layers, T steps in
one call, V step values (5, or 7 with a next-sentence head; one more where steps may be skipped).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.keyed_random import fold, halves, purpose_key
from trainer.pretraining.batch_parts import parts_for_speed
from trainer.pretraining.cluster import Cluster
from trainer.pretraining.exploded_steps import skip_exploded

# Sums that an evaluation gives, and those that come after them with the head.
_SUMS = ("loss_sum", "correct_sum", "weight_sum")
_NEXT_SENTENCE_SUMS = tuple(f"next_sentence_{name}" for name in _SUMS)


def dropout_states(seed: int, step: int, generators: int) -> NDArray[np.uint32]:
    """uint32[G, 2]: the state of every dropout layer in a step."""
    return halves(fold(purpose_key(seed, "dropout"), step, 0, np.arange(generators))[:, None])


def sum_names(model: Any) -> tuple[str, ...]:
    """What the model's outputs are called that an evaluation adds up."""
    return _SUMS if model.next_sentence_head is None else (*_SUMS, *_NEXT_SENTENCE_SUMS)


def name_variables(model: Any, optimizer: Any = None) -> dict[str, Any]:
    """The variables of a run under stable names: ``model/…`` and, of an optimizer, ``optimizer/…``."""
    owned = {"model": model.trainable_variables}
    if optimizer is not None:
        owned["optimizer"] = optimizer.variables
    return {
        f"{owner}/{i:04d}/{variable.path}": variable
        for owner, variables in owned.items()
        for i, variable in enumerate(variables)
    }


def check_arrays(variables: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raises UserError unless the arrays of a checkpoint are those of these variables."""
    for name in sorted({*variables, *arrays}):
        expected, stored = (
            f"{owner[name].dtype}{list(owner[name].shape)}" if name in owner else "not there"
            for owner in (variables, arrays)
        )
        if expected != stored:
            raise UserError(
                f"the checkpoint does not fit this model: {name} is {stored}, expected {expected}; "
                "start over with --overwrite"
            )


class JaxTrainStep:
    """Steps as one compiled function of (weights, optimizer, dropout states, batch).

    The loss is the mean over all masks; with a next-sentence head, plus the mean over all rows.
    With ``skip_norm`` (the optimizer has ``add_counters``) the last of a step's values is how many were
    skipped so far; a skipped one has the weight 0, and 0 for what is no number.
    With ``grad_accumulation`` > 1 the batch is worked through in that many parts, by default in as many
    as are fast, and the gradient is that of the whole batch: its dropout, and the sums over all masks,
    divided once by the number of masks.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        *,
        seed: int,
        grad_accumulation: int | None = None,
        skip_norm: float = 0.0,
        cluster: Cluster | None = None,
    ):
        import jax

        self._cluster = cluster or Cluster()
        self._model, self._optimizer, self._seed = model, optimizer, seed
        self._skip_norm = skip_norm
        self._parts, self._sums = grad_accumulation, sum_names(model)
        self._variables = name_variables(model, optimizer)
        self._split = len(model.trainable_variables)
        self._kernels = [i for i, v in enumerate(model.trainable_variables) if v.name == "kernel"]
        self._generators = len(model.non_trainable_variables)
        # Copies: the first step donates them, and the variables' own arrays must survive that.
        self._arrays = self._place({n: np.asarray(v.value) for n, v in self._variables.items()})
        shardings = self._cluster.shardings(self._arrays)
        self._step = jax.jit(self._train, donate_argnums=0, out_shardings=shardings)
        self._steps = jax.jit(self._train_group, donate_argnums=0, out_shardings=shardings)
        self._evaluate = jax.jit(self._forward)

    def _loss_sum(self, weights: Any, states: Any, batch: Any, masks_per_row: Any) -> Any:
        """(what to minimise, all sums) of a part of a batch.

        A row's next-sentence loss counts as much as ``masks_per_row`` masks: divided by all masks
        in the end, it is a mean over rows.
        """
        outputs, _ = self._model.stateless_call(weights, list(states), batch, training=True)
        sums = [outputs[name] for name in self._sums]
        loss = sums[0]
        if len(sums) > len(_SUMS):
            loss += masks_per_row * sums[len(_SUMS)]
        return loss, sums

    def _learn(self, whole: Any, batch: Any, first: Any) -> Any:
        """(all sums, gradients) of a batch, or of the rows from ``first`` on that a device has of it."""
        import jax
        import jax.numpy as jnp

        from trainer.layers.dropout import rows_of_batch

        weights, states, masks_per_row = whole
        gradient_of = jax.value_and_grad(self._loss_sum, has_aux=True)
        rows, tokens = len(batch["token_ids"]), batch["token_ids"].size
        number = self._parts or parts_for_speed(rows, tokens, self._model.backbone.hidden_dim)
        if number == 1:
            with rows_of_batch(first, 1):
                (_, sums), gradients = gradient_of(weights, states, batch, masks_per_row)
            return sums, gradients

        def add_part(total: Any, part: Any) -> tuple[Any, None]:
            with rows_of_batch(first + part[0], number):
                (_, sums), gradients = gradient_of(weights, states, part[1], masks_per_row)
            return jax.tree.map(jnp.add, total, (sums, gradients)), None

        zero = jnp.zeros((), jnp.float32)
        start = ([zero for _ in self._sums], [jnp.zeros_like(w) for w in weights])
        # [B, …] -> [P, B / P, …]: part i takes every P-th row.
        parts = {
            name: values.reshape(-1, number, *values.shape[1:]).swapaxes(0, 1)
            for name, values in batch.items()
        }
        return jax.lax.scan(add_part, start, (jnp.arange(number), parts))[0]

    def _train(self, arrays: Any, states: Any, batch: Any) -> Any:
        import jax.numpy as jnp

        weights, optimizer_state = arrays[: self._split], arrays[self._split :]
        masks_per_row = batch["mask_weights"].sum() / len(batch["mask_weights"])
        whole = weights, states, masks_per_row
        sums, gradients = self._cluster.add_up(self._learn, whole, batch)
        loss, correct, weight, *next_sentence = sums
        divisor = jnp.maximum(weight, 1e-6)
        gradients = [gradient / divisor for gradient in gradients]
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g.astype(jnp.float32))) for g in gradients))
        before = weights, optimizer_state
        weights, optimizer_state = self._optimizer.stateless_apply(
            optimizer_state, gradients, weights
        )
        values = [loss / divisor, correct / divisor, weight, norm]
        if next_sentence:
            loss, correct, rows = next_sentence
            values += [loss / jnp.maximum(rows, 1), correct / jnp.maximum(rows, 1)]
        stacked, skipped = jnp.stack(values), []
        if self._skip_norm:
            after = weights, optimizer_state
            weights, optimizer_state, skips = skip_exploded(before, after, norm, self._skip_norm)
            left_out = skips & (~jnp.isfinite(stacked) | (jnp.arange(len(values)) == 2))
            stacked, skipped = jnp.where(left_out, 0.0, stacked), [optimizer_state[-1]]
        update = self._relative_update(before[0], weights)
        stacked = jnp.append(stacked, jnp.stack([update, *skipped]))
        return [*weights, *optimizer_state], stacked

    def _relative_update(self, before: Any, after: Any) -> Any:
        """The length of a step's change of all kernels, as a share of theirs."""
        import jax.numpy as jnp

        changed, whole = zip(
            *(
                (jnp.sum(jnp.square(after[i] - before[i])), jnp.sum(jnp.square(before[i])))
                for i in self._kernels
            ),
            strict=True,
        )
        return jnp.sqrt(sum(changed) / jnp.maximum(sum(whole), 1e-30))

    def _train_group(self, arrays: Any, states: Any, batches: Any) -> Any:
        import jax
        import jax.numpy as jnp

        def train(arrays: Any, step: Any) -> tuple[Any, Any]:
            return self._train(arrays, *step)

        stacked = {name: jnp.stack([batch[name] for batch in batches]) for name in batches[0]}
        return jax.lax.scan(train, arrays, (states, stacked))

    def _forward(self, weights: Any, states: Any, batch: Any) -> Any:
        import jax.numpy as jnp

        def judge(whole: Any, batch: Any, first: Any) -> Any:
            weights, states = whole
            outputs, _ = self._model.stateless_call(weights, list(states), batch, training=False)
            return jnp.stack([outputs[name] for name in self._sums])

        return self._cluster.add_up(judge, (weights, states), batch)

    def run(self, step: int, batch: Mapping[str, Any]) -> Any:
        """Trains on the batch of ``step``; returns STEP_VALUES … as a device array float32[V].

        Returns at once: the device may still be computing.
        """
        return self.run_group(step, [batch])[0]

    def run_group(self, step: int, batches: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Trains on the batches of ``step``, ``step`` + 1, … in one call; returns as ``run``."""
        numbers = range(step, step + len(batches))
        states = [dropout_states(self._seed, k, self._generators) for k in numbers]
        placed = [self._cluster.place_batch(batch) for batch in batches]
        with self._cluster.mesh():
            if len(batches) == 1:
                self._arrays, values = self._step(self._arrays, states[0], placed[0])
                return [values]
            self._arrays, values = self._steps(self._arrays, np.stack(states), placed)
        return list(values)

    def evaluate(self, batch: Mapping[str, Any]) -> NDArray[np.float32]:
        """[loss_sum, correct_sum, weight_sum, …] of the batch, without dropout."""
        states = dropout_states(self._seed, 0, self._generators)
        placed = self._cluster.place_batch(batch)
        with self._cluster.mesh():
            return np.asarray(self._evaluate(self._arrays[: self._split], states, placed))

    def state(self) -> dict[str, NDArray[Any]]:
        """A copy of all weights and optimizer variables."""
        arrays = map(self._cluster.gather, self._arrays)
        return dict(zip(self._variables, arrays, strict=True))

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Puts the variables back. Raises UserError where they do not fit."""
        check_arrays(self._variables, arrays)
        self._arrays = self._place(arrays)

    def update_model(self) -> None:
        """Makes the model's own variables current."""
        for name, array in self.state().items():
            self._variables[name].assign(array)

    def _place(self, arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
        return [self._cluster.place(name, arrays[name]) for name in self._variables]
