"""The options of ``python -m trainer.finetune``."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from pipelines.command.options import CHOOSE, option
from pipelines.errors import UserError

_DATA, _TRAINING, _RUNS = "data", "training", "seed and restarts"
_METRICS = {
    "classification": ("accuracy", "macro_f1", "matthews", "loss"),
    "regression": ("pearson", "spearman", "mean_squared_error"),
}
# With fewer steps a new last layer learns little, whatever the examples: docs/fine-tuning.md.
_USUAL_EPOCHS, _LEAST_STEPS = 3, 200
# BERT's usual 5e-5 at its width of 768; the narrower a model, the higher the rate that suits it.
_RATE_TIMES_WIDTH = 0.04
_LOWER_IS_BETTER = ("loss", "mean_squared_error")


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tune a preset to classify texts or pairs of texts, or to give them numbers.

    Optimizer: AdamW, linear warm-up, then linear decay to zero.

    Example: --preset runs/preset --train train.jsonl --output runs/sentiment
    """

    preset: str = option(group=CHOOSE, decides=False, metavar="PRESET")
    """What to start from: an output of trainer.export, a KerasHub or Hugging Face preset (folder or
    name)."""
    train: tuple[str, ...] = option(group=CHOOSE, decides=False, metavar="PATH")
    """Training examples: files, folders or patterns (.jsonl, .csv, .tsv, .parquet, also .gz, .bz2
    or .zst), or an output of pipelines.tokenize --packing examples."""
    output: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """Folder to write to."""
    task: Literal["classification", "regression"] = option("classification", group=CHOOSE)
    """Whether labels are the names of classes or numbers. Numbers may have any unit: they are learned as
    deviations from their mean, and given in their unit."""
    learning_rate: float | None = option(None, group=CHOOSE)
    """Learning rate after warm-up, from which it decays; default by the preset's width: 3e-4 for
    bert_tiny, 2e-4 for bert_mini, 5e-5 for bert_base, 4e-5 for bert_large."""
    epochs: int | None = option(None, group=CHOOSE)
    """Passes over the training examples (at most, with --early_stopping); default 3, or with few
    examples as many as make 200 steps."""

    text_field: str = option("text", group=_DATA, metavar="NAME")
    """Field of the text; in a table without a header the number of its column, from 1."""
    text_pair_field: str = option("", group=_DATA, metavar="NAME")
    """Field of a second text, for tasks on pairs."""
    label_field: str = option("label", group=_DATA, metavar="NAME")
    """Field of the label."""
    on_bad_record: Literal["fail", "drop"] = option("fail", group=_DATA, decides="unless default")
    """A record that cannot be used (no label, no text field, invalid JSON or UTF-8): stop with its file
    and line, or drop and count it."""
    validation: tuple[str, ...] = option((), group=_DATA, decides=False, metavar="PATH")
    """Validation examples, named likewise; without them the validation part of --train, if it is such
    an output with one, else --validation_fraction of the training examples."""
    validation_fraction: float = option(0.1, group=_DATA, metavar="RATE")
    """Share of the training examples to validate with where --validation is not given."""
    seq_length: int | None = option(None, group=_DATA)
    """Most tokens of a text (or pair) that are used, special tokens included; default 128, or what an
    encoded dataset was made with. Longer texts lose their end, and time grows with the length."""
    long_texts: Literal["cut", "windows"] = option("cut", group=_DATA, decides="unless default")
    """What becomes of texts longer than --seq_length: cut, or read in up to 8 windows of that length,
    whose outputs are averaged, in trainer.predict and trainer.evaluate too (docs/fine-tuning.md)."""

    batch_size: int = option(32, group=_TRAINING)
    """Examples in a step; lower it if memory runs out."""
    warmup_fraction: float = option(0.1, group=_TRAINING, metavar="RATE")
    """Share of the steps in which the learning rate rises from zero to --learning_rate."""
    dropout: float | None = option(None, group=_TRAINING, metavar="RATE")
    """Dropout rate in training; default: the preset's (0.1 before the last layer)."""
    token_dropout: float = option(0.0, group=_TRAINING, decides="unless default", metavar="RATE")
    """Share of the tokens of training texts that are hidden by [MASK], others in each epoch: against
    learning small data by heart."""
    adversarial: float = option(0.0, group=_TRAINING, decides="unless default", metavar="LENGTH")
    """Train on each text also with its embedded tokens moved so far, all together, where the loss rises
    most (at a width of 256, 2 suits 300 tokens and 0.4 ten; with too much nothing is learned; 0: do
    not). Doubles the time of a step, more with frozen layers, and takes JAX."""
    frozen_layers: int = option(0, group=_TRAINING, decides="unless default")
    """Keep the embeddings and so many of the first layers as the preset has them, which saves time and
    memory; 0: train everything."""
    dtype: Literal["float32", "mixed_bfloat16"] = option("float32", group=_TRAINING)
    """What training computes with: mixed_bfloat16 is faster on GPUs, TPUs, and CPUs with AMX or
    AVX512-BF16. Weights, validation and the published preset are float32."""
    from_scratch: bool = option(False, group=_TRAINING)
    """Start from random weights of the same architecture, to see what pretraining was worth."""

    seed: int = option(0, group=_RUNS)
    """Decides the new layer's weights, the order of examples, dropout and the split."""
    restarts: int = option(1, group=_RUNS)
    """Runs with seeds of their own, on the same split; the best by --metric is published, all are in
    runs.json. Those that a killed command had finished are not run again."""
    early_stopping: int = option(0, group=_RUNS)
    """Stop after so many epochs without a better --metric, and keep the best epoch's weights; 0: keep
    the last epoch's."""
    metric: str = option("", group=_RUNS, metavar="FIGURE")
    """What early stopping and restarts go by: accuracy (the default), macro_f1, matthews, loss; pearson
    (the default for numbers), spearman, mean_squared_error."""

    def epochs_for(self, examples: int) -> int:
        """The passes over so many training examples."""
        if self.epochs is not None:
            return self.epochs
        steps_of_one = math.ceil(examples / self.batch_size)
        return max(_USUAL_EPOCHS, math.ceil(_LEAST_STEPS / steps_of_one))

    def rate_for(self, width: int) -> float:
        """The learning rate of a preset so wide."""
        if self.learning_rate is not None:
            return self.learning_rate
        return float(f"{_RATE_TIMES_WIDTH / width:.0e}")

    @property
    def chosen_metric(self) -> str:
        """The figure that epochs and restarts are compared by."""
        return self.metric or _METRICS[self.task][0]

    def quality(self, figures: dict[str, Any]) -> float:
        """The chosen figure, so that more is better."""
        value = float(figures[self.chosen_metric])
        return -value if self.chosen_metric in _LOWER_IS_BETTER else value

    def check(self) -> None:
        """Raises UserError for values that cannot work."""
        rate = 1 if self.learning_rate is None else self.learning_rate
        for name, fits, rule in (
            ("epochs", self.epochs is None or self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("restarts", self.restarts >= 1, "at least 1"),
            ("seq_length", self.seq_length is None or self.seq_length >= 4, "at least 4"),
            ("early_stopping", self.early_stopping >= 0, "at least 0"),
            ("learning_rate", rate > 0 and math.isfinite(rate), "a positive number"),
            ("warmup_fraction", 0 <= self.warmup_fraction <= 1, "between 0 and 1"),
            ("dropout", 0 <= (self.dropout or 0) < 1, "at least 0 and below 1"),
            ("token_dropout", 0 <= self.token_dropout < 1, "at least 0 and below 1"),
            ("adversarial", 0 <= self.adversarial < math.inf, "a number, at least 0"),
            ("frozen_layers", self.frozen_layers >= 0, "at least 0"),
            ("validation_fraction", 0 < self.validation_fraction < 1, "between 0 and 1"),
            ("seed", 0 <= self.seed < 1 << 32, "between 0 and 4294967295"),
        ):
            if not fits:
                raise UserError(f"--{name} {getattr(self, name)}: must be {rule}")
        if self.long_texts == "windows" and self.text_pair_field:
            raise UserError(
                "--long_texts windows: is for single texts; leave out --text_pair_field"
            )
        if self.chosen_metric not in _METRICS[self.task]:
            raise UserError(
                f"--metric {self.metric}: choose one of {', '.join(_METRICS[self.task])} "
                f"for {self.task}"
            )
