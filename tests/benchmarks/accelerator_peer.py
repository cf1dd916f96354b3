"""Times training steps of Transformers' BERT in PyTorch, beside ``tests.benchmarks.accelerator``'s.

A step is what their users run: ``BertForMaskedLM`` with scaled dot-product attention, bfloat16
autocast over float32 weights, fused AdamW, compiled unless ``--eager``. ``--rows whole`` gives full
rows without a mask, for which PyTorch takes its flash kernel; ``padded`` pads as the other benchmark
does. Documents of a row are not kept apart, which costs that one time and this one none::

    python -m tests.benchmarks.accelerator_peer --model bert_base --seq_length 512
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from transformers import BertConfig, BertForMaskedLM

from tests.benchmarks.accelerator import _WORDS, random_batch
from trainer.models.sizes import dimensions_of
from trainer.pretraining.flops import peak_tflops, training_flops, utilization

_UNMASKED = -100


def make_step(options: argparse.Namespace, device: str) -> tuple[Any, Any, dict[str, Any]]:
    """(the function of one step, its batch, the model's dimensions)."""
    sizes = dimensions_of(options.model)
    config = BertConfig(
        vocab_size=_WORDS,
        hidden_size=sizes["hidden_dim"],
        num_hidden_layers=sizes["num_layers"],
        num_attention_heads=sizes["num_heads"],
        intermediate_size=sizes["intermediate_dim"],
        attention_probs_dropout_prob=options.attention_dropout,
        attn_implementation="sdpa",
    )
    model = BertForMaskedLM(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device == "cuda")
    forward = model if options.eager else torch.compile(model)
    arrays = random_batch(options.batch_size, options.seq_length)
    labels = torch.full(arrays["token_ids"].shape, _UNMASKED)
    positions = torch.from_numpy(arrays["mask_positions"]).long()
    labels.scatter_(1, positions, torch.from_numpy(arrays["mask_ids"]).long())
    batch = {"input_ids": torch.from_numpy(arrays["token_ids"]), "labels": labels}
    if options.rows == "padded":
        batch["attention_mask"] = torch.from_numpy(arrays["padding_mask"])
    batch = {name: values.to(device) for name, values in batch.items()}

    def step() -> Any:
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = forward(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step, arrays, sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="bert_base", help="size name")
    parser.add_argument("--seq_length", type=int, default=512)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--rows", choices=("whole", "padded"), default="whole")
    parser.add_argument("--attention_dropout", type=float, default=0.0)
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    step, arrays, sizes = make_step(options, device)

    def run(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            loss = step()
        loss.item()  # waits for the device
        return (time.perf_counter() - started) / steps

    run(3)
    seconds = run(options.steps)
    masks = arrays["mask_ids"].shape[1]
    flops = training_flops({**sizes, "vocabulary_size": _WORDS}, options.seq_length, masks)
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    peak = peak_tflops(name)
    used = utilization(options.batch_size / seconds, flops, peak)
    memory = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0
    tokens = options.batch_size * options.seq_length / seconds
    print(f"{name}, PyTorch {torch.__version__}")
    print(
        f"{options.model} {options.batch_size}x{options.seq_length} {options.rows}"
        f"{' eager' if options.eager else ' compiled'}: {1e3 * seconds:.1f} ms, {tokens:,.0f} tokens/s, "
        f"MFU {used.get('mfu', 0):.1%}, {memory:.1f} GB",
        flush=True,
    )


if __name__ == "__main__":
    main()
