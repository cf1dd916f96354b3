"""Times a pretraining step of ours against keras_hub's ``BertBackbone`` + ``MaskedLMHead``.

Identical work: the same sizes, batch, masks, dropout and optimizer, weights of the same shapes, loss
and accuracy reported. "packed" is a step of ours on packed rows (``document_ids``); real tokens a
second are those of IMDB reviews without padding, packed by us, one review a row (cut at its end) for
them. Steps alternate in one process for each backend; "cpu" is the ratio by processor time.
Run it alone on the machine: ``python -m tests.benchmarks.model``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WORDS = 30_522
_REVIEWS = 2_000


def main() -> None:
    """Parses the command line, runs one process for each backend, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", default="jax,tensorflow")
    parser.add_argument(
        "--sizes", default="bert_tiny,bert_small", help="model sizes by name, with commas"
    )
    parser.add_argument("--seq_lengths", default="256,512")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--masks", type=int, default=64, help="masked positions a row")
    parser.add_argument("--steps", type=int, default=15, help="timed steps of each")
    parser.add_argument("--dtype", default="float32", help="a Keras dtype policy")
    parser.add_argument("--json", action="store_true", help="one JSON line for each result")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        for size in arguments.sizes.split(","):
            for length in map(int, arguments.seq_lengths.split(",")):
                print("RESULT " + json.dumps(_compare(size, length, arguments)), flush=True)
        return
    results = []
    for backend in arguments.backends.split(","):
        environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-m", "tests.benchmarks.model", *sys.argv[1:], "--worker"]
        run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if run.returncode:
            raise SystemExit(f"the {backend} worker failed with status {run.returncode}")
        lines = [line for line in run.stdout.splitlines() if line.startswith("RESULT ")]
        results += [json.loads(line.removeprefix("RESULT ")) for line in lines]
    if arguments.json:
        for result in results:
            print(json.dumps(result))
        return
    print(
        f"{'backend':12}{'size':12}{'rows':>10}{'ours ms':>10}{'theirs ms':>11}{'tokens/s':>11}"
        f"{'theirs':>10}{'ratio':>8}{'cpu':>7}{'packed ms':>11}{'real/s':>10}{'theirs':>10}"
        f"{'ratio':>8}"
    )
    for r in results:
        print(
            f"{r['backend']:12}{r['size']:12}{r['rows']:>10}{r['ours_ms']:>10.1f}"
            f"{r['theirs_ms']:>11.1f}{r['ours_tokens_per_s']:>11,.0f}"
            f"{r['theirs_tokens_per_s']:>10,.0f}{r['ratio']:>8.2f}{r['cpu_ratio']:>7.2f}"
            f"{r['packed_ms']:>11.1f}{r['ours_real_tokens_per_s']:>10,.0f}"
            f"{r['theirs_real_tokens_per_s']:>10,.0f}{r['real_ratio']:>8.2f}"
        )


