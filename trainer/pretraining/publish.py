"""What a run leaves behind at its end: weights, sample rows, report, vocabulary, and the manifest."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.records.manifest import Manifest
from pipelines.records.output_folder import finish_output
from pipelines.storage import files
from pipelines.text.vocabulary_source import VOCABULARY_FILE, save_vocabulary
from trainer.data.batches import BatchMaker
from trainer.presets.weights import save_weights
from trainer.pretraining.logs.metrics import read_metrics
from trainer.pretraining.plan import PretrainPlan
from trainer.report import write_report
from trainer.run_folder import IDENTITY, METRICS, REPORT, SAMPLE, WEIGHTS

_SAMPLE_ROWS = 8
# What the manifest holds of the data's facts, and of the last line of metrics.jsonl.
_FACTS = ("vocabulary", "lowercase", "strip_accents", "seq_length", "packing")
_METRICS = (
    "loss",
    "mean_loss",
    "mean_accuracy",
    "validation_loss",
    "validation_accuracy",
    "validation_commonest",
    "validation_masks",
    "validation_bits_per_byte",
    "next_sentence_accuracy",
    "validation_next_sentence_accuracy",
)


def publish_run(
    plan: PretrainPlan, maker: BatchMaker, model: Any, seconds: float, device: str
) -> None:
    """Publishes the finished run, which took so many ``seconds`` on ``device``, in its folder; last
    its manifest.

    ``model`` has the final weights, ``maker`` makes the batches of the run.
    """
    import keras

    output = plan.config.output
    with files.publish(files.join(output, WEIGHTS)) as temporary:
        save_weights(model, temporary)
    with files.publish(files.join(output, SAMPLE)) as temporary, open(temporary, "wb") as file:
        np.savez(file, **sample_rows(maker))
    write_report(files.join(output, REPORT), output, plan, model, maker, plan.steps)
    save_vocabulary(output, plan.datasets[0].vocabulary)
    run = {
        "seconds": seconds,
        "rows_per_second": round(plan.steps * plan.config.batch_size / seconds, 1),
        "command": shlex.join(["python", "-m", "trainer.pretrain", *sys.argv[1:]]),
        "data": [dataset.folder for dataset in plan.datasets],
        "device": device,
        "backend": keras.config.backend(),
        "keras": keras.__version__,
    }
    manifest = describe_run(plan, read_metrics(output)[-1])
    # Not the report: trainer.report writes it anew.
    listed = (IDENTITY, METRICS, WEIGHTS, SAMPLE, VOCABULARY_FILE)
    finish_output(output, manifest, {}, run, listed=listed)


def sample_rows(maker: BatchMaker) -> dict[str, Any]:
    """Some masked rows, to try the model on."""
    return {name: array[:_SAMPLE_ROWS] for name, array in maker.sample_batch().arrays.items()}


def describe_run(plan: PretrainPlan, figures: Mapping[str, Any]) -> Manifest:
    """The manifest of the run; ``figures`` are those of the log's last line."""
    counts = {"steps": plan.steps, "rows_seen": plan.steps * plan.config.batch_size}
    if plan.skipped is not None:
        counts["skipped_rows"] = sum(map(len, plan.skipped))
    data_facts = plan.datasets[0].manifest.facts
    facts = {
        "model": plan.dimensions,
        "head": plan.head,
        **({"next_sentence": True} if plan.next_sentence else {}),
        **{name: data_facts[name] for name in _FACTS},
        "metrics": pick_metrics(figures),
    }
    return Manifest("pretrain", plan.deciding(), counts, facts)


def pick_metrics(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest holds of a line of the log."""
    return {name: figures[name] for name in _METRICS if name in figures}
