"""What a pretraining config means for the data that it names: everything about a run but the loop.

The run itself, and whoever looks at one of its steps later, build the same things from here: the
batches, the model with its initial weights, the optimizer and the training step.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from itertools import repeat
from typing import Any

from pipelines.errors import UserError
from pipelines.mask.config import MaskConfig
from pipelines.options import deciding_fields
from trainer.data.batches import Batch, BatchMaker
from trainer.data.dataset import Dataset, open_datasets
from trainer.data.mixture import weigh_by_temperature
from trainer.data.shard_cache import ShardCache, default_cache_folder
from trainer.data.skipped_rows import SkippedRows, read_skipped_rows
from trainer.data.step_rows import count_kept
from trainer.pretraining.check_config import check_backend
from trainer.pretraining.cluster import Cluster
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.flops import peak_tflops, training_flops, utilization
from trainer.pretraining.initial_weights import (
    InitialRun,
    initialize_weights,
    load_initial_weights,
    open_initial_run,
)
from trainer.run_folder import describe_changes, read_identity

# The masked-LM head that KerasHub and Hugging Face can both hold exactly; manifests name it.
PORTABLE_HEAD = "portable"


@dataclass(frozen=True)
class PretrainPlan:
    """A config with its data.

    ``folders`` and ``weights`` (None: one pool) name the ``datasets``; ``rows`` is the number of
    their training rows, the ``skipped`` ones not counted; ``dimensions`` are ``BertBackbone``'s
    arguments; ``initial`` is the run whose weights this one begins with; ``next_sentence``: rows
    have labels to learn from.
    """

    config: PretrainConfig
    folders: list[str]
    weights: list[float] | None
    datasets: list[Dataset]
    skipped: SkippedRows | None
    rows: int
    steps: int
    warmup_steps: int
    dimensions: dict[str, Any]
    initial: InitialRun | None
    next_sentence: bool

    def deciding(self) -> dict[str, Any]:
        """All that decides the run's weights, as JSON."""
        shares = self.weights or repeat(None, len(self.datasets))
        positions = self.config.initial_positions
        deciding = deciding_fields(self.config)
        masking = self.config.masking()
        for name in masking.keys() - {"seed"}:
            del deciding[name]
        deciding |= {
            "model": self.dimensions,
            "head": PORTABLE_HEAD,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "mask": None if self.datasets[0].is_masked else masking,
            "backend": os.environ["KERAS_BACKEND"],
            "data": [
                {"fingerprint": dataset.manifest.fingerprint, "weight": weight}
                for dataset, weight in zip(self.datasets, shares, strict=True)
            ],
        }
        came_later = {
            "next_sentence": self.next_sentence or None,
            "temperature": self.config.temperature,
            "shard_window": self.config.shard_window,
            "initial_positions": None if positions == "normal" else positions,
            "skip_rows": self.skipped and self.skipped.fingerprint,
            "initial_weights": self.initial and self.initial.fingerprint,
        }
        # Where they are not set, a run is one of those that were begun before there was a choice.
        deciding |= {name: value for name, value in came_later.items() if value is not None}
        return dict(json.loads(json.dumps(deciding)))

    def identity(self) -> dict[str, Any]:
        """What decides the run, and the config that it was started with, as JSON."""
        return {"deciding": self.deciding(), "config": asdict(self.config)}

    def batch_maker(self, cluster: Cluster) -> BatchMaker:
        """The batches of this process."""
        return BatchMaker(
            self.datasets,
            weights=self.weights,
            mask=self.config,
            seed=self.config.seed,
            batch_size=self.config.batch_size,
            host=cluster.host,
            hosts=cluster.hosts,
            window=self.config.shard_window,
            skipped=self.skipped.rows if self.skipped else None,
            cache=self._cache(),
        )

    def _cache(self) -> ShardCache | None:
        if not any(dataset.is_remote for dataset in self.datasets):
            return None
        folder = self.config.cache_dir or default_cache_folder()
        return ShardCache(folder, int(self.config.cache_gb * 1e9))

    def utilization(
        self, batch: Batch, rows_per_second: float, cluster: Cluster
    ) -> dict[str, float]:
        """``tflops`` of all devices and, where a device's peak is known, ``mfu``."""
        seq_length = batch.arrays["token_ids"].shape[1]
        masks = batch.arrays["mask_positions"].shape[1]
        flops = training_flops(self.dimensions, seq_length, masks, pooled=self.next_sentence)
        peak = self.config.peak_tflops or peak_tflops(cluster.device_kind)
        devices = cluster.devices * self.config.model_parallel
        return utilization(rows_per_second, flops, peak and peak * devices)

    def build(self, cluster: Cluster) -> tuple[Any, Any, Any]:
        """The model with its initial weights, the training step, and the learning rate's schedule."""
        from trainer.models.bert_backbone import BertBackbone
        from trainer.models.masked_lm_loss import default_block_rows
        from trainer.models.pretraining_model import PretrainingModel
        from trainer.pretraining.optimizer import WarmupThenDecay, build_optimizer
        from trainer.pretraining.step import build_train_step

        config = self.config
        backbone = BertBackbone(**self.dimensions, dtype=config.dtype)
        backbone.rematerializes = config.remat
        width = self.dimensions["hidden_dim"]
        block_rows = cluster.devices * default_block_rows(width) if cluster.devices > 1 else None
        model = PretrainingModel(
            backbone,
            block_rows=block_rows,
            portable_head=True,
            next_sentence=self.next_sentence,
        )
        sinusoidal = config.initial_positions == "sinusoidal"
        initialize_weights(model, config.seed, sinusoidal_positions=sinusoidal)
        if self.initial:
            load_initial_weights(model, self.initial)
        schedule = WarmupThenDecay(
            config.learning_rate, self.warmup_steps, self.steps, config.schedule
        )
        optimizer = build_optimizer(
            config.optimizer,
            model.trainable_variables,
            schedule=schedule,
            weight_decay=config.weight_decay,
            clip_norm=config.clip_norm,
        )
        train_step = build_train_step(
            model,
            optimizer,
            seed=config.seed,
            grad_accumulation=config.grad_accumulation,
            cluster=cluster,
        )
        return model, train_step, schedule