def _compare(size: str, length: int, arguments: argparse.Namespace) -> dict[str, Any]:
    import keras
    import numpy as np

    keras.config.set_dtype_policy(arguments.dtype)
    rows, masks = arguments.batch_size, arguments.masks
    rng = np.random.default_rng(0)
    batch = {
        "token_ids": rng.integers(0, _WORDS, (rows, length)).astype("int32"),
        "segment_ids": np.zeros((rows, length), "int32"),
        "padding_mask": np.ones((rows, length), "int32"),
        "mask_positions": np.sort(rng.integers(0, length, (rows, masks)), 1).astype("int32"),
        "mask_ids": rng.integers(0, _WORDS, (rows, masks)).astype("int32"),
        "mask_weights": np.ones((rows, masks), "float32"),
    }
    packed, our_tokens, their_tokens = _pack_reviews(length, rows)
    our_step = _our_step(size)
    their_step = _their_step(size, batch)
    steps: dict[str, Callable[[], Any]] = {
        "ours": lambda: our_step(batch),
        "theirs": their_step,
        "packed": lambda: our_step({**batch, **packed}),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    losses = {name: float(step()) for name, step in steps.items()}  # also compiles
    for _ in range(arguments.steps):
        for name, step in steps.items():
            started, used = time.perf_counter(), time.process_time()
            step()
            seconds[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - used)
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    used = {name: float(np.median(values)) for name, values in cpu.items()}
    ours, theirs = median["ours"], median["theirs"]
    real = our_tokens * rows / median["packed"], their_tokens * rows / theirs
    return {
        "backend": keras.config.backend(),
        "size": size,
        "rows": f"{rows}x{length}",
        "masks": masks,
        "dtype": arguments.dtype,
        "steps": arguments.steps,
        "ours_ms": 1e3 * ours,
        "theirs_ms": 1e3 * theirs,
        "packed_ms": 1e3 * median["packed"],
        "ours_fastest_ms": 1e3 * min(seconds["ours"]),
        "theirs_fastest_ms": 1e3 * min(seconds["theirs"]),
        "ours_tokens_per_s": rows * length / ours,
        "theirs_tokens_per_s": rows * length / theirs,
        "ratio": theirs / ours,
        "cpu_ratio": used["theirs"] / used["ours"],
        "ours_real_tokens_a_row": our_tokens,
        "theirs_real_tokens_a_row": their_tokens,
        "ours_real_tokens_per_s": real[0],
        "theirs_real_tokens_per_s": real[1],
        "real_ratio": real[0] / real[1],
        "first_losses": losses,
    }


def _pack_reviews(length: int, rows: int) -> tuple[dict[str, Any], float, float]:
    """A packed batch of IMDB reviews, and real tokens a row: packed, and one review a row."""
    import numpy as np

    from pipelines.keyed_random import fold, purpose_key
    from pipelines.records.dense_rows import dense_rows
    from pipelines.records.ragged import Columns, Ragged
    from pipelines.text.vocabulary import Vocabulary
    from pipelines.tokenize.config import TokenizeConfig
    from pipelines.tokenize.encode import Encoder
    from pipelines.tokenize.pack import pack_rows

    named = os.environ.get("BERTMILL_DATA")
    data = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    vocabulary = Vocabulary.load(str(data / "vocab" / "bert-base-uncased-vocab.txt"))
    with gzip.open(sorted((data / "imdb").glob("train-*"))[0]) as file:
        lines = [next(file) for _ in range(_REVIEWS)]
    encoder = Encoder(vocabulary, lowercase=True, strip_accents=True)
    ids, offsets = encoder.encode([json.loads(line)["text"] for line in lines])
    alone = np.minimum(np.diff(offsets) + 2, length).mean()
    doc_ids = np.sort(fold(purpose_key(0, "benchmark"), np.arange(_REVIEWS)))
    table: Columns = {
        "token_ids": Ragged(ids.astype(np.uint16), offsets),
        "doc_ids": doc_ids,
        "occurrence": np.zeros(_REVIEWS, np.int64),
    }
    config = TokenizeConfig(input=(), vocab="", output="", seq_length=length)
    columns, _ = pack_rows(table, config, cls_id=vocabulary.cls_id, sep_id=vocabulary.sep_id)
    dense = dense_rows(columns, length, vocabulary.pad_id)
    fill = dense["padding_mask"].sum(axis=1).mean()
    names = ("token_ids", "segment_ids", "padding_mask", "document_ids")
    batch = {name: dense[name][:rows].astype("int32") for name in names}
    return batch, float(fill), float(alone)


def _our_step(size: str) -> Callable[[dict[str, Any]], Any]:
    import keras

    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.pretraining_model import PretrainingModel
    from trainer.models.sizes import dimensions_of

    model = PretrainingModel(BertBackbone(_WORDS, **dimensions_of(size)))
    model.compile(optimizer=keras.optimizers.Adam(1e-4), jit_compile=True)
    return lambda batch: model.train_on_batch(batch, return_dict=True)["loss"]


def _their_step(size: str, batch: dict[str, Any]) -> Callable[[], Any]:
    import keras
    import keras_hub

    from trainer.models.sizes import dimensions_of

    backbone = keras_hub.models.BertBackbone(_WORDS, **dimensions_of(size))
    head = keras_hub.layers.MaskedLMHead(
        token_embedding=backbone.token_embedding, intermediate_activation="gelu"
    )
    positions = keras.Input((None,), dtype="int32", name="mask_positions")
    encoded = backbone(backbone.input)["sequence_output"]
    model = keras.Model({**backbone.input, "mask_positions": positions}, head(encoded, positions))
    model.compile(
        optimizer=keras.optimizers.Adam(1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
        jit_compile=True,
    )
    inputs = {name: batch[name] for name in model.input}
    labels, weights = batch["mask_ids"], batch["mask_weights"]
    return lambda: model.train_on_batch(inputs, labels, weights, return_dict=True)["loss"]


if __name__ == "__main__":
    main()
