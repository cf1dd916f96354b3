"""``python -m trainer.export``: a finished run as a KerasHub preset and a Hugging Face directory.

Each is written beside its final place, loaded again from there, compared with the run's own model on
rows of its data, and only then appears, by one rename. ``card.md`` in each says what was trained.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.command import RunOptions, run_command
from pipelines.errors import UserError
from pipelines.keyed_random import below, fold, purpose_key
from pipelines.records.manifest import (
    MANIFEST,
    RUN,
    Manifest,
    finish_output,
    read_manifest,
    read_run,
)
from pipelines.text.vocabulary_source import VOCABULARY_FILE
from trainer.finetuning.task import PRESET_FOLDER, TASK_FILE
from trainer.presets.card import write_card
from trainer.pretraining.plan import PORTABLE_HEAD
from trainer.pretraining.startup import with_lean_keras
from trainer.run_folder import SAMPLE, WEIGHTS

CARD = "card.md"
_TOLERANCE = 1e-5
# At Hugging Face, whose configuration cannot name the masked-LM head's own activation and epsilon:
# a portable head is the same function there, one of KerasNLP's kind is not (presets/huggingface.py).
_PORTABLE_HEAD_TOLERANCE = 1e-4
_PLAIN_HEAD_TOLERANCE = 1e-2
_RANDOM_ROWS, _RANDOM_LENGTH = 4, 48

_PRESET_USAGE = """import keras_hub  # or: import trainer as keras_hub

backbone = keras_hub.models.BertBackbone.from_preset("{output}")
classifier = keras_hub.models.BertTextClassifier.from_preset("{output}", num_classes=2)"""
_HUGGINGFACE_USAGE = """import transformers

model = transformers.AutoModel.from_pretrained("{output}")
tokenizer = transformers.AutoTokenizer.from_pretrained("{output}")"""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Publish a finished run as a KerasHub preset and, if asked, a Hugging Face directory."""

    run: str
    """The output folder of trainer.pretrain (also at gs://) or trainer.finetune."""

    output: str
    """The preset to write: a folder that keras_hub's from_preset reads."""

    hf_output: str | None = None
    """Also write a folder that transformers' from_pretrained reads."""


@dataclass(frozen=True)
class TrainedModel:
    """A run's model as a task (encoder and head), its tokenizer, and rows to try it on; also the
    ``next_sentence_head`` (a Dense layer over the pooled output) where it was trained."""

    task: Any
    tokenizer: Any
    rows: dict[str, NDArray[Any]]
    next_sentence_head: Any = None

    def outputs(self, task: Any) -> dict[str, NDArray[np.float32]]:
        """What another copy of the task gives for the rows: encoder outputs and head."""
        import keras

        encoder_inputs = {
            name: self.rows[name] for name in ("token_ids", "segment_ids", "padding_mask")
        }
        encoded = task.backbone(encoder_inputs, training=False)
        inputs = {name: self.rows[name] for name in task.input}
        return {
            "sequence_output": keras.ops.convert_to_numpy(encoded["sequence_output"]),
            "pooled_output": keras.ops.convert_to_numpy(encoded["pooled_output"]),
            "head": keras.ops.convert_to_numpy(task(inputs, training=False)),
        }


def export(config: ExportConfig, options: RunOptions) -> None:
    """Runs the stage. Raises UserError for what the user can put right."""
    manifest = read_manifest(config.run, ("pretrain", "finetune"), flag="run")
    if manifest.stage == "finetune" and files.is_remote(config.run):
        raise UserError(
            f"--run {config.run}: a fine-tuned run is read from a local folder; copy it"
        )
    identity = {"run": manifest.fingerprint}
    wanted = [("output", config.output)]
    if config.hf_output:
        wanted.append(("hf_output", config.hf_output))
        if os.path.abspath(config.hf_output) == os.path.abspath(config.output):
            raise UserError(f"--hf_output {config.hf_output}: must be another folder than --output")
    missing = [
        (flag, folder)
        for flag, folder in wanted
        if not _is_there(flag, folder, identity, overwrite=options.overwrite)
    ]
    if options.dry_run:
        for _, folder in missing:
            _say(f"would write {folder}")
        return
    for flag, folder in wanted:
        if (flag, folder) not in missing:
            _say(f"{folder} is finished already")
    if not missing:
        return

    os.environ.setdefault("KERAS_BACKEND", "jax")
    trained = (
        load_pretrained(config.run, manifest)
        if manifest.stage == "pretrain"
        else load_finetuned_run(config.run)
    )
    for flag, folder in missing:
        write = _write_preset if flag == "output" else _write_huggingface
        _publish_folder(folder, partial(write, trained=trained, config=config, manifest=manifest))
        _say(f"wrote {folder}")


# ------------------------------------------------------------------------------ Reading runs


