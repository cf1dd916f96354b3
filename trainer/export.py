"""``python -m trainer.export``: a finished run as a KerasHub preset and a Hugging Face directory.

Each is written beside its final place, loaded again from there, compared with the run's own model on
rows of its data, and only then appears, by one rename. ``card.md`` in each says what was trained.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipelines.command.options import CHOOSE, option
from pipelines.command.run import RunOptions, say
from pipelines.errors import UserError
from pipelines.records.checksums import CHECKSUMS, names_below
from pipelines.records.manifest import MANIFEST, RUN, Manifest, read_manifest
from pipelines.records.output_folder import finish_output, read_run
from pipelines.storage import files
from pipelines.storage.json_file import read_json
from pipelines.storage.real_paths import is_inside, real_path
from pipelines.storage.replace_folder import publish_folder, recover_folder
from trainer.finetuning.task import PRESET_FOLDER, TASK_FILE
from trainer.presets.card import write_card
from trainer.presets.trained_model import (
    TOLERANCE,
    TrainedModel,
    load_finetuned_run,
    load_pretrained,
)
from trainer.pretraining.head import PORTABLE_HEAD
from trainer.pretraining.startup import run_trainer_command

CARD = "card.md"
# At Hugging Face, whose configuration cannot name the masked-LM head's own activation and epsilon:
# a portable head is the same function there, one of KerasNLP's kind is not (presets/huggingface.py).
_PORTABLE_HEAD_TOLERANCE = 1e-4
_PLAIN_HEAD_TOLERANCE = 1e-2

# All that an export may hold: what is none of these was put there by somebody.
_FILES = (
    *(
        CARD,
        CHECKSUMS,
        MANIFEST,
        RUN,
        TASK_FILE,
        "config.json",
        "metadata.json",
        "model.weights.h5",
    ),
    *("task.json", "task.weights.h5", "preprocessor.json", "tokenizer.json"),
    *("assets/tokenizer/vocabulary.txt", "vocab.txt", "tokenizer_config.json"),
    *("special_tokens_map.json", "model.safetensors"),
)

_PRESET_USAGE = """import keras_hub  # or: import trainer as keras_hub

backbone = keras_hub.models.BertBackbone.from_preset("{output}")
classifier = keras_hub.models.BertTextClassifier.from_preset("{output}", num_classes=2)"""
_HUGGINGFACE_USAGE = """import transformers

model = transformers.AutoModel.from_pretrained("{output}")
tokenizer = transformers.AutoTokenizer.from_pretrained("{output}")"""

_say = partial(say, "export")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Publish a finished run as a KerasHub preset and, if asked, a Hugging Face directory.

    Example: --run runs/bert --output runs/preset
    """

    run: str = option(group=CHOOSE, metavar="DIR")
    """The output folder of trainer.pretrain (also at gs://) or trainer.finetune."""

    output: str = option(group=CHOOSE, metavar="DIR")
    """The preset to write: a folder that keras_hub's from_preset reads."""

    hf_output: str | None = option(None, group=CHOOSE, metavar="DIR")
    """Also write a folder that transformers' from_pretrained reads."""


def export(config: ExportConfig, options: RunOptions = RunOptions()) -> None:
    """Runs the stage. Raises UserError for what the user can fix."""
    manifest = read_manifest(config.run, ("pretrain", "finetune"), flag="run")
    if manifest.stage == "finetune" and files.is_remote(config.run):
        raise UserError(
            f"--run {config.run}: a fine-tuned run is read from a local folder; copy it"
        )
    folders = {"output": config.output}
    if config.hf_output:
        folders["hf_output"] = config.hf_output
        places = [real_path(folder) for folder in folders.values()]
        if is_inside(*places) or is_inside(*places[::-1]):
            raise UserError(
                f"--hf_output {config.hf_output}: must be another folder than --output, and neither "
                "lie in the other"
            )
    missing = {}
    for flag, folder in folders.items():
        if not options.dry_run and not files.is_remote(folder):
            recover_folder(folder)
        if _is_finished(flag, folder, manifest, overwrite=options.overwrite):
            _say(f"{folder} is finished already")
        else:
            missing[flag] = folder
    if options.dry_run:
        for folder in missing.values():
            _say(f"would write {folder}")
        return
    if not missing:
        return

    os.environ.setdefault("KERAS_BACKEND", "jax")
    if manifest.stage == "pretrain":
        trained = load_pretrained(config.run, manifest)
    else:
        trained = load_finetuned_run(config.run)
    for flag, folder in missing.items():
        write = _write_preset if flag == "output" else _write_huggingface
        with publish_folder(folder) as temporary:
            tolerance, usage = write(temporary, trained, config.run, manifest)
            written = type(trained.task).from_preset(temporary)
            differences = trained.compare(written, tolerance, folder)
            usage = usage.format(output=folder)
            _describe(temporary, trained, config.run, manifest, differences, usage)
        _say(f"wrote {folder}")


