"""What the workflows share: their options, and reviews of which a tenth is held out."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from launch.quickstart_corpus.docstring_task import find_near_duplicates
from pipelines.documents.labelled import Fields, LabelledText, read_labelled
from pipelines.keyed_random import fold, purpose_key, uniform


@dataclass
class Options:
    """``data``: files of reviews; ``limit``: so many of them (0: all)."""

    data: list[str]
    preset: str = ""
    limit: int = 0
    epochs: int = 0
    seq_length: int = 0
    seed: int = 0
    dtype: str = "float32"
    save: str = ""


@dataclass
class Reviews:
    """Texts and labels int64[n] (0 bad, 1 good) to train on, and others to judge by."""

    texts: list[str]
    labels: np.ndarray
    held_out_texts: list[str]
    held_out_labels: np.ndarray


def load_reviews(options: Options) -> Reviews:
    """A tenth of the reviews is held out, chosen by content, near-duplicates on one side."""
    data = read_labelled(options.data, Fields("text", label_field="label"), "data")
    data = sorted(data, key=LabelledText.example_id)[: options.limit or None]
    ids = np.array([review.example_id() for review in data], np.uint64)
    keys = ids[find_near_duplicates([review.text for review in data])]
    held_out = uniform(fold(purpose_key(0, "fine-tuning validation"), keys)) < 0.1
    labels = np.array([int(review.label) for review in data])
    train, rest = ([data[i].text for i in np.flatnonzero(side)] for side in (~held_out, held_out))
    return Reviews(train, labels[~held_out], rest, labels[held_out])


def run_workflow(workflow: Callable[[Options], dict[str, float]]) -> None:
    """Reads the command line, runs the workflow and prints its figures."""
    import keras

    parser = argparse.ArgumentParser(description=(workflow.__doc__ or "").split("\n")[0])
    parser.add_argument("--data", nargs="+", required=True, help="files with text and label 0 or 1")
    parser.add_argument("--preset", default="", help="a KerasHub or bertmill preset")
    parser.add_argument("--limit", type=int, default=0, help="so many reviews; 0: all")
    parser.add_argument("--epochs", type=int, default=0, help="0: as in the guide")
    parser.add_argument("--seq_length", type=int, default=0, help="0: all the preset's positions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32", choices=["float32", "mixed_bfloat16"])
    parser.add_argument("--save", default="", help="where to save the classifier as a preset")
    options = Options(**vars(parser.parse_args()))
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.dtype)
    for name, value in workflow(options).items():
        print(f"{name} {value:.4f}")
