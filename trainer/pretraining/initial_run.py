"""Where a run's weights begin: drawn from its seed, or those that another, finished run ended with.

The second is how sequence lengths come in phases (Devlin et al. 2018, appendix A.2: most steps with
128 tokens, the last with 512): a run for each phase, each with its own data, steps, batch size and
learning rate. As in the authors' code the optimizer begins anew, with a warm-up of its own.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.errors import UserError
from pipelines.records.manifest import Manifest, read_manifest
from pipelines.text.vocabulary import Vocabulary
from trainer.run_folder import WEIGHTS

# What must be the same in both runs; dropout may change.
_SHAPES = (
    "num_layers",
    "num_heads",
    "hidden_dim",
    "intermediate_dim",
    "max_sequence_length",
)


@dataclass(frozen=True)
class InitialRun:
    """A finished pretraining run, its manifest, and the SHA-256 of its final weights."""

    folder: str
    manifest: Manifest
    fingerprint: str

    def check(self, dimensions: Mapping[str, Any], vocabulary: Vocabulary) -> None:
        """Raises UserError unless a model of these dimensions and this vocabulary can go on."""
        facts = self.manifest.facts
        if facts["vocabulary"]["fingerprint"] != vocabulary.fingerprint:
            raise UserError(
                f"--initial_run: {self.folder} was trained with another vocabulary than that of "
                "--data; tokenize with its vocab.txt"
            )
        for name in _SHAPES:
            if facts["model"][name] != dimensions[name]:
                raise UserError(
                    f"--initial_run: {self.folder} has {name} {facts['model'][name]}, this run "
                    f"{dimensions[name]}; give --{name} {facts['model'][name]} or choose another run"
                )


def open_initial_run(folder: str) -> InitialRun:
    """Reads the run. Raises UserError if it is no finished pretraining run."""
    manifest = read_manifest(folder, ("pretrain",), flag="initial_run")
    return InitialRun(folder, manifest, hashlib.sha256(_read_weights(folder)).hexdigest())


def _read_weights(folder: str) -> bytes:
    try:
        return files.read_bytes(files.join(folder, WEIGHTS))
    except OSError as error:
        raise UserError(
            f"--initial_run: {folder} has no readable {WEIGHTS} ({error.strerror or error})"
        ) from None


def load_initial_weights(model: Any, initial: InitialRun) -> None:
    """Gives a ``PretrainingModel`` the weights of the run, variable by variable.

    A next-sentence head that the run did not have stays as it is.
    """
    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.pretraining_model import PretrainingModel

    facts = initial.manifest.facts
    other = PretrainingModel(
        BertBackbone(**facts["model"]),
        portable_head=True,
        next_sentence=facts.get("next_sentence", False),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / WEIGHTS
        path.write_bytes(_read_weights(initial.folder))
        try:
            other.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"--initial_run: {initial.folder}/{WEIGHTS} is damaged ({reason})"
            ) from None
    found = {variable.path: variable for variable in other.trainable_variables}
    for variable in model.trainable_variables:
        if variable.path in found:
            variable.assign(found[variable.path])
