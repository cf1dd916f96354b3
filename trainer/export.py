"""``python -m trainer.export``: a run as a KerasHub preset and a Hugging Face directory.

Each is written beside its final place, loaded again from there, compared with the run's own model on
rows of its data, and only then appears, by one rename. ``README.md`` in each says what was trained.
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
from typing import Any

from pipelines.command.options import CHOOSE, option
from pipelines.command.run import RunOptions, say
from pipelines.errors import UserError
from pipelines.records.checksums import CHECKSUMS, names_below
from pipelines.records.manifest import MANIFEST, RUN, Manifest, read_manifest
from pipelines.records.output_folder import finish_output, read_run
from pipelines.records.preset_folder import PRESET_FOLDER
from pipelines.storage import files
from pipelines.storage.json_file import read_json
from pipelines.storage.real_paths import is_inside, real_path
from pipelines.storage.replace_folder import publish_folder, recover_folder
from trainer.finetuning.task import TASK_FILE
from trainer.presets.card import CARD, Library, write_card
from trainer.presets.kept_step import KeptStep
from trainer.presets.trained_model import (
    TOLERANCE,
    TrainedModel,
    load_finetuned_run,
    load_pretrained,
)
from trainer.presets.upload import Destination
from trainer.pretraining.head import PORTABLE_HEAD
from trainer.pretraining.startup import run_trainer_command

# At Hugging Face, whose configuration cannot name the masked-LM head's own activation and epsilon:
# a portable head is the same function there, one of KerasNLP's kind is not (presets/huggingface.py).
_PORTABLE_HEAD_TOLERANCE = 1e-4
_PLAIN_HEAD_TOLERANCE = 1e-2

# All that an export may hold: what is none of these was put there by somebody.
_FILES = {
    "card.md",  # what the card was once called
    *(CARD, CHECKSUMS, MANIFEST, RUN, TASK_FILE, "config.json", "metadata.json"),
    *("model.weights.h5", "task.json", "task.weights.h5", "preprocessor.json", "tokenizer.json"),
    *("assets/tokenizer/vocabulary.txt", "vocab.txt", "tokenizer_config.json"),
    *("special_tokens_map.json", "model.safetensors"),
}

_CARD = "what the model's card says, where you say it"

_say = partial(say, "export")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Publish a run as a KerasHub preset and, if asked, a Hugging Face directory.

    Example: --run runs/bert --output runs/preset
    """

    run: str = option(group=CHOOSE, metavar="DIR")
    """The output folder of trainer.pretrain (also at gs://) or trainer.finetune."""

    output: str = option(group=CHOOSE, metavar="DIR")
    """The preset to write: a folder that keras_hub's from_preset reads."""

    hf_output: str | None = option(None, group=CHOOSE, metavar="DIR")
    """Also write a folder that transformers' from_pretrained reads."""

    step: int | None = None
    """Of a pretraining run, finished or not, the model after this step, whose checkpoint it must still
    keep; default: the model that a finished run ended with."""

    upload: str | None = option(None, metavar="ADDRESS")
    """Also upload it, as a private model where it is new there: to hf://owner/name the folder of
    --hf_output (without one: of --output), to kaggle://owner/model/FRAMEWORK/variation that of --output
    for the framework keras, that of --hf_output for transformers. The token is in the environment:
    HF_TOKEN, KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY."""

    license: str | None = option(None, group=_CARD, metavar="ID")
    """Its identifier, such as apache-2.0."""

    language: tuple[str, ...] = option((), group=_CARD, metavar="CODE")
    """Of the texts, by codes such as en."""

    datasets: tuple[str, ...] = option((), group=_CARD, metavar="NAME")
    """By their names at Hugging Face, such as stanfordnlp/imdb."""


