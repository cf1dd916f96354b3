"""Beginning with the weights of a model that is there: a finished run's (``initial_run.py``) or a
preset's (``initial_preset.py``).

What of it decides the new run is read before anything is built, the weights only where a run has no
checkpoint yet: later its identity says what it began with, and the model itself may be gone. As in
BERT's own code the optimizer starts afresh, with a warm-up of its own.

The vocabulary of the data is the model's or extends it (``pipelines/text/extended_vocabulary.py``). A
new piece begins with the mean of the old pieces that spelled it, in the token table and in the output
bias.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.text.extended_vocabulary import find_new_pieces, spell_piece
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VocabularySource
from trainer.data.dataset import Dataset

# The arguments of ``BertBackbone`` that its weights were trained with; others a run chooses.
_KEPT = (
    *("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim"),
    *("max_sequence_length", "num_segments", "exact_gelu", "layer_norm_epsilon"),
)
# The parts of a ``PretrainingModel`` that a model may lack, by how the paths of their variables begin.
POOLER, MASKED_LM_HEAD, NEXT_SENTENCE_HEAD = "pooled_dense/", "mlm_head/", "next_sentence/"
_PARTS = {
    POOLER: "pooler",
    MASKED_LM_HEAD: "masked-LM head",
    NEXT_SENTENCE_HEAD: "next-sentence head",
}
# What has a row for every piece.
_PER_PIECE = ("token_embedding/embeddings", "mlm_head/output_bias")


@dataclass(frozen=True)
class InitialModel(ABC):
    """A model whose weights a run begins with.

    ``place``: its folder or name; ``model``: ``BertBackbone``'s arguments; ``head``: as manifests call
    it (``head.py``); ``fingerprint``: of its weights; ``missing``: parts that it does not have;
    ``text``: its vocabulary and how text is normalised for it, None where all this is what a run has
    noted of it, not read from the model itself.
    """

    flag: ClassVar[str]

    place: str
    model: Mapping[str, Any]
    head: Any
    fingerprint: str
    missing: tuple[str, ...] = ()
    text: VocabularySource | None = None

    @classmethod
    @abstractmethod
    def open(cls, place: str) -> Self:
        """Reads all but the weights. Raises UserError where there is no such model."""

    @abstractmethod
    def read(self) -> Any:
        """A ``PretrainingModel`` of the weights. Raises UserError if they are damaged."""

    def arguments(self, dataset: Dataset) -> dict[str, Any]:
        """``BertBackbone``'s arguments for this data, but for what the run chooses itself."""
        kept = {name: self.model[name] for name in _KEPT if name in self.model}
        size = max(self.model["vocabulary_size"], dataset.vocabulary.size)
        return {**kept, "vocabulary_size": size}

    def check(self, given: Mapping[str, int], dataset: Dataset) -> None:
        """Raises UserError where the dimensions that flags give or the data contradict the model."""
        for name, value in given.items():
            if value != self.model[name]:
                raise UserError(
                    f"--{self.flag}: {self.place} has {name} {self.model[name]}, the options of this "
                    f"run say {value}; leave them out, or choose another model"
                )
        positions, segments = self.model["max_sequence_length"], self.model["num_segments"]
        if dataset.seq_length > positions:
            raise UserError(
                f"--data: the rows in {dataset.folder} have {dataset.seq_length} tokens, {self.place} "
                f"has {positions} positions; tokenize with --seq_length {positions}"
            )
        if dataset.has_labels and segments < 2:
            raise UserError(
                f"--data: {dataset.folder} holds pairs, {self.place} knows {segments} segment; "
                "tokenize with another --packing"
            )
        if self.text is not None:
            self._check_text(self.text, dataset)

    def _check_text(self, text: VocabularySource, dataset: Dataset) -> None:
        again = f"tokenize with that of {self.place} (pipelines.vocab --from_preset)"
        if find_new_pieces(dataset.vocabulary, text.vocabulary) is None:
            raise UserError(
                f"--{self.flag}: {self.place} was trained with another vocabulary than that of "
                f"{dataset.folder}, which does not extend it; {again}"
            )
        for name in ("lowercase", "strip_accents"):
            own, theirs = getattr(text, name), dataset.manifest.facts[name]
            if own != theirs:
                raise UserError(
                    f"--{self.flag}: {self.place} was trained with {name} {str(own).lower()}, but "
                    f"{dataset.folder} was made with {str(theirs).lower()}; {again}"
                )

    def load_into(self, model: Any, vocabulary: Vocabulary) -> set[str]:
        """Gives a ``PretrainingModel`` these weights, variable by variable.

        Returns the paths of the variables that it gave; those of missing parts stay as they are.
        """
        import keras

        source = self if self.text is not None else type(self).open(self.place)
        if source.fingerprint != self.fingerprint:
            raise UserError(
                f"--{self.flag}: {self.place} has other weights than the run began with; put those "
                "back, or start over with --overwrite"
            )
        assert source.text is not None
        old = source.text.vocabulary
        added = find_new_pieces(vocabulary, old) or []
        spelled = {i: spell_piece(vocabulary.tokens[i], old) for i in added}
        trained = {variable.path: variable for variable in source.read().trainable_variables}
        given = set()
        for variable in model.trainable_variables:
            path = variable.path
            if path not in trained or path.startswith(source.missing):
                continue
            values = keras.ops.convert_to_numpy(trained[path])
            if path in _PER_PIECE:
                values = add_rows(values, variable.shape[0], spelled)
            variable.assign(values)
            given.add(path)
        return given

    def describe_fresh(self, model: Any) -> str:
        """Which parts of a ``PretrainingModel`` it does not give, for people; "" for none."""
        paths = [variable.path for variable in model.trainable_variables]
        parts = [
            name
            for part, name in _PARTS.items()
            if part in self.missing and any(path.startswith(part) for path in paths)
        ]
        return " and no ".join(parts)


def add_rows(
    table: NDArray[Any], rows: int, spelled: Mapping[int, tuple[int, ...]]
) -> NDArray[Any]:
    """A table of ``rows`` rows that begins with the old one: the new rows are means of old ones.

    table: float[old rows, …]; spelled: the old ids that each new id stands for.
    """
    result = np.zeros((rows, *table.shape[1:]), table.dtype)
    result[: len(table)] = table
    for new, old in spelled.items():
        result[new] = table[list(old)].mean(axis=0)
    return result
