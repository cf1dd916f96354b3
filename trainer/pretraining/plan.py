"""What a pretraining config means for the data that it names: everything about a run but the loop.

The run itself, and the commands that look at its steps later, build the same things from here: the
batches, the model with its initial weights, the optimizer and the training step.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.command.options import deciding_fields
from pipelines.command.stored_config import restore_config
from pipelines.errors import UserError
from pipelines.storage import files
from trainer.data.batches import Batch, BatchMaker
from trainer.data.dataset import TRAIN, Dataset, open_datasets
from trainer.data.mixture import weigh_by_temperature
from trainer.data.order import RowOrder
from trainer.data.shard_cache import ShardCache, default_cache_folder
from trainer.data.shard_check import ShardCheck
from trainer.data.skipped_rows import fingerprint_rows, read_skipped_rows
from trainer.pretraining.check_config import (
    check_backend,
    check_config,
    check_data,
    learns_next_sentence,
)
from trainer.pretraining.cluster import Cluster, device_kind
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.find_initial_model import find_initial_model
from trainer.pretraining.flops import peak_tflops, training_flops, utilization
from trainer.pretraining.head import PORTABLE_HEAD, head_arguments
from trainer.pretraining.initial_model import InitialModel
from trainer.run_folder import IDENTITY, describe_changes, read_identity


@dataclass(frozen=True)
class PretrainPlan:
    """A config with its data.

    ``weights``: the share of each of the ``datasets`` (None: one pool); ``skipped``: the rows of
    each that are never trained on (None: no list of them was given); ``rows``: how many training
    rows are left; ``dimensions``: ``BertBackbone``'s arguments; ``initial``: the model whose weights
    the run begins with; ``next_sentence``: rows have labels to learn from.
    """

    config: PretrainConfig
    datasets: list[Dataset]
    weights: list[float] | None
    skipped: list[NDArray[np.int64]] | None
    rows: int
    dimensions: dict[str, Any]
    initial: InitialModel | None
    next_sentence: bool

    @property
    def steps(self) -> int:
        """Training steps of the whole run."""
        return self.config.count_steps(self.rows)

    @property
    def warmup_steps(self) -> int:
        """Steps in which the learning rate rises."""
        asked = self.config.warmup_steps
        return self.steps // 10 if asked is None else asked

    @property
    def head(self) -> Any:
        """The masked-LM head, as identities and manifests call it."""
        return self.initial.head if self.initial else PORTABLE_HEAD

    def deciding(self) -> dict[str, Any]:
        """All that decides the run's weights, as JSON."""
        config = self.config
        shares = self.weights or repeat(None, len(self.datasets))
        masking = config.masking()
        deciding = deciding_fields(config) | {"grad_accumulation": config.grad_accumulation or 1}
        for name in masking.keys() - {"seed"}:
            del deciding[name]
        deciding |= {
            "model": self.dimensions,
            "head": self.head,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "mask": None if self.datasets[0].is_masked else masking,
            "backend": os.environ["KERAS_BACKEND"],
            "data": [
                {"fingerprint": dataset.manifest.fingerprint, "weight": weight}
                for dataset, weight in zip(self.datasets, shares, strict=True)
            ],
        }
        positions = config.initial_positions
        added_later = {
            "next_sentence": self.next_sentence or None,
            "temperature": config.temperature,
            "shard_window": config.shard_window,
            "initial_positions": None if positions == "normal" else positions,
            "skip_norm": config.skip_norm or None,
            "skip_rows": None if self.skipped is None else fingerprint_rows(self.skipped),
            "initial_weights": self.initial and self.initial.fingerprint,
        }
        # Without them, a run is still one of those that were begun before the option existed.
        deciding |= {name: value for name, value in added_later.items() if value is not None}
        return dict(json.loads(json.dumps(deciding)))

    def reads(self) -> dict[str, list[str]]:
        """The paths that the run reads, by their flags."""
        config = self.config
        named = {"initial_run": config.initial_run, "skip_rows": config.skip_rows}
        if os.path.exists(config.initial_preset or ""):
            named["initial_preset"] = config.initial_preset
        data = {"data": [dataset.folder for dataset in self.datasets]}
        return data | {flag: [path] for flag, path in named.items() if path}

    def batch_maker(self, cluster: Cluster, check: ShardCheck | None = None) -> BatchMaker:
        """The batches of this process; ``check`` as for ``BatchMaker``."""
        config, cache = self.config, None
        if any(dataset.is_remote for dataset in self.datasets):
            folder = config.cache_dir or default_cache_folder()
            cache = ShardCache(folder, int(config.cache_gb * 1e9))
        order = RowOrder(
            [dataset.shard_rows(TRAIN) for dataset in self.datasets],
            skipped=self.skipped,
            weights=self.weights,
            seed=config.seed,
            batch_size=config.batch_size,
            window=config.shard_window,
        )
        process = {"host": cluster.host, "hosts": cluster.hosts}
        return BatchMaker(self.datasets, order, config, **process, cache=cache, check=check)

    def utilization(
        self, batch: Batch, rows_per_second: float, cluster: Cluster
    ) -> dict[str, float]:
        """``tflops`` of all devices and, where a device's peak is known, ``mfu``."""
        seq_length = batch.arrays["token_ids"].shape[1]
        masks = batch.arrays["mask_positions"].shape[1]
        flops = training_flops(self.dimensions, seq_length, masks, pooled=self.next_sentence)
        peak = self.config.peak_tflops or peak_tflops(device_kind())
        devices = cluster.devices * self.config.model_parallel
        return utilization(rows_per_second, flops, peak and peak * devices)

    def build(self, cluster: Cluster, *, begins: bool = True) -> tuple[Any, Any, Any]:
        """The model, the training step, and the learning rate's schedule.

        ``begins``: the model has its initial weights; else those of a checkpoint are to come.
        """
        import keras

        from trainer.models.bert_backbone import BertBackbone
        from trainer.models.masked_lm_loss import default_block_rows
        from trainer.models.pretraining_model import PretrainingModel
        from trainer.pretraining.exploded_steps import add_counters
        from trainer.pretraining.initial_weights import initialize_weights
        from trainer.pretraining.optimizer import WarmupThenDecay, build_optimizer
        from trainer.pretraining.step import JaxTrainStep

        config = self.config
        backbone = BertBackbone(**self.dimensions, dtype=config.dtype)
        backbone.rematerializes = config.remat
        width = self.dimensions["hidden_dim"]
        block_rows = cluster.devices * default_block_rows(width) if cluster.devices > 1 else None
        model = PretrainingModel(
            backbone,
            block_rows=block_rows,
            next_sentence=self.next_sentence,
            **head_arguments(self.head),
        )
        if begins:
            vocabulary = self.datasets[0].vocabulary
            given = self.initial.load_into(model, vocabulary) if self.initial else ()
            sinusoidal = config.initial_positions == "sinusoidal"
            initialize_weights(model, config.seed, sinusoidal_positions=sinusoidal, given=given)
        schedule = WarmupThenDecay(
            config.learning_rate, self.warmup_steps, self.steps, config.schedule
        )
        optimizer = build_optimizer(
            config.optimizer,
            model.trainable_variables,
            schedule=schedule,
            weight_decay=config.weight_decay,
            clip_norm=config.clip_norm,
            compute_dtype=backbone.compute_dtype,
        )
        if config.skip_norm:
            add_counters(optimizer)
        train_step: Any
        if keras.config.backend() == "jax":
            train_step = JaxTrainStep(
                model,
                optimizer,
                seed=config.seed,
                grad_accumulation=config.grad_accumulation,
                skip_norm=config.skip_norm,
                cluster=cluster,
            )
        else:
            from trainer.pretraining.keras_step import KerasTrainStep

            train_step = KerasTrainStep(model, optimizer, seed=config.seed)
        return model, train_step, schedule


