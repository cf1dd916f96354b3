"""Times training steps on whatever device JAX finds, for each form of attention, without data.

A step is ``trainer.pretrain``'s own: forward, backward, AdamW, weights and sums in float32, products
in bfloat16, over random packed rows that are made on the host and copied each time. MFU counts what
``trainer.pretraining.flops`` counts. Neither TensorFlow nor any file is needed::

    python -m tests.benchmarks.accelerator --model bert_base --seq_length 512 --json results.json

Forms: ``dropout`` makes probabilities explicit and drops some, as training does by default;
``explicit`` does so without dropping any; ``chosen`` is what ``trainer.layers.attention`` takes
here; ``xla``, ``cudnn`` and ``splash`` are asked for by name. One that the device does not have is
reported and passed over. Before the times, every form is compared with explicit probabilities in
float32.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

_WORDS = 30_522
_FORMS = ("dropout", "explicit", "chosen", "xla", "cudnn", "splash")
_SIZES = ("bert_tiny", "bert_small", "bert_base", "bert_large")
_TOKENS = 65_536  # at most in a step
_COLUMNS = ("model", "rows", "form", "ms", "tokens/s", "real/s", "TFLOP/s", "MFU", "GB", "loss")


def main() -> None:
    """Parses the command line, checks and times every form, prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", default=_SIZES, help="size names")
    parser.add_argument("--seq_length", nargs="+", type=int, default=(128, 512))
    parser.add_argument("--form", nargs="+", default=_FORMS[:4], choices=_FORMS)
    parser.add_argument("--batch_size", type=int, help="default: by the device's memory")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each")
    parser.add_argument("--json", type=Path, help="also write the results here")
    arguments = parser.parse_args()
    import jax

    device = jax.devices()[0]
    results: dict[str, Any] = {
        "device": device.device_kind,
        "jax": jax.__version__,
        "checks": [],
        "times": [],
    }
    print(f"{device.device_kind}, JAX {jax.__version__}", flush=True)
    for form in arguments.form:
        results["checks"].append(_attempt(lambda form=form: check_form(form), form=form))
        print(json.dumps(results["checks"][-1]), flush=True)
    print("".join(f"{name:>12}" for name in _COLUMNS), flush=True)
    for model in arguments.model:
        for length in arguments.seq_length:
            for form in arguments.form:
                rows = arguments.batch_size or rows_that_fit(model, length, device)
                timed = _attempt(
                    lambda m=model, n=length, f=form, r=rows: time_step(
                        m, n, f, r, arguments.steps
                    ),
                    model=model,
                    seq_length=length,
                    form=form,
                )
                results["times"].append(timed)
                _print_row(timed)
                if arguments.json:
                    arguments.json.write_text(json.dumps(results, indent=1))
                gc.collect()
                jax.clear_caches()


def _attempt(measure: Callable[[], dict[str, Any]], **names: Any) -> dict[str, Any]:
    """What is measured, or why it could not be: a device does not have every form."""
    try:
        return names | measure()
    except Exception as error:
        return names | {"error": f"{type(error).__name__}: {error}"[:300]}


def _print_row(timed: dict[str, Any]) -> None:
    if "error" in timed:
        name = f"{timed['model']}/{timed['seq_length']}"
        print(f"{name:>24}{timed['form']:>12}  {timed['error']}", flush=True)
        return
    values = (
        timed["model"],
        f"{timed['rows']}x{timed['seq_length']}",
        timed["form"],
        f"{timed['ms']:.1f}",
        f"{timed['tokens_per_s']:,.0f}",
        f"{timed['real_tokens_per_s']:,.0f}",
        f"{timed['tflops']:.1f}",
        f"{100 * timed['mfu']:.1f}%" if "mfu" in timed else "?",
        f"{timed['bytes'] / 1e9:.1f}",
        f"{timed['loss']:.4f}",
    )
    print("".join(f"{value:>12}" for value in values), flush=True)


# ------------------------------------------------------------------------------ Forms


