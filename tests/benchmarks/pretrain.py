"""Times ``trainer.pretrain`` against the KerasNLP guide's way: keras_hub's model, tf.data, fit.

Two questions, answered on IMDB reviews with BERT-tiny (256 tokens, batch 16, 64 masks a row):

- Steps a second of a run, reading and masking included: ours on packed rows masked on the fly;
  theirs one review a row, cut at its end, tokenized before (which the guide does in every epoch),
  ``MaskedLMMaskGenerator`` in tf.data, on each of their backends. Runs take turns.
- ``--to_loss L``: seconds until the loss on the same held-out rows, with the same masks, is at most
  L, from the start of the run, compiling and validating included. Both have AdamW with the same
  learning rate, constant after the same warm-up, and the same number of rows a step. Their model
  sees each held-out document alone in its row, which is what ours sees in its packed rows.

Run it alone on the machine; ROWS is an output of ``pipelines.tokenize`` over the IMDB reviews::

    python -m tests.benchmarks.pretrain --rows ROWS
    python -m tests.benchmarks.pretrain --rows ROWS --to_loss 5.5 --most_steps 12000
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

_LENGTH, _MASKS, _RATE = 256, 64, 0.25
_OURS = "ours, jax"


def main() -> None:
    """Parses the command line, runs everything in processes of its own, prints a table."""
    arguments = parse_arguments()
    if arguments.worker:
        result = _train_theirs(arguments)
        print("RESULT " + json.dumps(result), flush=True)
        return
    contestants = [_OURS, *(f"keras_hub, {name}" for name in arguments.backends.split(","))]
    rounds = 1 if arguments.to_loss else arguments.rounds
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name in contestants:
            run = _run_ours if name == _OURS else _run_theirs
            results[name].append(run(arguments, name.rpartition(" ")[2]))
            print(f"  {name}: {json.dumps(results[name][-1])}", file=sys.stderr, flush=True)
    if arguments.to_loss:
        _print_times(results, arguments.to_loss)
    else:
        _print_rates(results)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", required=True, help="output of pipelines.tokenize, 256 tokens")
    parser.add_argument("--backends", default="jax,tensorflow", help="theirs, with commas")
    parser.add_argument("--steps", type=int, default=60, help="timed steps of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--to_loss", type=float, help="validation loss to reach")
    parser.add_argument("--most_steps", type=int, default=20_000, help="with --to_loss: give up")
    parser.add_argument("--eval_every", type=int, default=500, help="with --to_loss: steps")
    parser.add_argument("--eval_steps", type=int, default=40, help="validation batches")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--warmup_steps", type=int, default=500)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def _print_rates(results: dict[str, list[dict[str, Any]]]) -> None:
    ours = statistics.median(run["steps_per_second"] for run in results[_OURS])
    tokens = statistics.median(run["tokens_per_second"] for run in results[_OURS])
    print(f"{'':24}{'steps/s':>9}{'(runs)':>20}{'real tokens/s':>15}{'ratio':>8}{'by token':>10}")
    for name, runs in results.items():
        rates = [run["steps_per_second"] for run in runs]
        rate = statistics.median(rates)
        real = statistics.median(run["tokens_per_second"] for run in runs)
        spread = f"{min(rates):.2f} to {max(rates):.2f}"
        print(
            f"{name:24}{rate:>9.2f}{spread:>20}{real:>15,.0f}{ours / rate:>8.2f}"
            f"{tokens / real:>10.2f}"
        )


def _print_times(results: dict[str, list[dict[str, Any]]], target: float) -> None:
    ours = results[_OURS][0]
    print(f"{'':24}{'loss':>8}{'steps':>8}{'seconds':>10}{'share':>8}   (target {target})")
    for name, (run,) in results.items():
        reached = run["loss"] <= target
        share = f"{ours['seconds'] / run['seconds']:>8.2f}" if reached else "      –"
        print(f"{name:24}{run['loss']:>8.3f}{run['step']:>8}{run['seconds']:>10.1f}{share}")


# ------------------------------------------------------------------------------------------ Ours


def _run_ours(arguments: argparse.Namespace, backend: str) -> dict[str, Any]:
    """Runs the real command; for ``--to_loss`` stops it where the loss is reached."""
    timed = arguments.to_loss is None
    with tempfile.TemporaryDirectory() as output:
        options = {
            "data": arguments.rows,
            "output": output,
            "model": "bert_tiny",
            "max_sequence_length": _LENGTH,
            "batch_size": arguments.batch_size,
            "mask_selection_rate": _RATE,
            "mask_selection_length": _MASKS,
            "learning_rate": arguments.learning_rate,
            "warmup_steps": arguments.warmup_steps,
            "schedule": "constant",
            "steps": 10 + 3 * arguments.steps if timed else arguments.most_steps,
            "log_every": arguments.steps if timed else arguments.eval_every,
            "eval_steps": 1 if timed else arguments.eval_steps,
            "checkpoint_every": 10**9,
        }
        if not timed:
            options["eval_every"] = arguments.eval_every
        process = subprocess.Popen(
            [sys.executable, "-m", "trainer.pretrain", *(f"--{n}={v}" for n, v in options.items())],
            env=os.environ | {"KERAS_BACKEND": backend},
            stderr=subprocess.PIPE,
            text=True,
        )
        lines: list[dict[str, Any]] = []
        for said in process.stderr or ():
            if not said.startswith("pretrain: step "):
                continue
            path = Path(output) / "metrics.jsonl"
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            if not timed and lines[-1]["validation_loss"] <= arguments.to_loss:
                process.kill()
        process.wait()
    if timed:
        # The first stretch holds the compiler's warm-up, the last one is short and validates.
        chosen = lines[1:3]
        return {
            "steps_per_second": statistics.median(
                line["rows_per_second"] / arguments.batch_size for line in chosen
            ),
            "tokens_per_second": statistics.median(line["tokens_per_second"] for line in chosen),
            "data_wait": max(line["data_wait"] for line in chosen),
        }
    last = lines[-1]
    return {"loss": last["validation_loss"], "step": last["step"], "seconds": last["seconds"]}


# ---------------------------------------------------------------------------------------- Theirs


def _run_theirs(arguments: argparse.Namespace, backend: str) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.pretrain", *sys.argv[1:], "--worker", backend],
        env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith("RESULT ")]
    if run.returncode or not lines:
        raise SystemExit(f"keras_hub on {backend} failed with status {run.returncode}")
    return dict(json.loads(lines[-1].removeprefix("RESULT ")))


def _train_theirs(arguments: argparse.Namespace) -> dict[str, Any]:
    import keras
    import keras_hub
    import tensorflow as tf

    from trainer.data.dataset import open_dataset
    from trainer.models.sizes import dimensions_of

    dataset = open_dataset(arguments.rows)
    held_out = _held_out_rows(dataset, arguments)
    vocabulary = dataset.vocabulary
    reviews = _tokenize_reviews(dataset, held_out.pop("doc_ids"))
    filled = float((reviews != vocabulary.pad_id).sum(axis=1).mean())

    started = time.perf_counter()
    masker = keras_hub.layers.MaskedLMMaskGenerator(
        vocabulary_size=vocabulary.size,
        mask_selection_rate=_RATE,
        mask_selection_length=_MASKS,
        mask_token_id=vocabulary.mask_id,
        unselectable_token_ids=[vocabulary.cls_id, vocabulary.sep_id, vocabulary.pad_id],
    )

    def mask(token_ids: Any) -> Any:
        masked = masker(token_ids)
        inputs = {
            "token_ids": masked["token_ids"],
            "segment_ids": tf.zeros_like(token_ids),
            "padding_mask": tf.cast(token_ids != vocabulary.pad_id, "int32"),
            "mask_positions": masked["mask_positions"],
        }
        return inputs, masked["mask_ids"], masked["mask_weights"]

    rows = tf.data.Dataset.from_tensor_slices(reviews).shuffle(len(reviews)).repeat()
    rows = rows.batch(arguments.batch_size, drop_remainder=True)
    rows = rows.map(mask, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    backbone = keras_hub.models.BertBackbone(
        vocabulary.size, **dimensions_of("bert_tiny"), max_sequence_length=_LENGTH
    )
    head = keras_hub.layers.MaskedLMHead(
        token_embedding=backbone.token_embedding, intermediate_activation="gelu"
    )
    positions = keras.Input((_MASKS,), dtype="int32", name="mask_positions")
    encoded = backbone(backbone.input)["sequence_output"]
    model = keras.Model({**backbone.input, "mask_positions": positions}, head(encoded, positions))
    optimizer = keras.optimizers.AdamW(
        # Constant after the warm-up.
        keras.optimizers.schedules.CosineDecay(
            0.0,
            decay_steps=10**9,
            warmup_target=arguments.learning_rate,
            warmup_steps=arguments.warmup_steps,
        ),
        weight_decay=0.01,
        epsilon=1e-6,
        global_clipnorm=1.0,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[
            keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="nats"),
            keras.metrics.SparseCategoricalAccuracy(),
        ],
    )
    if arguments.to_loss is None:
        clock = _Clock()
        model.fit(rows, steps_per_epoch=arguments.steps, epochs=3, verbose=0, callbacks=[clock])
        rate = arguments.steps / statistics.median(clock.seconds[1:])
        tokens = rate * arguments.batch_size * filled
        return {"steps_per_second": rate, "tokens_per_second": tokens}
    labels, weights = held_out.pop("mask_ids"), held_out.pop("mask_weights")

    class Stop(keras.callbacks.Callback):
        """Validates after every stretch, and ends the training where the loss is reached."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            found = self.model.evaluate(
                held_out, labels, sample_weight=weights, batch_size=64, verbose=0, return_dict=True
            )
            self.reached = {
                "loss": found["nats"],
                "step": (epoch + 1) * arguments.eval_every,
                "seconds": time.perf_counter() - started,
            }
            print(f"    {json.dumps(self.reached)}", file=sys.stderr, flush=True)
            self.model.stop_training = found["nats"] <= arguments.to_loss

    stop = Stop()
    epochs = arguments.most_steps // arguments.eval_every
    model.fit(
        rows, steps_per_epoch=arguments.eval_every, epochs=epochs, verbose=0, callbacks=[stop]
    )
    return stop.reached


