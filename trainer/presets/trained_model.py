"""The model that a finished run trained, with rows to compare its exports on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError, one_line
from pipelines.keyed_random import below, fold, purpose_key
from pipelines.records.checksums import checked_file
from pipelines.records.manifest import MANIFEST, Manifest
from pipelines.records.preset_folder import PRESET_FOLDER
from pipelines.storage import files
from pipelines.storage.array_file import read_arrays
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE
from trainer.presets.pretraining_model import load_pretraining_model
from trainer.run_folder import SAMPLE

TOLERANCE = 1e-5
_RANDOM_ROWS, _RANDOM_LENGTH = 4, 48


@dataclass(frozen=True)
class TrainedModel:
    """A run's model as a task (encoder and head), its tokenizer, and rows to compare copies on.

    ``next_sentence_head`` is a Dense layer over the pooled output, where one was trained.
    """

    task: Any
    tokenizer: Any
    rows: dict[str, NDArray[Any]]
    next_sentence_head: Any = None

    def outputs(self, task: Any) -> dict[str, NDArray[np.float32]]:
        """The outputs of a copy's encoder and head for the rows."""
        from trainer.models.compiled import compiled

        def call(rows: Any) -> Any:
            encoder, head = (
                model({name: rows[name] for name in model.input}, training=False)
                for model in (task.backbone, task)
            )
            return {**encoder, "head": head}

        return compiled(task, call)({name: self.rows[name] for name in task.input})

    @cached_property
    def _expected(self) -> dict[str, NDArray[np.float32]]:
        return self.outputs(self.task)

    def compare(self, loaded: Any, head_tolerance: float, output: str) -> dict[str, float]:
        """The greatest difference of each output of a copy; RuntimeError if one is too great."""
        copies = self.outputs(loaded)
        differences: dict[str, float] = {}
        for name, values in self._expected.items():
            difference = differences[name] = float(np.abs(values - copies[name]).max())
            tolerance = head_tolerance if name == "head" else TOLERANCE
            if not difference <= tolerance * max(1.0, float(np.abs(values).max())):
                raise RuntimeError(
                    f"{output}: {name} of the reloaded model differs by {difference:.2g} from the "
                    "trained one; nothing was published, please report this"
                )
        return differences


def load_pretrained(run: str, manifest: Manifest) -> TrainedModel:
    """The model of a finished pretraining run, with its sample rows."""
    try:
        model = load_pretraining_model(run, manifest.facts)
        return make_trained(model, manifest, *read_sample(run, manifest))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = one_line(error)[:300]
        raise UserError(
            f"--run: {run} is damaged ({reason}); delete its {MANIFEST} and run trainer.pretrain "
            "again: it resumes at its last checkpoint"
        ) from None


def read_sample(run: str, manifest: Manifest) -> tuple[dict[str, NDArray[Any]], Vocabulary]:
    """The sample rows and the vocabulary that a finished run left. Raises ValueError for rows that no
    run leaves."""
    with checked_file(run, SAMPLE) as local:
        rows = read_arrays(local)
    _check_rows(rows, manifest.facts["model"])
    with checked_file(run, VOCABULARY_FILE) as local:
        return rows, Vocabulary.load(local, allow_blanks=True)


def make_trained(
    model: Any, manifest: Manifest, rows: dict[str, NDArray[Any]], vocabulary: Vocabulary
) -> TrainedModel:
    """A ``PretrainingModel`` as a ``BertMaskedLM``, which masks as the run did."""
    from trainer.models.bert_masked_lm_preprocessor import BertMaskedLMPreprocessor
    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    facts, masking = manifest.facts, manifest.config["mask"] or {}
    rates = ("mask_selection_rate", "mask_token_rate", "random_token_rate")
    tokenizer = BertTokenizer(
        list(vocabulary.tokens), lowercase=facts["lowercase"], strip_accents=facts["strip_accents"]
    )
    preprocessor = BertMaskedLMPreprocessor(
        tokenizer,
        sequence_length=facts["seq_length"],
        mask_selection_length=rows["mask_positions"].shape[1],
        **{name: masking[name] for name in rates if name in masking},
    )
    return TrainedModel(model.to_masked_lm(preprocessor), tokenizer, rows, model.next_sentence_head)


def _check_rows(rows: dict[str, NDArray[Any]], model: dict[str, Any]) -> None:
    """Raises ValueError unless they are masked rows that the model can take."""
    tokens, masks = rows["token_ids"], rows["mask_positions"]
    for name, values in rows.items():
        shapes = (tokens.shape, masks.shape, tokens.shape[:1])
        if values.dtype.kind not in "iufb" or values.shape not in shapes:
            raise ValueError(f"{name} in {SAMPLE} does not fit the others")
    for name, values, limit in (
        ("token_ids", tokens, model["vocabulary_size"]),
        ("mask_positions", masks, tokens.shape[-1]),
    ):
        if values.ndim != 2 or values.dtype.kind not in "iu" or not values.size:
            raise ValueError(f"{name} in {SAMPLE} are no rows of numbers")
        if values.min() < 0 or values.max() >= limit:
            raise ValueError(f"{name} in {SAMPLE} are not below {limit:,}")
    if rows["segment_ids"].shape != tokens.shape or rows["padding_mask"].shape != tokens.shape:
        raise ValueError(f"the rows in {SAMPLE} are not of one length")
    if tokens.shape[1] > model["max_sequence_length"] or len(masks) != len(tokens):
        raise ValueError(f"the rows in {SAMPLE} are too long or too few")


def load_finetuned_run(run: str) -> TrainedModel:
    """The classifier of a fine-tuning run, with random rows."""
    from trainer.models.bert_text_classifier import BertTextClassifier

    task = BertTextClassifier.from_preset(files.join(run, PRESET_FOLDER))
    backbone, tokenizer = task.backbone, task.preprocessor.tokenizer
    length = min(_RANDOM_LENGTH, backbone.max_sequence_length)
    key = fold(purpose_key(0, "rows to compare"), np.arange(_RANDOM_ROWS)[:, None])
    ids = below(fold(key, np.arange(length)), backbone.vocabulary_size).astype(np.int32)
    padding_mask = np.arange(length) < length - 8 * np.arange(_RANDOM_ROWS)[:, None]
    rows = {
        "token_ids": np.where(padding_mask, ids, tokenizer.pad_token_id),
        "segment_ids": np.zeros_like(ids),
        "padding_mask": padding_mask,
    }
    return TrainedModel(task, tokenizer, rows)