def plan_run(config: PretrainConfig) -> PretrainPlan:
    """Opens the data and fits config and data together. Raises UserError where they do not fit."""
    check_backend(config, os.environ.setdefault("KERAS_BACKEND", "jax"))
    folders, weights = config.folders()
    datasets = open_datasets(folders)
    _check_data(config, datasets)
    vocabulary, facts = datasets[0].vocabulary, datasets[0].manifest.facts
    skipped = None
    if config.skip_rows:
        skipped = read_skipped_rows(config.skip_rows, [d.train_shards() for d in datasets])
    kept = [left.rows for left in count_kept(datasets, skipped.rows if skipped else None)]
    if config.temperature is not None:
        weights = weigh_by_temperature(kept, config.temperature)
    rows = sum(kept)
    steps = config.count_steps(rows)
    dimensions: dict[str, Any] = {
        "vocabulary_size": vocabulary.size,
        **config.dimensions(),
        "dropout": config.dropout,
        "max_sequence_length": config.max_sequence_length or max(512, facts["seq_length"]),
        "num_segments": 2,
    }
    if config.attention_dropout is not None:
        dimensions["attention_dropout"] = config.attention_dropout
    initial = open_initial_run(config.initial_run) if config.initial_run else None
    if initial:
        initial.check(dimensions, vocabulary)
    return PretrainPlan(
        config=config,
        folders=folders,
        weights=weights,
        datasets=datasets,
        skipped=skipped,
        rows=rows,
        steps=steps,
        warmup_steps=steps // 10 if config.warmup_steps is None else config.warmup_steps,
        dimensions=dimensions,
        initial=initial,
        next_sentence=_has_labels(config, datasets),
    )


def plan_again(run: str) -> PretrainPlan:
    """The plan that the run was made by. Raises UserError if its data is no longer the same."""
    identity = read_identity(run)
    backend = os.environ.setdefault("KERAS_BACKEND", identity["deciding"]["backend"])
    known = {field.name for field in fields(PretrainConfig)}
    # Runs of earlier versions may name options that there no longer are.
    config = {name: value for name, value in identity["config"].items() if name in known}
    plan = plan_run(PretrainConfig(**{**config, "data": tuple(config["data"])}))
    changes = describe_changes(identity["deciding"], plan.deciding() | {"backend": backend})
    if changes:
        raise UserError(f"--run: {run} cannot be computed again: {changes}")
    return plan


def _has_labels(config: PretrainConfig, datasets: list[Dataset]) -> bool:
    """Whether to train the next-sentence head. Raises UserError where data lacks labels."""
    without = [dataset.folder for dataset in datasets if not dataset.has_labels]
    if without and config.next_sentence_loss == "true":
        raise UserError(
            f"--next_sentence_loss true: the rows in {without[0]} have no labels; make them with "
            "pipelines.tokenize --packing pairs, or leave it out"
        )
    return not without and config.next_sentence_loss != "false"


def _check_data(config: PretrainConfig, datasets: list[Dataset]) -> None:
    """Raises UserError where data, masking and model do not fit together."""
    vocabulary, seq_length = datasets[0].vocabulary, datasets[0].seq_length
    positions = config.max_sequence_length
    if positions is not None and positions < seq_length:
        raise UserError(
            f"--max_sequence_length {positions}: the rows in {datasets[0].folder} have "
            f"{seq_length} tokens; give at least that, or tokenize with --seq_length {positions}"
        )
    config.check_masking(
        vocabulary_size=vocabulary.size, mask_token_id=vocabulary.mask_id, seq_length=seq_length
    )
    masked = [dataset.folder for dataset in datasets if dataset.is_masked]
    usual = MaskConfig(seed=config.seed).masking()
    changed = [name for name, value in config.masking().items() if value != usual[name]]
    if masked and changed:
        raise UserError(
            f"--{changed[0]}: the examples in {masked[0]} are masked already; leave it out, or "
            "give the rows that they were made from"
        )