def export(config: ExportConfig, options: RunOptions = RunOptions()) -> None:
    """Runs the stage. Raises UserError for what the user can fix."""
    kept = None if config.step is None else KeptStep.find(config.run, config.step)
    stages = ("pretrain", "finetune")
    manifest = kept.manifest if kept else read_manifest(config.run, stages, flag="run")
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
    destination = Destination.parse(config.upload, folders) if config.upload else None
    fields = {name: getattr(config, name) for name in ("license", "language", "datasets")}
    given = {n: v if isinstance(v, str) else list(v) for n, v in fields.items() if v}
    # What each is made from: an older one without anything given remains the same.
    inputs = {"run": manifest.fingerprint, **given}
    missing = {}
    for flag, folder in folders.items():
        if not options.dry_run and not files.is_remote(folder):
            recover_folder(folder)
        if _is_finished(flag, folder, inputs, overwrite=options.overwrite):
            _say(f"{folder} is finished already")
        else:
            missing[flag] = folder
    if options.dry_run:
        for folder in missing.values():
            _say(f"would write {folder}")
        if destination:
            _say(f"would upload {folders[destination.flag]} to {destination.address}")
        return
    if missing:
        _write(missing, manifest, kept, config, given, inputs)
    if destination:
        page = destination.upload(folders[destination.flag])
        _say(f"uploaded to {page}; if it is new there, it is private until you make it public")


def _write(
    missing: dict[str, str],
    manifest: Manifest,
    kept: KeptStep | None,
    config: ExportConfig,
    given: dict[str, Any],
    inputs: dict[str, Any],
) -> None:
    """Writes the folders that are missing, by their flags."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    if kept:
        trained = kept.load()
    elif manifest.stage == "pretrain":
        trained = load_pretrained(config.run, manifest)
    else:
        trained = load_finetuned_run(config.run)
    # What a run says of itself besides its manifest, once it is finished.
    run = {} if kept and kept.plan else read_run(config.run)
    for flag, folder in missing.items():
        write = _write_preset if flag == "output" else _write_huggingface
        library: Library = "keras-hub" if flag == "output" else "transformers"
        with publish_folder(folder) as temporary:
            tolerance = write(temporary, trained, config.run, manifest)
            written = type(trained.task).from_preset(temporary)
            differences = trained.compare(written, tolerance, folder)
            parameters = trained.task.count_params()
            card = write_card(
                manifest,
                run,
                library=library,
                given=given,
                parameters=parameters,
                differences=differences,
            )
            (Path(temporary) / CARD).write_text(card, "utf-8")
            _finish(temporary, manifest, parameters, inputs)
        _say(f"wrote {folder}")


def _is_finished(flag: str, folder: str, inputs: dict[str, Any], *, overwrite: bool) -> bool:
    """True if the folder is an export made from the same; UserError if it holds anything else."""
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
        if others := sorted(_files_below(folder) - _FILES):
            raise UserError(
                f"--{flag} {folder}: holds {others[0]}, which no export has; choose another folder or "
                "move it away"
            )
        return False
    try:
        if read_json(files.join(folder, RUN))["inputs"] == inputs:
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


def _write_preset(path: str, trained: TrainedModel, run: str, manifest: Manifest) -> float:
    """Writes a KerasHub preset; returns how far its head's outputs may be off."""
    description = Path(run) / PRESET_FOLDER / TASK_FILE
    if manifest.stage == "finetune" and description.exists():
        shutil.copyfile(description, Path(path) / TASK_FILE)
    trained.task.save_to_preset(path)
    return TOLERANCE


def _write_huggingface(path: str, trained: TrainedModel, run: str, manifest: Manifest) -> float:
    """Writes a Hugging Face directory; returns as ``_write_preset``."""
    from trainer.presets.huggingface import save_huggingface

    labels = manifest.facts.get("classes", ())
    save_huggingface(trained.task, trained.tokenizer, path, trained.next_sentence_head, labels)
    if manifest.stage == "finetune":
        return TOLERANCE
    portable = manifest.facts.get("head") == PORTABLE_HEAD
    return _PORTABLE_HEAD_TOLERANCE if portable else _PLAIN_HEAD_TOLERANCE


def _finish(path: str, run: Manifest, parameters: int, inputs: dict[str, Any]) -> None:
    """Writes run.json, checksums and the manifest."""
    facts = {"stage": run.stage, **run.facts}
    exported = Manifest("export", config={}, counts={"parameters": parameters}, facts=facts)
    command = shlex.join(["python", "-m", "trainer.export", *sys.argv[1:]])
    this_run = {"command": command, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    finish_output(path, exported, inputs, this_run, listed=names_below(path))


if __name__ == "__main__":
    run_trainer_command(ExportConfig, export, "export")
