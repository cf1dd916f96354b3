"""Rows of 512 masked a second on one thread, beside KerasHub's MaskedLMMaskGenerator in tf.data.

``python -m tests.benchmarks.mask [--json FILE]`` from the repository's root. All take the same
rows, in turn, round after round; the figure is the median round. "rows/s" is by the wall clock,
"rows/CPU s" by the process's CPU time (all its threads), which other work on the machine hardly
changes. The last lines set masking one batch on the fly beside a BERT-tiny training step on it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tabulate import tabulate

from pipelines.keyed_random import below, fold, purpose_key
from pipelines.mask.config import STRATEGIES, MaskConfig
from pipelines.mask.mask_rows import mask_rows

VOCABULARY, MASK = 30_522, 103
UNSELECTABLE = [0, 100, 101, 102, 103]
CONTINUATIONS = np.arange(VOCABULARY) >= 0.8 * VOCABULARY  # a fifth of the pieces, as in English
ROWS, LENGTH, WIDTH, BATCH = 4096, 512, 80, 256


def make_rows(rows: int, length: int) -> np.ndarray:
    draws = fold(purpose_key(0, "benchmark"), np.arange(rows)[:, None], np.arange(length))
    ids = (1000 + below(draws, VOCABULARY - 1000)).astype(np.int32)
    ids[:, 0], ids[:, -1], ids[:, length // 2] = 101, 102, 102
    return ids


def mask_with(strategy: str, ids: np.ndarray, copy: int, width: int = WIDTH) -> Any:
    return mask_rows(
        ids,
        np.arange(len(ids), dtype=np.uint64),
        config=MaskConfig(mask_selection_length=width, strategy=strategy),
        vocabulary_size=VOCABULARY,
        mask_token_id=MASK,
        unselectable_token_ids=UNSELECTABLE,
        is_continuation=CONTINUATIONS,
        copy=copy,
    )


def mask_in_tf_data(layer: Any, ids: np.ndarray) -> Callable[[int], None]:
    """One pass over the rows, in batches, with one thread for everything."""
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    dataset = tf.data.Dataset.from_tensor_slices(ids).batch(BATCH).cache()
    for _ in dataset:
        pass
    dataset = dataset.map(layer).with_options(options)

    def one_pass(_: int) -> None:
        for _batch in dataset:
            pass

    return one_pass


def contestants(ids: np.ndarray) -> dict[str, Callable[[int], Any]]:
    import keras_hub
    import tensorflow as tf

    from trainer.layers import MaskedLMMaskGenerator

    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    arguments: dict[str, Any] = {
        "vocabulary_size": VOCABULARY,
        "mask_selection_rate": 0.15,
        "mask_token_id": MASK,
        "mask_selection_length": WIDTH,
        "unselectable_token_ids": UNSELECTABLE,
    }
    theirs = keras_hub.layers.MaskedLMMaskGenerator(**arguments)
    ours = MaskedLMMaskGenerator(**arguments, seed=0)
    return {
        "KerasHub's layer in tf.data": mask_in_tf_data(theirs, ids),
        "our layer in tf.data": mask_in_tf_data(ours, ids),
    } | {
        f"mask_rows, {strategy}": (lambda copy, strategy=strategy: mask_with(strategy, ids, copy))
        for strategy in STRATEGIES
    }


def measure(rounds: int) -> list[dict[str, Any]]:
    runs = contestants(make_rows(ROWS, LENGTH))
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            begin, begin_cpu = time.perf_counter(), time.process_time()
            run(number)
            if number:  # the first round warms up
                wall[name].append(time.perf_counter() - begin)
                cpu[name].append(time.process_time() - begin_cpu)
    rates = {name: ROWS / statistics.median(seconds) for name, seconds in wall.items()}
    peer = next(iter(rates.values()))
    return [
        {
            "what": name,
            "rows/s": round(rate),
            "rows/CPU s": round(ROWS / statistics.median(cpu[name])),
            "times KerasHub": round(rate / peer, 1),
        }
        for name, rate in rates.items()
    ]


def time_steps() -> None:
    """Masking a batch and training on it, in turn (its own process: JAX on all cores)."""
    import jax
    import keras

    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.pretraining_model import PretrainingModel
    from trainer.models.sizes import dimensions_of
    from trainer.pretraining.step import JaxTrainStep

    rows, length, width = 16, 256, 64
    dimensions: dict[str, Any] = dict(dimensions_of("bert_tiny"))
    model = PretrainingModel(BertBackbone(VOCABULARY, **dimensions))
    optimizer = keras.optimizers.AdamW(1e-4)
    optimizer.build(model.trainable_variables)
    step = JaxTrainStep(model, optimizer, seed=0)
    ids = make_rows(rows, length)
    others = {
        "segment_ids": np.zeros_like(ids),
        "padding_mask": np.ones(ids.shape, bool),
        "document_ids": np.ones_like(ids),
    }
    masking, training = [], []
    for number in range(25):
        begin = time.perf_counter()
        examples, _ = mask_with("token", ids, number, width)
        middle = time.perf_counter()
        jax.block_until_ready(step.run(number + 1, {**examples, **others}))
        if number >= 5:  # compiled and warm
            masking.append(middle - begin)
            training.append(time.perf_counter() - middle)
    print(json.dumps([statistics.median(masking) * 1e3, statistics.median(training) * 1e3]))


def measure_batch() -> dict[str, str]:
    """What masking on the fly costs beside a BERT-tiny step on JAX."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.mask", "--steps"],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    masking, training = json.loads(done.stdout.strip().split("\n")[-1])
    return {
        "masking a batch of 16 x 256": f"{masking:.2f} ms",
        "training BERT-tiny on it": f"{training:.0f} ms",
        "share": f"{masking / training:.2%}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps:
        time_steps()
        return
    table, batch = measure(options.rounds), measure_batch()
    print(tabulate(table, headers="keys", intfmt=","))
    print(*(f"{name}: {value}" for name, value in batch.items()), sep="\n")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"table": table} | batch, file, indent=2)


if __name__ == "__main__":
    main()
