"""The model that a finished run trained, with rows to compare its exports on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.keyed_random import below, fold, purpose_key
from pipelines.records.checksums import checked_file
from pipelines.records.manifest import MANIFEST, Manifest
from pipelines.storage import files
from pipelines.text.vocabulary_source import VOCABULARY_FILE
from trainer.finetuning.task import PRESET_FOLDER
from trainer.pretraining.plan import PORTABLE_HEAD
from trainer.run_folder import SAMPLE, WEIGHTS

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
        import keras

        encoder, head = (
            model({name: self.rows[name] for name in model.input}, training=False)
            for model in (task.backbone, task)
        )
        outputs = {**encoder, "head": head}
        return {name: keras.ops.convert_to_numpy(values) for name, values in outputs.items()}

    def compare(self, loaded: Any, head_tolerance: float, output: str) -> dict[str, float]:
        """The greatest difference of each output of a copy; RuntimeError if one is too great."""
        copies = self.outputs(loaded)
        differences: dict[str, float] = {}
        for name, values in self.outputs(self.task).items():
            difference = differences[name] = float(np.abs(values - copies[name]).max())
            tolerance = head_tolerance if name == "head" else TOLERANCE
            if not difference <= tolerance * max(1.0, float(np.abs(values).max())):
                raise RuntimeError(
                    f"{output}: {name} of the reloaded model differs by {difference:.2g} from the "
                    "trained one; nothing was published, please report this"
                )
        return differences


def load_pretrained(run: str, manifest: Manifest) -> TrainedModel:
    """The model of a pretraining run as a ``BertMaskedLM`` in float32, with its sample rows."""
    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.bert_masked_lm_preprocessor import BertMaskedLMPreprocessor
    from trainer.models.pretraining_model import PretrainingModel
    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    facts = manifest.facts
    model = PretrainingModel(
        BertBackbone(**facts["model"], dtype="float32"),
        portable_head=facts.get("head") == PORTABLE_HEAD,
        next_sentence=facts.get("next_sentence", False),
    )
    try:
        with checked_file(run, WEIGHTS) as local:
            model.load_weights(local)
        with (
            checked_file(run, SAMPLE) as local,
            np.load(local, allow_pickle=False) as stored,
        ):
            rows = dict(stored)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--run: {run} is damaged ({reason}); delete its {MANIFEST} and run trainer.pretrain "
            "again: it resumes at its last checkpoint"
        ) from None
    with checked_file(run, VOCABULARY_FILE) as local:
        tokenizer = BertTokenizer(
            local, lowercase=facts["lowercase"], strip_accents=facts["strip_accents"]
        )
    masking = manifest.config["mask"] or {}
    rates = ("mask_selection_rate", "mask_token_rate", "random_token_rate")
    preprocessor = BertMaskedLMPreprocessor(
        tokenizer,
        sequence_length=facts["seq_length"],
        mask_selection_length=rows["mask_positions"].shape[1],
        **{name: masking[name] for name in rates if name in masking},
    )
    return TrainedModel(model.to_masked_lm(preprocessor), tokenizer, rows, model.next_sentence_head)


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
