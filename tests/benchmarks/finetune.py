"""Fine-tuning steps a second, from raw texts and from a cached dataset, beside KerasHub's ``fit``.

``python -m tests.benchmarks.finetune --preset PRESET --data FILES [--limit 2000] [--json FILE]`` from
the repository's root. PRESET is a KerasHub preset, FILES are jsonl with text and label. Each way trains
the same model on the same examples for two epochs with JAX, in a process of its own, all in turn.
"ready" is the time from the data on disk to the first step; compiling falls into the first epoch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from pipelines.command.run import RunOptions
from pipelines.documents.labelled import Fields, read_labelled
from pipelines.storage import files
from pipelines.tokenize.config import TokenizeConfig

WAYS = {
    "keras_hub": "keras_hub's BertTextClassifier.fit on strings",
    "fit": "trainer's BertTextClassifier.fit on strings",
    "raw": "trainer.finetune, raw texts",
    "cached": "trainer.finetune, cached dataset",
}
EPOCHS = 2


def fit_on_strings(library: Any, options: argparse.Namespace) -> dict[str, float]:
    """As the KerasNLP guide does: raw strings into ``fit``, which preprocesses them every epoch."""
    import keras

    began = time.perf_counter()
    data = read_labelled([options.data], Fields("text", label_field="label"), "data")
    labels = [int(example.label) for example in data]
    models = library.models
    model = models.BertTextClassifier.from_preset(
        options.preset,
        num_classes=2,
        preprocessor=models.BertTextClassifierPreprocessor.from_preset(
            options.preset, sequence_length=options.seq_length
        ),
    )
    starts, ends = [], []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            starts.append(time.perf_counter())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            ends.append(time.perf_counter())

    model.fit(
        [example.text for example in data], labels, batch_size=options.batch_size, epochs=EPOCHS,
        verbose=0, callbacks=[Clock()],
    )  # fmt: skip
    return result(
        len(labels), options, starts[0] - began, [b - a for a, b in zip(starts, ends, strict=True)]
    )


def finetune(options: argparse.Namespace) -> dict[str, float]:
    """As ``trainer.finetune`` does; ``options.data`` is a file or a dataset."""
    from trainer.finetuning.config import FinetuneConfig
    from trainer.finetuning.examples import read_examples
    from trainer.finetuning.run import Finetuning
    from trainer.finetuning.source import check_dataset, find_source
    from trainer.models.bert_text_classifier import BertTextClassifier

    began = time.perf_counter()
    model = BertTextClassifier.from_preset(options.preset, num_classes=2)
    model.preprocessor.sequence_length = options.seq_length
    source = find_source([options.data], "data")
    check_dataset(source, model.preprocessor, None)
    fields = Fields("text", label_field="label")
    examples = read_examples(source, fields, model.preprocessor, ("0", "1"))
    few = examples.select(np.arange(min(64, len(examples))))
    config = FinetuneConfig(
        preset=options.preset,
        train=(options.data,),
        output="",
        epochs=EPOCHS,
        batch_size=options.batch_size,
    )
    ready = time.perf_counter() - began
    rates: list[float] = []
    finetuning = Finetuning(model, model, examples, few, config)
    finetuning.run(0, lambda epoch, rate: rates.append(rate))
    return result(len(examples), options, ready, [len(examples) / rate for rate in rates])


def result(
    examples: int, options: argparse.Namespace, ready: float, seconds: list[float]
) -> dict[str, float]:
    steps = math.ceil(examples / options.batch_size)
    rates = {f"epoch {i + 1}": steps / taken for i, taken in enumerate(seconds)}
    return {"ready": ready, **rates, "all": ready + sum(seconds)}


def run_way(way: str, options: argparse.Namespace) -> None:
    """Runs one way and prints its figures as the last line."""
    if way in ("raw", "cached"):
        from trainer.pretraining.startup import without_tensorflow

        found = without_tensorflow(finetune)(options)
    elif way == "keras_hub":
        import keras_hub

        found = fit_on_strings(keras_hub, options)
    else:
        import trainer

        found = fit_on_strings(trainer, options)
    print(json.dumps(found))


def prepare(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """A file of the first examples, and the dataset made of it."""
    data = read_labelled([options.data], Fields("text", label_field="label"), "data")
    few = data[: options.limit or None]
    raw, cached = folder / "examples.jsonl", folder / "dataset"
    rows = ({"text": example.text, "label": str(example.label)} for example in few)
    raw.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    from pipelines.tokenize.pipeline import tokenize
    from trainer.models.bert_text_classifier_preprocessor import BertTextClassifierPreprocessor

    tokenizer = BertTextClassifierPreprocessor.from_preset(options.preset).tokenizer
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("".join(f"{piece}\n" for piece in tokenizer.vocabulary), "utf-8")
    config = TokenizeConfig(
        input=(str(raw),),
        vocab=str(vocabulary),
        output=str(cached),
        lowercase=tokenizer.lowercase,
        strip_accents=tokenizer.strip_accents,
        packing="examples",
        label_field="label",
        seq_length=options.seq_length,
    )
    tokenize(config, RunOptions())
    return {way: str(cached if way == "cached" else raw) for way in WAYS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int, default=0, help="so many examples; 0: all")
    parser.add_argument("--seq_length", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        run_way(options.way, options)
        return
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(options, Path(folder))
        for way in options.ways:
            settings = [f"--{n}={getattr(options, n)}" for n in ("seq_length", "batch_size")]
            done = subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.finetune", f"--way={way}",
                 f"--preset={options.preset}", f"--data={data[way]}", *settings],
                check=True, stdout=subprocess.PIPE, text=True,
                env={**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"},
            )  # fmt: skip
            found[way] = json.loads(done.stdout.strip().split("\n")[-1])
    base = next(iter(found.values()))
    rows = [
        [WAYS[way], f["ready"], f["epoch 1"], f["epoch 2"], f["epoch 2"] / base["epoch 2"],
         base["all"] / f["all"]]
        for way, f in found.items()
    ]  # fmt: skip
    heads = ["", "ready, s", "steps/s, 1st epoch", "2nd epoch", "× first row", "whole, × first row"]
    print(tabulate(rows, heads, floatfmt=".2f"))
    if options.json:
        files.publish_bytes(options.json, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
