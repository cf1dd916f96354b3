"""Pretraining runs: identity, log, checkpoints, weights and manifest, read to go on or to export."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.fuzz.commands import run_quietly
from tests.fuzz.target import Draw, SilentLossError, Target, folder_files, without_checksums
from tests.trainer.conftest import write_rows

_MODEL = {
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 16,
    "batch_size": 4,
    "learning_rate": 0.01,
    "steps": 2,
    "log_every": 1,
    "checkpoint_every": 1,
    "keep_checkpoints": 2,
}


def targets(work: Path) -> list[Target]:
    """One run, by its parts; its data stays in ``work``."""
    run = make_run(work)
    checkpoints = tuple(name for name in run if name.startswith("checkpoints/"))
    newest = max(checkpoints)
    small = {name: content for name, content in run.items() if not name.startswith("tensorboard/")}
    read = _Readers(str(work / "rows"))
    return [
        Target("identity and log", small, read.plan, ("identity.json", "metrics.jsonl"), share=0.3),
        Target(
            "checkpoint", {n: run[n] for n in checkpoints}, read.checkpoints, (newest,), share=0.5
        ),
        Target("state of a checkpoint", small, read.state, (newest,), share=0.03),
        Target("manifest of a run", small, read.export, ("manifest.json", "run.json"), share=0.3),
        Target(
            "sample and weights", small, read.export, ("sample.npz", "model.weights.h5"), share=0.3
        ),
        Target("restarts", {"restarts.unfinished/0.npz": _restart()}, read.restart, share=0.3),
        Target("rows to skip", {"skip.txt": _SKIPPED}, read.skipped, share=0.5),
    ]


_SKIPPED = (
    b"train-00000-of-00003.array_record 1-3  # why\n\nrows/train-00001-of-00003.array_record\n"
)


def make_run(work: Path) -> dict[str, bytes]:
    """A finished run of two steps on the rows in ``work/rows``; the files of it."""
    import os

    from trainer.pretrain import pretrain
    from trainer.pretraining.config import PretrainConfig
    from trainer.pretraining.startup import without_tensorflow

    os.environ.setdefault("KERAS_BACKEND", "jax")
    write_rows(work / "rows", train=20, validation=4)
    config: Any = {"data": (str(work / "rows"),), "output": str(work / "run"), **_MODEL}
    run_quietly(without_tensorflow(pretrain), PretrainConfig(**config))
    return without_checksums(folder_files(work / "run"))


def _restart() -> bytes:
    import numpy as np

    from trainer.finetuning.output import FinishedRestarts
    from trainer.finetuning.run import RunResult

    with tempfile.TemporaryDirectory() as folder:
        kept = FinishedRestarts(Path(folder), {"seed": 0}, {})
        weights = [np.zeros((3, 2), np.float32), np.ones(2, np.float32)]
        history = [{"epoch": 1, "train_loss": 0.5, "validation": {"accuracy": 0.5}}]
        result = RunResult(1, 1, history, {"accuracy": 0.5}, np.zeros((4, 2), np.float32), weights)
        kept.keep(0, result)
        return (Path(folder) / "restarts.unfinished" / "0.npz").read_bytes()


class _Readers:
    """What reads the files of a run, whose data is in ``rows``."""

    def __init__(self, rows: str):
        self._rows = rows
        self._plan: Any = None

    def plan(self, folder: Path, draw: Draw) -> None:
        """As explain and report begin; the log as a run that goes on reads it."""
        from trainer.pretraining.logs.metrics import MetricsLog, read_metrics
        from trainer.pretraining.pages.charts import draw_charts
        from trainer.pretraining.plan import plan_again

        draw_charts(read_metrics(str(folder)))
        MetricsLog(str(folder), 1, 1.0).close()
        plan_again(str(folder))

    def checkpoints(self, folder: Path, draw: Draw) -> None:
        """The newest one that can be read."""
        from trainer.pretraining.checkpoints import Checkpoints

        checkpoints = Checkpoints(str(folder), 2)
        newest: list[int] = []

        def find(*_: object) -> None:
            newest.append(checkpoints.newest())

        run_quietly(find, None)
        if newest[0] not in (1, 2):
            raise SilentLossError(f"went back to {newest[0]}")
        checkpoints.load(newest[0])

    def state(self, folder: Path, draw: Draw) -> None:
        """The report, which takes up the newest checkpoint as a run that goes on does."""
        from trainer.report import ReportConfig, report

        run_quietly(report, ReportConfig(run=str(folder), output=str(folder / "page.html")))

    def export(self, folder: Path, draw: Draw) -> None:
        """The export up to the model and its outputs."""
        from pipelines.records.manifest import read_manifest
        from pipelines.records.output_folder import read_run
        from trainer.presets.trained_model import load_pretrained

        manifest = read_manifest(str(folder), ("pretrain", "finetune"), flag="run")
        read_run(str(folder))
        trained = load_pretrained(str(folder), manifest)
        trained.outputs(trained.task)

    def restart(self, folder: Path, draw: Draw) -> None:
        """A restart of fine-tuning that was finished before a kill."""
        from trainer.finetuning.output import FinishedRestarts

        FinishedRestarts(folder, {"seed": 0}, {}).find(0)

    def skipped(self, folder: Path, draw: Draw) -> None:
        """``--skip_rows``."""
        from trainer.data.dataset import open_datasets
        from trainer.data.skipped_rows import read_skipped_rows

        if self._plan is None:
            self._plan = open_datasets([self._rows])
        read_skipped_rows(str(folder / "skip.txt"), self._plan)
