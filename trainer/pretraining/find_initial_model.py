"""Which model a run begins with, as its options name it."""

from __future__ import annotations

from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.initial_model import InitialModel
from trainer.pretraining.initial_preset import InitialPreset
from trainer.pretraining.initial_run import InitialRun
from trainer.run_folder import holds_run, read_identity

_KINDS: tuple[type[InitialModel], ...] = (InitialRun, InitialPreset)


def find_initial_model(config: PretrainConfig, run: str | None = None) -> InitialModel | None:
    """The model of ``--initial_run`` or ``--initial_preset``; None: a run begins at random.

    ``run``: its folder, where it may have been begun already. If it has a checkpoint, its identity
    says all that is needed, and the model itself is not looked for.
    """
    for kind in _KINDS:
        place = getattr(config, kind.flag)
        if not place:
            continue
        if run and holds_run(run) and Checkpoints(run).steps():
            identity = read_identity(run)
            if identity["config"].get(kind.flag) == place:
                decided = identity["deciding"]
                return kind(place, decided["model"], decided["head"], decided["initial_weights"])
        return kind.open(place)
    return None
