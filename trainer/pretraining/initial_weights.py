"""Where a run's weights begin: drawn from its seed, or those that another, finished run ended with.

Drawn weights are a pure function of the seed and each variable's name, equal on all backends. BERT's:
kernels and embeddings from a normal distribution of standard deviation 0.02 cut at two standard
deviations (google-research/bert, modeling.py), biases 0, normalisation 1.

Those of another run are how sequence lengths come in phases (Devlin et al. 2018, appendix A.2: most
steps with 128 tokens, the last with 512): a run for each phase, each with its own data, steps, batch
size and learning rate. As in the authors' code the optimizer begins anew, with a warm-up of its own.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.errors import UserError
from pipelines.keyed_random import fold, purpose_key, uniform
from pipelines.records.manifest import Manifest, read_manifest
from pipelines.text.vocabulary import Vocabulary
from trainer.run_folder import WEIGHTS

_DEVIATION = 0.02
# Of the waves. Loud enough that attention finds neighbours by them before it settles for which words
# occur at all: with 0.05 it still settles, with 0.2 that takes longer, with 0.4 words go unheard.
_AMPLITUDE = 0.1
_POSITIONS = "position_embedding/embeddings"
# What must be the same in both runs; dropout may change.
_SHAPES = (
    "num_layers",
    "num_heads",
    "hidden_dim",
    "intermediate_dim",
    "max_sequence_length",
)


def initialize_weights(model: Any, seed: int, *, sinusoidal_positions: bool = False) -> None:
    """Assigns all kernels and embedding tables of a model; biases and the like stay as built.

    ``sinusoidal_positions``: the positions begin as waves (Vaswani et al. 2017, section 3.5) and are
    trained like all else.
    """
    # Here, because whoever only asks what a run is needs no Keras.
    from trainer.pretraining.optimizer import is_decayed

    for variable in model.trainable_variables:
        if sinusoidal_positions and variable.path.endswith(_POSITIONS):
            variable.assign(_AMPLITUDE * make_sinusoids(*variable.shape))
        elif is_decayed(variable):
            key = purpose_key(seed, f"initial {variable.path}")
            values = draw_truncated_normal(key, math.prod(variable.shape))
            variable.assign((_DEVIATION * values).astype(np.float32).reshape(variable.shape))


def make_sinusoids(positions: int, width: int) -> NDArray[np.float32]:
    """float32[positions, width]: sines, then cosines, of wavelengths from 2 pi to 20,000 pi."""
    sines = (width + 1) // 2
    angles = np.arange(positions)[:, None] / 10000.0 ** (np.arange(sines) / sines)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[:, :width].astype(np.float32)


def draw_truncated_normal(key: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """float64[count]: standard normal numbers, those beyond two drawn again."""
    result = np.empty(count)
    missing = np.arange(count)
    attempt = 0
    while len(missing):
        bits = fold(key, attempt, missing)
        # Box and Muller 1958; 1 - u is never 0.
        radius = np.sqrt(-2 * np.log(1 - uniform(fold(bits, 0))))
        result[missing] = radius * np.cos(2 * np.pi * uniform(fold(bits, 1)))
        missing = missing[np.abs(result[missing]) > 2]
        attempt += 1
    return result


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
    trained = {variable.path: variable for variable in other.trainable_variables}
    for variable in model.trainable_variables:
        if variable.path in trained:
            variable.assign(trained[variable.path])
