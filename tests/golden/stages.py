"""Every stage over the golden corpus, in one process, as its command line runs it."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import sys
import warnings
from pathlib import Path

COMMANDS = tuple(
    "pipelines.vocab pipelines.tokenize pipelines.reshard pipelines.mask pipelines.inspect "
    "launch.quickstart_corpus.docstrings launch.quickstart_corpus.demo_task "
    "trainer.pretrain trainer.export trainer.finetune trainer.evaluate trainer.predict "
    "trainer.explain trainer.report".split()
)
_VOCABS = {
    "wordpiece": "--vocab_size 600",
    "tf_text": "--vocab_size 600 --algorithm tf_text",
    "cased": "--vocab_size 700 --lowercase false --held_out_fraction 0.1 --min_count 1",
}
# Under each packing: vocabulary, input, options.
_PACKINGS = {
    "documents": (
        "wordpiece",
        "documents-*",
        "--validation_fraction 0.1 --deduplicate true --split_to_fill true",
    ),
    "full": ("cased", "documents-*", "--validation_fraction 0.1 --min_tokens 8"),
    "pairs": ("tf_text", "documents-*", "--validation_fraction 0.1 --short_seq_prob 0.2"),
    "examples": (
        "wordpiece",
        "labelled.jsonl",
        "--label_field label --text_pair_field pair --validation_fraction 0.2",
    ),
}
_MASKS = {
    "token": "--strategy token --copies 2",
    "whole_word": "--strategy whole_word --copies 2",
    "span": "--strategy span --copies 2 --seed 7 --random_token_rate 0.2",
    "token-tfrecord": "--strategy token --copies 2 --format tfrecord",
}
_MODEL = (
    "--num_layers 1 --num_heads 2 --hidden_dim 32 --intermediate_dim 64 --steps 20 --batch_size 8 "
    "--log_every 1 --checkpoint_every 10 --learning_rate 0.01 --warmup_steps 4"
)
_RUNS = {
    "rows": ("tokenize/documents-array_record", "--dtype float32 --dropout 0"),
    "examples-bfloat16": ("mask/whole_word", "--dtype mixed_bfloat16 --dropout 0.1"),
    "pairs": ("tokenize/pairs-tfrecord", "--dtype float32 --dropout 0.1 --strategy span"),
}
_EXPORTS = ("rows", "pairs")


def set_environment() -> None:
    """What decides results or help texts, before anything heavy is imported."""
    for name in ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS"):
        os.environ.pop(name, None)
    os.environ.update(
        COLUMNS="100",
        CUDA_VISIBLE_DEVICES="-1",
        JAX_PLATFORMS="cpu",
        KERAS_BACKEND="jax",
        TF_CPP_MIN_LOG_LEVEL="3",
        # Without this, training would begin this process anew.
        GLIBC_TUNABLES="glibc.malloc.hugetlb=0",
    )


def run_stages(corpus: Path, work: Path) -> None:
    """Runs all of them; the outputs are ``work/STAGE/NAME``."""
    documents, vocab = str(corpus / "documents-*"), work / "vocab"
    for name, options in _VOCABS.items():
        _run("pipelines.vocab", options, input=documents, output=vocab / name)

    common = "--seq_length 64 --num_shards 3"
    for packing, (words, pattern, options) in _PACKINGS.items():
        for form in ("array_record", "tfrecord"):
            _run(
                "pipelines.tokenize",
                f"{common} --packing {packing} --format {form} {options}",
                input=corpus / pattern,
                vocab=vocab / words,
                output=work / "tokenize" / f"{packing}-{form}",
            )
    plain = {
        "documents-plain": ("--packing documents --num_shards 1", "tf_text", "documents-*"),
        "pairs-sentence_order": (
            "--packing pairs --pair_task sentence_order --seed 3",
            "cased",
            "documents-*",
        ),
        "examples-csv": ("--packing examples --label_field label", "cased", "labelled.csv"),
    }
    for name, (options, words, pattern) in plain.items():
        _run(
            "pipelines.tokenize",
            f"{common} {options}",
            input=corpus / pattern,
            vocab=vocab / words,
            output=work / "tokenize" / name,
        )

    for name, options in _MASKS.items():
        form = "tfrecord" if name.endswith("tfrecord") else "array_record"
        rows = work / "tokenize" / f"documents-{form}"
        _run("pipelines.mask", options, input=rows, output=work / "mask" / name)

    for name, source in (("documents", documents), ("labelled", corpus / "labelled.jsonl")):
        _run(
            "launch.quickstart_corpus.demo_task", "", input=source, output=work / "demo_task" / name
        )

    for name, (data, options) in _RUNS.items():
        output = work / "pretrain" / name
        _run("trainer.pretrain", f"{_MODEL} {options}", data=work / data, output=output)
    for name in _EXPORTS:
        _run(
            "trainer.export",
            "",
            run=work / "pretrain" / name,
            output=work / "export" / f"{name}-preset",
            hf_output=work / "export" / f"{name}-huggingface",
        )


def help_text(module: str) -> str:
    """What ``python -m MODULE --help`` prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        _call(module, ["--help"])
    return said.getvalue()


def _run(module: str, options: str, **paths: object) -> None:
    """Runs a command whose standard output nobody reads."""
    flags = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
    if "keras" in sys.modules and module.startswith("trainer."):
        # As in a process of its own, layers are numbered from the first.
        sys.modules["keras"].utils.clear_session()
    with contextlib.redirect_stdout(io.StringIO()):
        _call(module, [*flags, *options.split()])


def _call(module: str, arguments: list[str]) -> None:
    """Runs ``python -m MODULE ARGUMENTS`` in this process; RuntimeError if it fails."""
    before = sys.argv
    sys.argv = [module, *arguments]
    try:
        with warnings.catch_warnings():
            # Another command has imported this one's module already: it runs as a second one.
            warnings.filterwarnings("ignore", "'.*' found in sys.modules", RuntimeWarning)
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            command = " ".join(["python -m", module, *arguments])
            raise RuntimeError(f"{command}: exit status {end.code}") from None
    finally:
        sys.argv = before
