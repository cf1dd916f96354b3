"""Beginning with the weights that another, finished run ended with.

This is how sequence lengths come in phases (Devlin et al. 2018, appendix A.2: most steps with 128
tokens, the last with 512): a run for each phase, each with its own data, steps, batch size and
learning rate. As in the authors' code the optimizer starts afresh, with a warm-up of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import UserError
from pipelines.records.checksums import checked_file, sha256_of
from pipelines.records.manifest import Manifest, read_manifest
from pipelines.storage import files
from pipelines.text.vocabulary import Vocabulary
from trainer.run_folder import WEIGHTS

# What must be the same in both runs; dropout may change.
_SAME = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length")


@dataclass(frozen=True)
class InitialRun:
    """A finished pretraining run, its manifest, and the SHA-256 of its final weights."""

    folder: str
    manifest: Manifest
    fingerprint: str

    def load_into(self, model: Any) -> None:
        """Gives a ``PretrainingModel`` the weights of the run, variable by variable.

        A next-sentence head that the run did not have stays as it is. Raises UserError if the file
        is damaged.
        """
        from trainer.models.bert_backbone import BertBackbone
        from trainer.models.pretraining_model import PretrainingModel

        facts = self.manifest.facts
        other = PretrainingModel(
            BertBackbone(**facts["model"]),
            portable_head=True,
            next_sentence=facts.get("next_sentence", False),
        )
        path = files.join(self.folder, WEIGHTS)
        try:
            with files.local_file(path) as local:
                other.load_weights(local)
        except UserError:
            raise
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"--initial_run: {path} is damaged ({reason})") from None
        trained = {variable.path: variable for variable in other.trainable_variables}
        for variable in model.trainable_variables:
            if variable.path in trained:
                variable.assign(trained[variable.path])


def open_initial_run(
    folder: str, dimensions: Mapping[str, Any], vocabulary: Vocabulary
) -> InitialRun:
    """Reads the run. Raises UserError if it is no finished pretraining run, or if a model of these
    dimensions and this vocabulary cannot begin with its weights."""
    manifest = read_manifest(folder, ("pretrain",), flag="initial_run")
    if manifest.facts["vocabulary"]["fingerprint"] != vocabulary.fingerprint:
        raise UserError(
            f"--initial_run: {folder} was trained with another vocabulary than that of --data; "
            "tokenize with its vocab.txt"
        )
    model = manifest.facts["model"]
    for name in _SAME:
        if model[name] != dimensions[name]:
            raise UserError(
                f"--initial_run: {folder} has {name} {model[name]}, this run {dimensions[name]}; "
                f"give --{name} {model[name]} or choose another run"
            )
    try:
        with checked_file(folder, WEIGHTS) as local:
            fingerprint = sha256_of(local)
    except OSError as error:
        raise UserError(
            f"--initial_run: {folder} has no readable {WEIGHTS} ({error.strerror or error})"
        ) from None
    return InitialRun(folder, manifest, fingerprint)
