"""The command of every stage that makes an output, over a small corpus, but for ``--output``.

``{corpus}`` is what ``tests.golden.corpus`` writes, ``{whole}/STAGE/out`` what an undisturbed run of an
earlier stage wrote, ``{packages}`` where Python's packages are.
"""

from __future__ import annotations

from tests.command_process import TINY, flags_of

_DOCUMENTS = "--input {corpus}/documents-*"
TOKENIZE = "--vocab {whole}/vocab/out --seq_length 64 --num_shards 3"
TOKENIZE_DOCUMENTS = f"pipelines.tokenize {_DOCUMENTS} {TOKENIZE}"


def stage_commands(**pretraining: int) -> dict[str, str]:
    """By the stage's name; ``pretraining``: flags of a tiny run."""
    model = " ".join(flags_of(**TINY | pretraining))
    return {
        "vocab": f"pipelines.vocab {_DOCUMENTS} --vocab_size 500",
        "tokenize": f"{TOKENIZE_DOCUMENTS} --validation_fraction 0.1",
        "mask": "pipelines.mask --input {whole}/tokenize/out --copies 3",
        "docstrings": "launch.quickstart_corpus.docstrings --folders {packages}/jinja2 "
        "{packages}/yaml {packages}/tqdm --labels 2 --train_per_label 4 --validation_per_label 2",
        "demo_task": "launch.quickstart_corpus.demo_task --input {corpus}/labelled.jsonl",
        "pretrain": f"trainer.pretrain --data {{whole}}/tokenize/out {model}",
        "export": "trainer.export --run {whole}/pretrain/out",
        "finetune": "trainer.finetune --preset {whole}/export/out --train {corpus}/labelled.jsonl "
        "--seq_length 32 --epochs 1 --restarts 2 --batch_size 8",
        "evaluate": "trainer.evaluate --preset {whole}/finetune/out --data {corpus}/labelled.jsonl",
        "predict": "trainer.predict --preset {whole}/finetune/out --data {corpus}/labelled.jsonl",
    }