def _dense(form: Any) -> Callable[..., Any]:
    """A form that takes a mask, with the arguments of ``attention.attend``."""
    from trainer.layers.attention import attend_by_jax, attend_explicitly, dense_mask

    def attend(query: Any, key: Any, value: Any, *, scale: float, **visible: Any) -> Any:
        mask = dense_mask(**{"mask": None, **visible})
        if form == "explicit":
            return attend_explicitly(query, key, value, mask, scale)
        return attend_by_jax(query, key, value, mask, scale, form)

    return attend


def _splash(query: Any, key: Any, value: Any, *, scale: float, **ids: Any) -> Any:
    from trainer.layers.splash_attention import attend_by_splash

    return attend_by_splash(query, key, value, ids["key_ids"], ids["query_ids"], scale)


def attention_form(form: str) -> Callable[..., Any]:
    """The function of that name, with the arguments of ``trainer.layers.attention.attend``."""
    from trainer.layers.attention import attend

    named = {"chosen": attend, "dropout": attend, "splash": _splash}
    return named.get(form) or _dense(form)


def check_form(form: str) -> dict[str, Any]:
    """Largest differences from explicit probabilities in float32, on packed rows.

    ``neighbour``: what other documents' outputs differ by where one document is another: 0.0.
    """
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    shape, scale = (2, 512, 4, 64), 0.125
    document_ids = jnp.asarray(_document_ids(rng, *shape[:2]))
    ids = {"key_ids": document_ids, "query_ids": document_ids}
    arrays = [jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for _ in range(4)]

    def run(form: str, dtype: str) -> Any:
        attend = attention_form(form)
        *inputs, weights = (array.astype(dtype) for array in arrays)

        def weighted(*inputs: Any) -> Any:
            out = attend(*inputs, scale=scale, **ids)
            return (out.astype("float32") * weights).sum(), out

        step = jax.jit(jax.value_and_grad(weighted, argnums=(0, 1, 2), has_aux=True))
        (_, out), gradients = step(*inputs)
        return [np.asarray(x, np.float32) for x in (out, *gradients)]

    ours, exact = run(form, "bfloat16"), run("explicit", "float32")
    names = ("output", "d_query", "d_key", "d_value")
    differences = {
        n: float(np.abs(a - b).max()) for n, a, b in zip(names, ours, exact, strict=True)
    }
    changed = (document_ids == 1)[:, :, None, None]
    arrays = [jnp.where(changed, -2 * array, array) for array in arrays]
    others = np.asarray(document_ids != 1)
    after = run(form, "bfloat16")
    moved = max(
        float(np.abs(a[others] - b[others]).max()) for a, b in zip(ours, after, strict=True)
    )
    return differences | {"neighbour": moved}


# ------------------------------------------------------------------------------ Steps


def rows_that_fit(model: str, length: int, device: Any) -> int:
    """A power of two of rows whose activations fill at most 60 % of the device's memory."""
    from trainer.models.sizes import dimensions_of

    limit = (device.memory_stats() or {}).get("bytes_limit", 2e9)
    sizes = dimensions_of(model)
    # Some 20 arrays of 16 bits as wide as the hidden vectors are kept for each layer.
    bytes_per_row = 40 * length * sizes["num_layers"] * sizes["hidden_dim"]
    rows = min(0.6 * limit / bytes_per_row, _TOKENS / length)
    return 1 << max(int(np.log2(rows)), 0)