def load_pretrained(run: str, manifest: Manifest) -> TrainedModel:
    """The model of a pretraining run as a ``BertMaskedLM`` in float32, with its sample rows."""
    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.bert_masked_lm_preprocessor import BertMaskedLMPreprocessor
    from trainer.models.pretraining_model import PretrainingModel
    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    facts = manifest.facts
    backbone = BertBackbone(**facts["model"], dtype="float32")
    model = PretrainingModel(
        backbone,
        portable_head=facts.get("head") == PORTABLE_HEAD,
        next_sentence=facts.get("next_sentence", False),
    )
    try:
        with files.local_file(files.join(run, WEIGHTS)) as local:
            model.load_weights(local)
        with (
            files.local_file(files.join(run, SAMPLE)) as local,
            np.load(local, allow_pickle=False) as stored,
        ):
            rows = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--run: {run} is damaged ({reason}); delete its {MANIFEST} and run trainer.pretrain "
            "again: it goes on from its last checkpoint"
        ) from None
    with files.local_file(files.join(run, VOCABULARY_FILE)) as local:
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
    backbone = task.backbone
    length = min(_RANDOM_LENGTH, backbone.max_sequence_length)
    key = fold(purpose_key(0, "rows to compare"), np.arange(_RANDOM_ROWS)[:, None])
    ids = below(fold(key, np.arange(length)), backbone.vocabulary_size).astype(np.int32)
    padding_mask = np.arange(length) < length - 8 * np.arange(_RANDOM_ROWS)[:, None]
    rows = {
        "token_ids": np.where(padding_mask, ids, task.preprocessor.tokenizer.pad_token_id),
        "segment_ids": np.zeros_like(ids),
        "padding_mask": padding_mask,
    }
    return TrainedModel(task, task.preprocessor.tokenizer, rows)


# ------------------------------------------------------------------------------ Writing


def _write_preset(
    path: str, trained: TrainedModel, config: ExportConfig, manifest: Manifest
) -> None:
    task_class = type(trained.task)
    trained.task.save_to_preset(path)
    description = Path(config.run) / PRESET_FOLDER / TASK_FILE
    if manifest.stage == "finetune" and description.exists():
        shutil.copyfile(description, Path(path) / TASK_FILE)
    differences = _compare(trained, task_class.from_preset(path), _TOLERANCE, config.output)
    _finish(
        path, trained, config, manifest, differences, _PRESET_USAGE.format(output=config.output)
    )


def _write_huggingface(
    path: str, trained: TrainedModel, config: ExportConfig, manifest: Manifest
) -> None:
    from trainer.presets.huggingface import load_huggingface, save_huggingface

    output = str(config.hf_output)
    save_huggingface(trained.task, trained.tokenizer, path, trained.next_sentence_head)
    head = _TOLERANCE
    if manifest.stage == "pretrain":
        portable = manifest.facts.get("head") == PORTABLE_HEAD
        head = _PORTABLE_HEAD_TOLERANCE if portable else _PLAIN_HEAD_TOLERANCE
    differences = _compare(trained, load_huggingface(path), head, output)
    _finish(path, trained, config, manifest, differences, _HUGGINGFACE_USAGE.format(output=output))


def _compare(
    trained: TrainedModel, loaded: Any, head_tolerance: float, output: str
) -> dict[str, float]:
    """The greatest difference of each output; RuntimeError if one is too great."""
    expected, found = trained.outputs(trained.task), trained.outputs(loaded)
    differences = {
        name: float(np.abs(values - found[name]).max()) for name, values in expected.items()
    }
    for name, difference in differences.items():
        tolerance = head_tolerance if name == "head" else _TOLERANCE
        scale = max(1.0, float(np.abs(expected[name]).max()))
        if not difference <= tolerance * scale:
            raise RuntimeError(
                f"{output}: {name} of the reloaded model differs by {difference:.2g} from the "
                "trained one; nothing was published, please report this"
            )
    return differences


def _finish(
    path: str,
    trained: TrainedModel,
    config: ExportConfig,
    manifest: Manifest,
    differences: dict[str, float],
    usage: str,
) -> None:
    card = write_card(
        manifest,
        read_run(config.run),
        parameters=trained.task.count_params(),
        differences=differences,
        usage=usage,
    )
    (Path(path) / CARD).write_text(card, "utf-8")
    exported = Manifest(
        stage="export",
        config={},
        counts={"parameters": trained.task.count_params()},
        facts={"stage": manifest.stage, **manifest.facts},
    )
    command = shlex.join(["python", "-m", "trainer.export", *sys.argv[1:]])
    run = {"command": command, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    finish_output(path, exported, {"run": manifest.fingerprint}, run)


def _is_there(flag: str, folder: str, identity: dict[str, str], *, overwrite: bool) -> bool:
    """True if the folder is the export of this very run; UserError if it holds anything else."""
    if files.is_remote(folder):
        raise UserError(f"--{flag} {folder}: write to a local folder and copy it from there")
    if not os.path.isdir(folder):
        if os.path.exists(folder):
            raise UserError(f"--{flag} {folder}: a file of this name is in the way")
        return False
    if not os.listdir(folder):
        return False
    if not os.path.exists(os.path.join(folder, MANIFEST)):
        raise UserError(f"--{flag} {folder}: holds files that are no export; choose another folder")
    read_manifest(folder, ("export",), flag=flag)
    if overwrite:
        return False
    if _read_inputs(folder) == identity:
        return True
    raise UserError(
        f"--{flag} {folder}: holds the export of another run; choose another folder or add "
        "--overwrite"
    )


def _publish_folder(folder: str, write: Callable[[str], None]) -> None:
    """Calls ``write`` with a new folder beside ``folder`` and puts it in its place."""
    parent, name = os.path.split(os.path.abspath(folder))
    files.make_folder(parent)
    temporary = os.path.join(parent, f".incomplete-{uuid.uuid4().hex}-{name}")
    old = f"{temporary}-old"
    try:
        os.mkdir(temporary)
        write(temporary)
        if os.path.isdir(folder):
            os.rename(folder, old)
        os.rename(temporary, folder)
    except OSError as error:
        raise UserError(f"{folder} could not be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _read_inputs(folder: str) -> Any:
    """What an output was made from, as its run.json says; None if it does not say."""
    try:
        return json.loads(files.read_bytes(files.join(folder, RUN)))["inputs"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _say(text: str) -> None:
    print(f"export: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(ExportConfig, with_lean_keras(export), stage="export", module="trainer.export")
