"""What decides a run is what it always was: the runs of earlier versions are recognised."""

from __future__ import annotations

from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.plan import plan_run

_MODEL = {
    "vocabulary_size": 120,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 128,
    "intermediate_dim": 512,
    "dropout": 0.1,
    "max_sequence_length": 512,
    "num_segments": 2,
}
_DECIDING = {
    "batch_size": 8,
    "grad_accumulation": 1,
    "remat": False,
    "learning_rate": 1e-4,
    "schedule": "linear",
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "dtype": "float32",
    "seed": 0,
    "model": _MODEL,
    "head": "portable",
    "steps": 7,
    "warmup_steps": 0,
    "mask": {
        "mask_selection_rate": 0.15,
        "mask_selection_length": None,
        "mask_token_rate": 0.8,
        "random_token_rate": 0.1,
        "strategy": "token",
        "seed": 0,
    },
    "backend": "jax",
}


def deciding(*folders, **options):
    plan = plan_run(
        PretrainConfig(
            data=tuple(map(str, folders)), output="x", **{"batch_size": 8, "epochs": 1.0} | options
        )
    )
    shares = plan.weights or [None] * len(folders)
    data = [
        {"fingerprint": dataset.manifest.fingerprint, "weight": weight}
        for dataset, weight in zip(plan.datasets, shares, strict=True)
    ]
    found = plan.deciding()
    assert found.pop("data") == data
    return found


def test_what_decides_a_run_by_name(make_rows):
    assert deciding(make_rows()) == _DECIDING


def test_what_is_watched_or_kept_decides_nothing(make_rows):
    watched = {
        "cache_dir": "/x",
        "cache_gb": 1.0,
        "steps_per_execution": 4,
        "checkpoint_every": 5,
        "keep_checkpoints": 1,
        "eval_every": 3,
        "eval_steps": 2,
        "log_every": 1,
        "peak_tflops": 2.0,
        "distributed": True,
        "model_parallel": 2,
        "model": "bert_tiny",
    }
    assert deciding(make_rows(), **watched) == _DECIDING


def test_what_came_later_stands_there_only_where_it_is_set(make_rows, tmp_path):
    skip = tmp_path / "skip.txt"
    skip.write_text("train-00000-of-00003.array_record 3\n")
    options = {
        "shard_window": 2,
        "initial_positions": "sinusoidal",
        "skip_rows": str(skip),
        "skip_norm": 10.0,
        "strategy": "span",
        "seed": 5,
        "num_layers": 1,
    }
    found = deciding(make_rows(), **options)
    fingerprint = found.pop("skip_rows")
    assert len(fingerprint) == 64
    assert found == {
        **_DECIDING,
        "seed": 5,
        "model": {**_MODEL, "num_layers": 1},
        "mask": {**_DECIDING["mask"], "strategy": "span", "seed": 5},
        "shard_window": 2,
        "initial_positions": "sinusoidal",
        "skip_norm": 10.0,
    }
    mixture = deciding(make_rows(), make_rows(seed=1), temperature=2.0)
    assert mixture == {**_DECIDING, "steps": 13, "warmup_steps": 1, "temperature": 2.0}


def test_labels_and_stored_masks_decide(make_rows, make_examples):
    pairs = deciding(make_rows(packing="pairs"))
    assert pairs == {**_DECIDING, "next_sentence": True}
    assert deciding(make_rows(packing="pairs"), next_sentence_loss="false") == _DECIDING
    assert deciding(make_examples(make_rows())) == {**_DECIDING, "mask": None}