def _document_ids(rng: np.random.Generator, rows: int, length: int) -> Any:
    """int32[rows, length]: documents of length/16 to length/2, up to a sixteenth of padding."""
    ids = np.zeros((rows, length), np.int32)
    for row in ids:
        end, start, document = length - rng.integers(0, length // 16), 0, 1
        while start < end:
            size = rng.integers(length // 16, length // 2)
            row[start : min(start + size, end)] = document
            start, document = start + size, document + 1
    return ids


def random_batch(rows: int, length: int) -> dict[str, Any]:
    """Packed rows of ids as unevenly frequent as words are, with 15 % of the positions masked."""
    rng = np.random.default_rng(0)
    by_rank = 1 / np.arange(1, _WORDS + 1)
    by_rank /= by_rank.sum()
    masks = int(np.ceil(0.15 * length))
    document_ids = _document_ids(rng, rows, length)
    positions = np.sort(rng.integers(0, length, (rows, masks)), axis=1).astype(np.int32)
    return {
        "token_ids": rng.choice(_WORDS, (rows, length), p=by_rank).astype(np.int32),
        "segment_ids": np.zeros((rows, length), np.int32),
        "padding_mask": (document_ids > 0).astype(np.int32),
        "document_ids": document_ids,
        "mask_positions": positions,
        "mask_ids": rng.integers(0, _WORDS, (rows, masks)).astype(np.int32),
        "mask_weights": np.ones((rows, masks), np.float32),
    }


def build_step(
    model: str, form: str, cluster: Any = None, grad_accumulation: int | None = None
) -> Any:
    """A step of a model of that size, from random weights."""
    import keras

    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.pretraining_model import PretrainingModel
    from trainer.models.sizes import dimensions_of
    from trainer.pretraining.optimizer import WarmupThenDecay, build_optimizer
    from trainer.pretraining.step import JaxTrainStep

    keras.utils.set_random_seed(0)
    backbone = BertBackbone(
        _WORDS,
        **dimensions_of(model),
        dtype="mixed_bfloat16",
        attention_dropout=None if form == "dropout" else 0.0,
    )
    network = PretrainingModel(backbone, portable_head=True)
    optimizer = build_optimizer(
        "adamw",
        network.trainable_variables,
        schedule=WarmupThenDecay(1e-4, 100, 1000, "linear"),
        weight_decay=0.01,
        clip_norm=1.0,
    )
    return JaxTrainStep(
        network, optimizer, seed=0, grad_accumulation=grad_accumulation, cluster=cluster
    )


def step_flops(model: str, batch: dict[str, Any]) -> int:
    """What the model's own arithmetic of a step on that batch is."""
    from trainer.models.sizes import dimensions_of
    from trainer.pretraining.flops import training_flops

    sizes = {**dimensions_of(model), "vocabulary_size": _WORDS}
    (rows, length), masks = batch["token_ids"].shape, batch["mask_ids"].shape[1]
    return rows * training_flops(sizes, length, masks)


def lower_step(step: Any, form: str, batch: dict[str, Any]) -> Any:
    """The step's program for such a batch, before it is compiled."""
    from trainer.layers import self_attention
    from trainer.pretraining.step import dropout_states

    states = dropout_states(0, 0, step._generators)
    with mock.patch.object(self_attention, "attend", attention_form(form)):
        return step._step.lower(step._arrays, states, batch)


def time_step(model: str, length: int, form: str, rows: int, steps: int) -> dict[str, Any]:
    """Times steps of one model on batches of one shape."""
    import jax

    from trainer.pretraining.flops import peak_tflops, utilization

    batch = random_batch(rows, length)
    step = build_step(model, form)
    started = time.perf_counter()
    step._step = lower_step(step, form, batch).compile()
    compiled_in = time.perf_counter() - started
    losses = [step.run(i, batch) for i in range(3)]
    jax.block_until_ready(losses)
    started = time.perf_counter()
    for i in range(steps):
        values = step.run(3 + i, batch)
    jax.block_until_ready(values)
    seconds = (time.perf_counter() - started) / steps
    flops = step_flops(model, batch)
    memory = step._step.memory_analysis()
    cost = step._step.cost_analysis() or {}
    real = int((batch["document_ids"] > 0).sum())
    return {
        "rows": rows,
        "ms": 1e3 * seconds,
        "tokens_per_s": rows * length / seconds,
        "real_tokens_per_s": real / seconds,
        **utilization(1 / seconds, flops, peak_tflops(jax.devices()[0].device_kind)),
        "bytes": memory.temp_size_in_bytes + memory.argument_size_in_bytes,
        "flops_model": flops,
        "flops_xla": cost.get("flops"),
        "bytes_xla": cost.get("bytes accessed"),
        "compile_s": compiled_in,
        "loss": float(np.asarray(values)[0]),
    }


if __name__ == "__main__":
    main()
