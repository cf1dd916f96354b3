"""What a run leaves behind at its end: weights, sample rows, report, vocabulary, and the manifest."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

import numpy as np

from pipelines import files
from pipelines.records.manifest import Manifest, finish_output
from pipelines.text.vocabulary_source import save_vocabulary
from trainer.data.batches import BatchMaker
from trainer.pretraining.metrics import read_metrics
from trainer.pretraining.plan import PORTABLE_HEAD, PretrainPlan
from trainer.report import write_report
from trainer.run_folder import REPORT, SAMPLE, WEIGHTS

_SAMPLE_ROWS = 8
_FINAL_METRICS = (
    "loss",
    "mean_loss",
    "mean_accuracy",
    "validation_loss",
    "validation_accuracy",
    "next_sentence_accuracy",
    "validation_next_sentence_accuracy",
)


def publish_run(plan: PretrainPlan, maker: BatchMaker, model: Any, seconds: float) -> None:
    """Publishes the finished run, which took so many ``seconds``, in its folder; last its manifest.

    ``model`` has the final weights, ``maker`` makes the batches of the run.
    """
    import keras

    output, rows_seen = plan.config.output, plan.steps * plan.config.batch_size
    with files.publish(files.join(output, WEIGHTS)) as temporary:
        model.save_weights(temporary)
    _save_sample(output, maker)
    write_report(files.join(output, REPORT), output, plan, model, maker, plan.steps)
    save_vocabulary(output, plan.datasets[0].vocabulary)
    counts = {"steps": plan.steps, "rows_seen": rows_seen}
    if plan.skipped is not None:
        counts["skipped_rows"] = sum(map(len, plan.skipped))
    final = read_metrics(output)[-1]
    facts = plan.datasets[0].manifest.facts
    manifest = Manifest(
        stage="pretrain",
        config=plan.deciding(),
        counts=counts,
        facts={
            "model": plan.dimensions,
            "head": PORTABLE_HEAD,
            **({"next_sentence": True} if plan.next_sentence else {}),
            "vocabulary": facts["vocabulary"],
            "lowercase": facts["lowercase"],
            "strip_accents": facts["strip_accents"],
            "seq_length": facts["seq_length"],
            "packing": facts["packing"],
            "metrics": {name: final[name] for name in _FINAL_METRICS if name in final},
        },
    )
    run = {
        "seconds": round(seconds, 2),
        "rows_per_second": round(rows_seen / seconds, 1),
        "command": shlex.join(["python", "-m", "trainer.pretrain", *sys.argv[1:]]),
        "data": [dataset.folder for dataset in plan.datasets],
        "device": describe_device(),
        "backend": keras.config.backend(),
        "keras": keras.__version__,
    }
    finish_output(output, manifest, {}, run)


def describe_device() -> str:
    """What the run computes on, for people."""
    if os.environ["KERAS_BACKEND"] == "jax":
        import jax

        devices = jax.devices()
        return f"{len(devices)} {devices[0].device_kind}"
    return "its default device"


def _save_sample(output: str, maker: BatchMaker) -> None:
    """Publishes some masked rows, validation rows where there are any: to try the model on."""
    batch = maker.validation_batch(0) if maker.validation_steps else maker.train_batch(0)
    with files.publish(files.join(output, SAMPLE)) as temporary, open(temporary, "wb") as file:
        np.savez(file, **{name: array[:_SAMPLE_ROWS] for name, array in batch.arrays.items()})