def plan_run(config: PretrainConfig, run: str | None = None) -> PretrainPlan:
    """Opens the data and fits config and data together. Raises UserError where they do not fit.

    ``run``: the folder of the run, where it may have been begun already.
    """
    check_backend(config, os.environ.setdefault("KERAS_BACKEND", "jax"))
    folders, weights = config.folders()
    datasets = open_datasets(folders)
    check_data(config, datasets)
    skipped = read_skipped_rows(config.skip_rows, datasets) if config.skip_rows else None
    rows = [dataset.rows(TRAIN) for dataset in datasets]
    if skipped is not None:
        rows = [count - len(left_out) for count, left_out in zip(rows, skipped, strict=True)]
    if config.temperature is not None:
        weights = weigh_by_temperature(rows, config.temperature)
    initial = find_initial_model(config, run)
    if initial:
        initial.check(config.given_dimensions(), datasets[0])
        dimensions = initial.arguments(datasets[0])
    else:
        dimensions = {
            "vocabulary_size": datasets[0].vocabulary.size,
            **config.dimensions(datasets[0].seq_length),
            "num_segments": 2,
        }
    dimensions["dropout"] = config.dropout
    if config.attention_dropout is not None:
        dimensions["attention_dropout"] = config.attention_dropout
    return PretrainPlan(
        config=config,
        datasets=datasets,
        weights=weights,
        skipped=skipped,
        rows=sum(rows),
        dimensions=dimensions,
        initial=initial,
        next_sentence=learns_next_sentence(config, datasets),
    )


def plan_again(run: str) -> PretrainPlan:
    """The plan that the run was made by. Raises UserError if its data is no longer the same."""
    identity = read_identity(run)
    os.environ.setdefault("KERAS_BACKEND", str(identity["deciding"].get("backend")))
    config = restore_config(PretrainConfig, identity["config"], files.join(run, IDENTITY))
    check_config(config)
    plan = plan_run(config, run)
    if changes := describe_changes(identity["deciding"], plan.deciding()):
        raise UserError(f"--run: {run} cannot be computed again: {changes}")
    return plan
