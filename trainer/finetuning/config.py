"""The options of ``python -m trainer.finetune``."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from pipelines.errors import UserError

_MISSING = {
    "preset": "name what to start from, an output of trainer.export",
    "train": "name files with labelled texts",
    "output": "name the folder to write to",
}
# Where things lie decides nothing; what lies there is fingerprinted.
_PLACES = ("preset", "train", "validation", "output")
_METRICS = {
    "classification": ("accuracy", "macro_f1", "matthews", "loss"),
    "regression": ("pearson", "spearman", "mean_squared_error"),
}
_LOWER_IS_BETTER = ("loss", "mean_squared_error")


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tune a preset to classify texts or pairs of texts, or to give them numbers.

    Optimizer: AdamW, linear warm-up, then linear decay to zero.
    """

    preset: str = ""
    """What to start from: an output of trainer.export, a KerasHub or Hugging Face preset (folder or
    name)."""
    train: tuple[str, ...] = ()
    """Training examples: files, folders or patterns (.jsonl, .csv, .tsv, .parquet, also .gz), or an
    output of pipelines.tokenize --packing examples."""
    validation: tuple[str, ...] = ()
    """Validation examples, named likewise; without them the validation part of --train, if it is such
    an output with one, else --validation_fraction of the training examples."""
    validation_fraction: float = 0.1
    """Share of the training examples to validate with where --validation is not given."""
    task: Literal["classification", "regression"] = "classification"
    """Whether labels are the names of classes or numbers."""
    text_field: str = "text"
    """Field of the text; in a table without a header the number of its column, from 1."""
    text_pair_field: str = ""
    """Field of a second text, for tasks on pairs."""
    label_field: str = "label"
    """Field of the label."""
    output: str = ""
    """Folder to write to."""
    epochs: int = 3
    """Passes over the training examples (at most, with --early_stopping)."""
    batch_size: int = 32
    """Examples in a step."""
    learning_rate: float = 5e-5
    """Highest learning rate; 1e-4 to 3e-4 suits bert_tiny and bert_mini, 2e-5 bert_large."""
    warmup_fraction: float = 0.1
    """Share of the steps in which the learning rate rises to its highest."""
    seq_length: int | None = None
    """Most tokens of a text (or pair) that are used, special tokens included; default 128, or what an
    encoded dataset was made with."""
    dropout: float | None = None
    """While training; default: the preset's (0.1 before the last layer)."""
    dtype: Literal["float32", "mixed_bfloat16"] = "float32"
    """What training computes with; weights, validation and the published preset are float32."""
    seed: int = 0
    """Decides the new layer's weights, the order of examples, dropout and the split."""
    early_stopping: int = 0
    """Stop after so many epochs without a better --metric, and keep the best epoch's weights; 0: keep
    the last epoch's."""
    restarts: int = 1
    """Runs with seeds of their own, on the same split; the best by --metric is published, all are in
    runs.json. Those that a killed command had finished are not run again."""
    metric: str = ""
    """What early stopping and restarts go by: accuracy (the default), macro_f1, matthews, loss; pearson
    (the default for numbers), spearman, mean_squared_error."""
    from_scratch: bool = False
    """Start from random weights of the same architecture, to compare with."""

    @property
    def chosen_metric(self) -> str:
        """The figure that epochs and restarts are compared by."""
        return self.metric or _METRICS[self.task][0]

    def quality(self, figures: dict[str, Any]) -> float:
        """The chosen figure, so that more is better."""
        value = float(figures[self.chosen_metric])
        return -value if self.chosen_metric in _LOWER_IS_BETTER else value

    def deciding_fields(self) -> dict[str, Any]:
        """The fields that decide what comes out."""
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if name not in _PLACES}

    def check(self) -> None:
        """Raises UserError for values that cannot work."""
        for name in ("preset", "train", "output"):
            if not getattr(self, name):
                raise UserError(f"--{name} is missing: {_MISSING[name]}")
        for name in ("epochs", "batch_size", "restarts"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: must be at least 1")
        if self.seq_length is not None and self.seq_length < 4:
            raise UserError(f"--seq_length {self.seq_length}: must be at least 4")
        if self.early_stopping < 0:
            raise UserError(f"--early_stopping {self.early_stopping}: must be at least 0")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UserError(f"--learning_rate {self.learning_rate}: must be a positive number")
        if not 0 <= self.warmup_fraction <= 1:
            raise UserError(f"--warmup_fraction {self.warmup_fraction}: must be between 0 and 1")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise UserError(f"--dropout {self.dropout}: must be at least 0 and below 1")
        if not 0 < self.validation_fraction < 1:
            raise UserError(
                f"--validation_fraction {self.validation_fraction}: must be between 0 and 1"
            )
        if not 0 <= self.seed < 1 << 32:
            raise UserError(f"--seed {self.seed}: must be between 0 and 4294967295")
        if self.chosen_metric not in _METRICS[self.task]:
            raise UserError(
                f"--metric {self.metric}: choose one of {', '.join(_METRICS[self.task])} "
                f"for {self.task}"
            )
