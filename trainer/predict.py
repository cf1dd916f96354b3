"""``python -m trainer.predict``: the class, or the number, that a fine-tuned preset gives to texts.

Texts come from files or from the command line. Each prediction is a line, in the order of the
texts: a table or JSON lines in ``--output``, else plain columns for people on standard output.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.command.options import CHOOSE, option
from pipelines.command.run import RunOptions, say, show
from pipelines.documents.labelled import Fields, LabelledText, describe_empty, read_labelled
from pipelines.errors import UserError
from pipelines.storage import files
from pipelines.storage.real_paths import refuse_overlap
from trainer.finetuning.encoded import describe_truncation, encode_texts, run_model
from trainer.finetuning.predictions import check_format, encode_predictions, pad_label
from trainer.finetuning.scores import probabilities
from trainer.finetuning.task import FinetunedTask, load_finetuned
from trainer.pretraining.startup import run_trainer_command

_say = partial(say, "predict")
_FIELDS = "where the data has its fields"


@dataclass(frozen=True)
class PredictConfig:
    """Classify texts (or give them numbers) with a fine-tuned preset.

    Example: --preset runs/sentiment --texts "What a film!" "Two hours I want back."
    """

    preset: str = option(group=CHOOSE, metavar="DIR")
    """An output of trainer.finetune, or the preset folder in it."""
    data: tuple[str, ...] = option((), group=CHOOSE, metavar="PATH")
    """Texts: files, folders or patterns (.jsonl, .csv, .tsv, .parquet, also .gz, .bz2 or .zst)."""
    texts: tuple[str, ...] = option((), group=CHOOSE, metavar="TEXT")
    """Texts themselves, instead of --data."""
    output: str = option("", group=CHOOSE, metavar="FILE")
    """File to write: .jsonl, .csv, .tsv or .parquet, with text, label and every class's probability (or
    value); in .tsv tabs and ends of lines within a text become spaces. Empty: standard output."""

    text_field: str = option("", group=_FIELDS, metavar="NAME")
    """Field of the text; empty: as in fine-tuning."""
    text_pair_field: str = option("", group=_FIELDS, metavar="NAME")
    """Field of the second text; empty: as in fine-tuning."""

    batch_size: int = option(64, group="speed")
    """Texts in a batch; lower it if memory runs out."""


def predict(config: PredictConfig, options: RunOptions = RunOptions()) -> list[dict[str, Any]]:
    """Runs the stage. Returns one prediction for each text, in their order."""
    if bool(config.data) == bool(config.texts):
        raise UserError("give either --data or --texts")
    if config.batch_size < 1:
        raise UserError(f"--batch_size {config.batch_size}: must be at least 1")
    if config.output:
        check_format(config.output)
    if options.dry_run:
        count = len(files.match(config.data, "data") if config.data else config.texts)
        _say(f"would read {count} files or texts, write {config.output or 'standard output'}")
        return []
    if config.output and config.data:
        found = [info.path for info in files.match(config.data, "data")]
        refuse_overlap(config.output, {"data": [*config.data, *found]})
    model, preprocessor, task = load_finetuned(config.preset)
    data = _read(config, task)
    encoded = encode_texts(preprocessor, data, in_windows=task.in_windows)
    _say(f"{len(data):,} texts{describe_truncation(encoded)}{describe_empty(data)}")
    outputs = run_model(model, encoded, config.batch_size)
    predictions = list(_describe(task, data, outputs))
    if config.output:
        _publish(config.output, encode_predictions(predictions, config.output), options)
    else:
        for prediction in predictions:
            shown = " ".join(prediction["text"].split())
            more = "…" if len(shown) > 100 else ""
            show(f"{_columns(task, prediction)} {shown[:100]}{more}")
    return predictions


def _read(config: PredictConfig, task: FinetunedTask) -> list[LabelledText]:
    pair_field = config.text_pair_field or task.text_pair_field
    if config.data:
        text_field = config.text_field or task.text_field
        return read_labelled(config.data, Fields(text_field, pair_field), "data")
    if not pair_field:
        return [LabelledText(text, None, None, "--texts") for text in config.texts]
    if len(config.texts) % 2:
        raise UserError(
            f"--texts: the preset compares pairs of texts, got {len(config.texts)}; give first "
            "second first second …"
        )
    pairs = zip(config.texts[::2], config.texts[1::2], strict=True)
    return [LabelledText(first, second, None, "--texts") for first, second in pairs]


def _describe(
    task: FinetunedTask, data: Sequence[LabelledText], outputs: NDArray[np.float32]
) -> Iterator[dict[str, Any]]:
    shares = probabilities(outputs).round(6).tolist()
    for i, example in enumerate(data):
        texts = {"text": example.text}
        if example.pair is not None:
            texts["text_pair"] = example.pair
        if not task.classes:
            yield {**texts, "value": round(float(outputs[i, 0]), 6)}
        else:
            label = task.classes[int(outputs[i].argmax())]
            by_class = dict(zip(task.classes, shares[i], strict=True))
            yield {**texts, "label": label, "probabilities": by_class}


def _columns(task: FinetunedTask, prediction: dict[str, Any]) -> str:
    if not task.classes:
        return f"{prediction['value']:10.4f} "
    label = prediction["label"]
    return f"{pad_label(label, task.classes)}  {prediction['probabilities'][label]:.3f} "


def _publish(path: str, content: bytes, options: RunOptions) -> None:
    """Writes the file whole; leaves an equal one alone and refuses to replace another."""
    if os.path.exists(path):
        if files.read_bytes(path) == content:
            _say(f"{path} holds these predictions already")
            return
        if not options.overwrite:
            raise UserError(f"--output: {path} exists and differs; name another or add --overwrite")
    files.make_folder(os.path.dirname(path) or ".")
    files.publish_bytes(path, content)
    _say(f"wrote {path}")


if __name__ == "__main__":
    run_trainer_command(PredictConfig, predict, "predict")