def _is_finished(flag: str, folder: str, run: Manifest, *, overwrite: bool) -> bool:
    """True if the folder is the export of this very run; UserError if it holds anything else."""
    if files.is_remote(folder):
        raise UserError(f"--{flag} {folder}: write to a local folder and copy it from there")
    if os.path.isfile(folder):
        raise UserError(f"--{flag} {folder}: a file of this name is in the way")
    if not os.path.isdir(folder) or not os.listdir(folder):
        return False
    if not os.path.exists(os.path.join(folder, MANIFEST)):
        raise UserError(f"--{flag} {folder}: holds files that are no export; choose another folder")
    read_manifest(folder, ("export",), flag=flag)
    if overwrite:
        if others := sorted(_files_below(folder) - set(_FILES)):
            raise UserError(
                f"--{flag} {folder}: holds {others[0]}, which no export has; choose another folder or "
                "move it away"
            )
        return False
    try:
        if read_json(files.join(folder, RUN))["inputs"] == _inputs(run):
            return True
    except (UserError, OSError, KeyError):
        pass  # Whatever it was made from, it does not say so.
    raise UserError(
        f"--{flag} {folder}: holds the export of another run; choose another folder or add "
        "--overwrite"
    )


def _files_below(folder: str) -> set[str]:
    """All files, hidden ones too, by their paths in the folder."""
    walked = os.walk(folder)
    return {os.path.relpath(os.path.join(at, n), folder) for at, _, names in walked for n in names}


def _inputs(run: Manifest) -> dict[str, str]:
    """What an export says that it was made from."""
    return {"run": run.fingerprint}


def _write_preset(
    path: str, trained: TrainedModel, run: str, manifest: Manifest
) -> tuple[float, str]:
    """Writes a KerasHub preset; returns how far its outputs may be off, and how it is used."""
    description = Path(run) / PRESET_FOLDER / TASK_FILE
    if manifest.stage == "finetune" and description.exists():
        shutil.copyfile(description, Path(path) / TASK_FILE)
    trained.task.save_to_preset(path)
    return TOLERANCE, _PRESET_USAGE


def _write_huggingface(
    path: str, trained: TrainedModel, run: str, manifest: Manifest
) -> tuple[float, str]:
    """Writes a Hugging Face directory; returns as ``_write_preset``."""
    from trainer.presets.huggingface import save_huggingface

    save_huggingface(trained.task, trained.tokenizer, path, trained.next_sentence_head)
    if manifest.stage == "finetune":
        return TOLERANCE, _HUGGINGFACE_USAGE
    portable = manifest.facts.get("head") == PORTABLE_HEAD
    return _PORTABLE_HEAD_TOLERANCE if portable else _PLAIN_HEAD_TOLERANCE, _HUGGINGFACE_USAGE


def _describe(
    path: str,
    trained: TrainedModel,
    run: str,
    manifest: Manifest,
    differences: dict[str, float],
    usage: str,
) -> None:
    """Writes the card, run.json, checksums and the manifest."""
    parameters = trained.task.count_params()
    card = write_card(
        manifest, read_run(run), parameters=parameters, differences=differences, usage=usage
    )
    (Path(path) / CARD).write_text(card, "utf-8")
    facts = {"stage": manifest.stage, **manifest.facts}
    exported = Manifest("export", config={}, counts={"parameters": parameters}, facts=facts)
    command = shlex.join(["python", "-m", "trainer.export", *sys.argv[1:]])
    this_run = {"command": command, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    finish_output(path, exported, _inputs(manifest), this_run, listed=names_below(path))


if __name__ == "__main__":
    run_trainer_command(ExportConfig, export, "export")