def _Clock() -> Any:  # noqa: N802 - a class, made where Keras is
    import keras

    class Clock(keras.callbacks.Callback):
        """Seconds of each epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds.append(time.perf_counter() - self.began)

    return Clock()


def _held_out_rows(dataset: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """The validation batches of ``trainer.pretrain``, each document in a row of its own."""
    from pipelines.mask.config import MaskConfig
    from trainer.data.batches import BatchMaker
    from trainer.data.dataset import VALIDATION
    from trainer.data.order import RowOrder
    from trainer.data.row_reader import RowReader

    mask = MaskConfig(mask_selection_rate=_RATE, mask_selection_length=_MASKS)
    order = RowOrder([dataset.shard_rows("train")], seed=0, batch_size=arguments.batch_size)
    maker = BatchMaker([dataset], order, mask)
    steps = min(maker.validation_steps, arguments.eval_steps)
    batches = [maker.validation_batch(step).arrays for step in range(steps)]
    arrays = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    alone: dict[str, list[Any]] = {name: [] for name in arrays if name != "document_ids"}
    for row in range(len(arrays["token_ids"])):
        documents = arrays["document_ids"][row]
        for document in range(1, documents.max() + 1):
            begin, length = (
                int((documents == document).argmax()),
                int((documents == document).sum()),
            )
            places = arrays["mask_positions"][row] - begin
            inside = (places >= 0) & (places < length) & (arrays["mask_weights"][row] > 0)
            used = int(inside.sum())
            for name, width in (("token_ids", _LENGTH), ("mask_ids", _MASKS)):
                alone[name].append(np.zeros(width, np.int32))
            alone["token_ids"][-1][:length] = arrays["token_ids"][row, begin : begin + length]
            alone["mask_ids"][-1][:used] = arrays["mask_ids"][row, inside]
            alone["mask_positions"].append(np.zeros(_MASKS, np.int32))
            alone["mask_positions"][-1][:used] = places[inside]
            alone["mask_weights"].append((np.arange(_MASKS) < used).astype(np.float32))
            alone["padding_mask"].append((np.arange(_LENGTH) < length).astype(np.int32))
            alone["segment_ids"].append(np.zeros(_LENGTH, np.int32))
    assert sum(w.sum() for w in alone["mask_weights"]) == arrays["mask_weights"].sum()
    reader = RowReader(dataset, VALIDATION)
    everything = np.arange(dataset.rows(VALIDATION))
    doc_ids: Any = reader.read(everything, np.zeros_like(everything))["doc_ids"]
    return {name: np.stack(values) for name, values in alone.items()} | {
        "doc_ids": np.unique(doc_ids.values)
    }


def _tokenize_reviews(dataset: Any, held_out: Any) -> Any:
    """int32[reviews, 256]: all reviews but those held out, one a row, cut at the end."""
    from pipelines.documents.blocks import content_id
    from pipelines.tokenize.encode import Encoder

    named = os.environ.get("BERTMILL_DATA")
    data = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    facts, vocabulary = dataset.manifest.facts, dataset.vocabulary
    texts = []
    for path in sorted((data / "imdb").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            texts += [json.loads(line)["text"] for line in file]
    apart = set(held_out.tolist())
    kept = [text for text in texts if content_id(text.encode()) not in apart]
    assert len(kept) < len(texts), "the rows were made from other documents"
    encoder = Encoder(
        vocabulary, lowercase=facts["lowercase"], strip_accents=facts["strip_accents"]
    )
    rows = np.full((len(kept), _LENGTH), vocabulary.pad_id, np.int32)
    rows[:, 0] = vocabulary.cls_id
    for start in range(0, len(kept), 1024):
        ids, offsets = encoder.encode(kept[start : start + 1024])
        for i in range(len(offsets) - 1):
            tokens = ids[offsets[i] : offsets[i + 1]][: _LENGTH - 2]
            rows[start + i, 1 : 1 + len(tokens)] = tokens
            rows[start + i, 1 + len(tokens)] = vocabulary.sep_id
    return rows


if __name__ == "__main__":
    main()
