"""Presets, Hugging Face directories and fine-tuned outputs, whose files may come from anybody."""

from __future__ import annotations

import dataclasses
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.commands import run_quietly
from tests.fuzz.target import Draw, Target, folder_files, without_checksums

_PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##c", "é", "."]
_DEEP = b'{"config": ' * 100_000


def targets() -> list[Target]:
    """Each directory with the loaders that read it."""
    with tempfile.TemporaryDirectory() as folder:
        preset, hugging_face, finetuned = make_presets(Path(folder))
    weights = tuple(name for name in preset if name.endswith(".h5"))
    described = tuple(name for name in preset if name.endswith((".json", ".txt")))
    seeds = {name: (_hard_links(), _deep_groups()) for name in weights}
    deep = {name: (_DEEP,) for name in described if name.endswith(".json")}
    return [
        Target("preset", preset, _load_preset, described, share=0.5, seeds=deep),
        Target("weights .h5", preset, _load_weights, weights, share=0.2, seeds=seeds),
        Target("Hugging Face", hugging_face, _load_preset, share=0.5),
        Target(
            "fine-tuned",
            finetuned,
            _predict,
            ("preset/bertmill_task.json", "manifest.json"),
            share=0.03,
        ),
    ]


def make_presets(folder: Path) -> tuple[dict[str, bytes], dict[str, bytes], dict[str, bytes]]:
    """The files of a preset, of a Hugging Face directory and of a fine-tuning run."""
    import trainer
    from pipelines.records.manifest import Manifest
    from pipelines.records.output_folder import finish_output
    from trainer.finetuning.output import publish_preset
    from trainer.finetuning.task import FinetunedTask
    from trainer.presets.huggingface import save_huggingface

    tokenizer = trainer.models.BertTokenizer(_PIECES, lowercase=True)
    preprocessor = trainer.models.BertPreprocessor(tokenizer, sequence_length=8)
    backbone = trainer.models.BertBackbone(len(_PIECES), 1, 2, 8, 16, max_sequence_length=8)
    classifier = trainer.models.BertClassifier(backbone, 2, preprocessor=preprocessor)
    classifier.save_to_preset(str(folder / "preset"))
    save_huggingface(classifier, tokenizer, str(folder / "hugging_face"))
    task = FinetunedTask("classification", ("neg", "pos"), "text", "", "label", 8)
    output = folder / "finetuned"
    output.mkdir()
    publish_preset(output, classifier, preprocessor, task)
    finish_output(str(output), Manifest("finetune", dataclasses.asdict(task), {}), {}, {})
    preset, hugging_face, finetuned = (
        folder_files(folder / name) for name in ("preset", "hugging_face", "finetuned")
    )
    for files in (preset, hugging_face, finetuned):
        without_checksums(files)
    return preset, hugging_face, finetuned


def _hard_links() -> bytes:
    """A group that holds itself."""

    def make(file: Any) -> None:
        group = file.create_group("layers")
        group["again"] = group
        group["up"] = file["/"]

    return _hdf5(make)


def _deep_groups() -> bytes:
    return _hdf5(lambda file: file.create_group("/".join(["layers"] * 3000)))


def _hdf5(make: Callable[[Any], object]) -> bytes:
    import h5py

    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        make(file)
    return held.getvalue()


def _load_preset(folder: Path, draw: Draw) -> None:
    import trainer

    models = trainer.models
    loader = draw.choice(
        (
            *(models.TextClassifier, models.BertMaskedLM, models.BertBackbone),
            *(models.BertTokenizer, models.BertTokenizer, models.BertTextClassifierPreprocessor),
        )
    )
    loaded = loader.from_preset(str(folder))
    if isinstance(loaded, models.BertTokenizer):
        loaded("a b abc é")


def _load_weights(folder: Path, draw: Draw) -> None:
    import trainer

    classifier = trainer.models.TextClassifier.from_preset(str(folder))
    assert np.isfinite(classifier.count_params())


def _predict(folder: Path, draw: Draw) -> None:
    from trainer.predict import PredictConfig, predict

    run_quietly(predict, PredictConfig(preset=str(folder), texts=("a b", "\x1b[2J c")))
