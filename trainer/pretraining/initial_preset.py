"""Beginning with the weights of a preset: KerasHub's or Hugging Face's, a folder or a name.

The encoder comes as it is, with its GELU and epsilon, and so do the pooler and the heads that the preset
has. A head that it lacks begins afresh, as that of a run from scratch.
"""

from __future__ import annotations

import hashlib
from typing import Any, Self

from pipelines.errors import UserError
from pipelines.records.checksums import sha256_of
from pipelines.records.manifest import MANIFEST
from pipelines.storage.json_file import read_json
from pipelines.text.vocabulary_source import VocabularySource
from trainer.presets.builtin import BUILTIN_PRESETS
from trainer.presets.fetch import fetch_file, find_file
from trainer.presets.huggingface_files import as_float32, read_tensors, weights_files
from trainer.pretraining.head import PORTABLE_HEAD, head_arguments
from trainer.pretraining.initial_model import (
    MASKED_LM_HEAD,
    NEXT_SENTENCE_HEAD,
    POOLER,
    InitialModel,
)

# Hugging Face's names of the parts, without "bert.".
_THEIR_PARTS = {
    POOLER: "pooler.",
    MASKED_LM_HEAD: "cls.predictions.",
    NEXT_SENTENCE_HEAD: "cls.seq_relationship.",
}


class InitialPreset(InitialModel):
    """A preset; its fingerprint is the SHA-256 of the files of its weights."""

    flag = "initial_preset"

    @classmethod
    def open(cls, place: str) -> Self:
        from trainer.presets.load import is_huggingface, load_tokenizer
        from trainer.tokenizers.bert_tokenizer import BertTokenizer

        read = _read_theirs if is_huggingface(place) else _read_ours
        model, options, missing, paths = read(place)
        tokenizer = load_tokenizer(BertTokenizer, place)
        vocabulary = tokenizer.loaded_vocabulary()
        if vocabulary.size > model["vocabulary_size"]:
            raise UserError(
                f"--{cls.flag}: {place} has a vocabulary of {vocabulary.size:,} pieces, but rows for "
                f"{model['vocabulary_size']:,} only; the files belong to different presets"
            )
        digest = hashlib.sha256("".join(map(sha256_of, paths)).encode())
        is_portable = MASKED_LM_HEAD in missing or _holds_portable_head(place)
        return cls(
            place,
            {"max_sequence_length": 512, "num_segments": 2, **model},
            PORTABLE_HEAD if is_portable else options,
            digest.hexdigest(),
            missing,
            VocabularySource(vocabulary, tokenizer.lowercase, tokenizer.strip_accents),
        )

    def read(self) -> Any:
        from trainer.layers.gelu import SHARPNESS
        from trainer.models.bert_backbone import BertBackbone
        from trainer.models.bert_masked_lm import BertMaskedLM
        from trainer.models.pretraining_model import PretrainingModel
        from trainer.presets.huggingface_weights import head_tensors

        task = None
        if MASKED_LM_HEAD in self.missing:
            backbone = BertBackbone.from_preset(self.place, dtype="float32")
        else:
            task = BertMaskedLM.from_preset(self.place, preprocessor=None, dtype="float32")
            backbone = task.backbone
        pairs = NEXT_SENTENCE_HEAD not in self.missing
        model = PretrainingModel(backbone, **head_arguments(self.head), next_sentence=pairs)
        if task is not None:
            model.masked_lm_head.set_weights(task.masked_lm_head.get_weights())
            if self.head == PORTABLE_HEAD:
                # As it is trained; ``PretrainingModel.to_masked_lm`` folded the factor in.
                dense = model.masked_lm_head._intermediate_dense
                dense.set_weights([weight / SHARPNESS for weight in dense.get_weights()])
        if pairs:
            tensors = read_tensors(self.place)
            for name, ours in head_tensors(None, model.next_sentence_head).items():
                ours.assign(as_float32(tensors[name], name, self.place))
        return model


_Parts = tuple[dict[str, Any], dict[str, Any], tuple[str, ...], list[str]]


def _read_theirs(place: str) -> _Parts:
    """Of a Hugging Face directory: ``BertBackbone``'s arguments, the head's options, what is missing,
    and the files of the weights."""
    from trainer.models.bert_masked_lm import BertMaskedLM
    from trainer.presets.huggingface_config import backbone_arguments, task_arguments

    paths = weights_files(place)
    names = list(read_tensors(place))
    missing = tuple(
        part
        for part, theirs in _THEIR_PARTS.items()
        if not any(name.startswith(theirs) for name in names)
    )
    options = task_arguments(BertMaskedLM, place)["head_options"]
    return backbone_arguments(place), options, missing, paths


def _read_ours(place: str) -> _Parts:
    """As ``_read_theirs``, of KerasHub's layout."""
    from trainer.models.bert_masked_lm import BertMaskedLM
    from trainer.presets.describe import class_and_arguments

    missing: tuple[str, ...] = (MASKED_LM_HEAD, NEXT_SENTENCE_HEAD)
    if place in BUILTIN_PRESETS:
        weights = fetch_file(place, "model.weights.h5")
        return dict(BUILTIN_PRESETS[place]["config"]), {}, missing, [weights]
    config = fetch_file(place, "config.json")
    paths = [fetch_file(place, "model.weights.h5")]
    _, model = class_and_arguments(read_json(config), config)
    options: dict[str, Any] = {}
    if path := find_file(place, "task.json"):
        saved, arguments = class_and_arguments(read_json(path), path)
        if saved is BertMaskedLM:
            options = arguments.get("head_options") or {}
            missing = (NEXT_SENTENCE_HEAD,)
            paths.append(fetch_file(place, "task.weights.h5"))
    return model, options, missing, paths


def _holds_portable_head(place: str) -> bool:
    """Whether this is an export of a run with that head, which the preset's own files do not say."""
    path = find_file(place, MANIFEST)
    if path is None:
        return False
    try:
        manifest = read_json(path)
        return bool(manifest["stage"] == "export" and manifest["facts"]["head"] == PORTABLE_HEAD)
    except (UserError, KeyError, TypeError):
        return False
