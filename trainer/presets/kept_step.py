"""A step of a pretraining run whose checkpoint is kept, whether the run is finished or goes on.

A finished run says itself what its data was; of one that goes on the data is opened again. The run is
only read. It may delete the checkpoint meanwhile, which is one clear error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST, Manifest, read_manifest
from pipelines.storage import files
from trainer.presets.pretraining_model import build_pretraining_model, count_checked
from trainer.presets.trained_model import TrainedModel, make_trained, read_sample
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.cluster import Cluster
from trainer.pretraining.logs.metrics import read_metrics
from trainer.pretraining.plan import PretrainPlan, plan_again
from trainer.pretraining.publish import describe_run, pick_metrics, sample_rows
from trainer.pretraining.step import check_arrays, name_variables
from trainer.run_folder import read_identity


@dataclass(frozen=True)
class KeptStep:
    """``manifest``: as the run's would be, had it ended here; ``plan``: of a run that goes on."""

    run: str
    step: int
    manifest: Manifest
    plan: PretrainPlan | None

    @classmethod
    def find(cls, run: str, step: int) -> KeptStep:
        """Raises UserError for a step that is not kept, and for a run whose data is not there."""
        batch_size = read_identity(run)["deciding"]["batch_size"]
        if step not in (kept := Checkpoints(run).steps()):
            steps = ", ".join(map(str, kept)) or "none yet"
            raise UserError(
                f"--step {step}: {run} has no checkpoint of that step; it keeps {steps}"
            )
        figures = next((line for line in read_metrics(run) if line["step"] == step), {})
        if files.exists(files.join(run, MANIFEST)):
            plan, whole = None, read_manifest(run, ("pretrain",), flag="run")
        else:
            plan = plan_again(run)
            whole = describe_run(plan, figures)
        counts = {"steps": step, "rows_seen": step * batch_size}
        facts = {"step": step, "metrics": pick_metrics(figures)}
        manifest = replace(whole, counts={**whole.counts, **counts}, facts={**whole.facts, **facts})
        return cls(run, step, manifest, plan)

    def load(self) -> TrainedModel:
        """The model after the step. Raises UserError where its checkpoint is gone or damaged."""
        checkpoints = Checkpoints(self.run)
        path = checkpoints.path(self.step)
        try:
            arrays, _ = checkpoints.load(self.step)
        except FileNotFoundError:
            raise UserError(
                f"--step {self.step}: {path} is gone: the run, which goes on, has deleted it; choose "
                "a later step, or keep more (trainer.pretrain --keep_checkpoints)"
            ) from None
        stored = {name: array for name, array in arrays.items() if name.startswith("model/")}
        held = sum(array.size for array in stored.values())
        if count_checked(self.manifest.facts, self.run) > held:
            raise UserError(
                f"--step {self.step}: {path} does not hold the model of its run; damaged"
            )
        model = build_pretraining_model(self.manifest.facts)
        variables = name_variables(model)
        check_arrays(variables, stored)
        for name, variable in variables.items():
            variable.assign(stored[name])
        if self.plan is None:
            return make_trained(model, self.manifest, *read_sample(self.run, self.manifest))
        maker = self.plan.batch_maker(Cluster())
        vocabulary = self.plan.datasets[0].vocabulary
        return make_trained(model, self.manifest, sample_rows(maker), vocabulary)
