"""The options of ``python -m pipelines.tokenize``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from pipelines.command.options import CHOOSE, option
from pipelines.documents.config import KEPT, CorpusConfig, InputFormat
from pipelines.documents.labelled import Fields
from pipelines.errors import UserError

FEWEST_SHARDS = 8
_LIMITS = {
    "seq_length": (8, 65535),
    "num_shards": (1, 99999),
    "short_seq_prob": (0, 1),
    "near_similarity": (0.1, 1),
    "near_bands": (1, 64),
    "exclude_tokens": (2, 1000),
    "max_tokens": (0, 1 << 40),
    "max_unknown": (0, 1),
    "max_repeated_runs": (0, 1),
}
_ONLY_FOR_EXAMPLES: tuple[str, ...] = ("label_field", "text_pair_field")
# What says which documents to leave out, or how to read formats that have no labels.
_NOT_FOR_EXAMPLES: tuple[str, ...] = (
    *(field.name for field in fields(InputFormat) if field.name != "text_field"),
    *("deduplicate", "near_similarity", "near_bands", "split_to_fill"),
    *("exclude", "exclude_field", "exclude_tokens", "exclude_action"),
    *("min_tokens", "max_tokens", "max_unknown", "max_repeated_runs"),
)

TEXT, PACKING, OUTPUT = "text to ids", "details of a packing", "the output"
EXAMPLES = "with --packing examples"
NEAR = "with --deduplicate near"
EXCLUDE = "leaving evaluation texts out"


@dataclass(frozen=True, kw_only=True)
class TokenizeConfig(CorpusConfig):
    """Turn documents into packed rows of token ids: shards and a manifest in --output.

    Example: --input corpus/*.txt --vocab runs/vocab --output runs/rows --seq_length 128
    """

    vocab: str = option(group=CHOOSE, decides=False, metavar="PATH")
    """A vocab.txt, or the output folder of pipelines.vocab."""

    output: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """The folder to write (local or gs://…)."""

    lowercase: bool | None = option(None, group=TEXT)
    """Fold case; default: as the vocabulary's manifest says, else true unless the vocabulary has
    upper-case pieces."""

    strip_accents: bool | None = option(None, group=TEXT)
    """Remove accents; default: as the vocabulary's manifest says, else the same as lowercase,
    unless the vocabulary has accented pieces."""

    seq_length: int = option(512, group=CHOOSE)
    """Tokens in a row, [CLS] and [SEP] included. 128 trains several times as fast as 512; give 512
    where later texts are long."""

    packing: Literal["documents", "full", "pairs", "examples"] = option("documents", group=CHOOSE)
    """documents: whole documents side by side, attention stays inside each; full: one stream cut
    into rows; pairs: two segments for next-sentence prediction; examples: labelled texts, one a
    row, for fine-tuning."""

    label_field: str | None = option(None, group=EXAMPLES, metavar="NAME")
    """The field of the label; in a table without a header the number of its
    column, from 1. Files are .jsonl, .csv, .tsv or .parquet, also .gz, .bz2 or .zst."""

    text_pair_field: str | None = option(None, group=EXAMPLES, metavar="NAME")
    """The field of a second text, for tasks on pairs."""

    split_to_fill: bool = option(False, group=PACKING)
    """With packing documents: also split documents that would fit a row, where that fills rows."""

    pair_task: Literal["next_sentence", "sentence_order"] = option("next_sentence", group=PACKING)
    """With packing pairs: label 1 stands for a second segment from elsewhere, or for the two in
    the wrong order."""

    short_seq_prob: float = option(0.1, group=PACKING, metavar="RATE")
    """With packing pairs: the share of pairs made shorter than the row on purpose."""

    num_shards: int | None = option(None, group=OUTPUT)
    """Files to write, and pieces of work for as many workers; default: 8, doubled until the input's
    size promises at most 512 MB of token ids for each."""

    format: Literal["array_record", "tfrecord"] = option("array_record", group=OUTPUT)
    """array_record gives the trainer random access; tfrecord holds tf.train.Examples."""

    validation_fraction: float = option(0.0, group=OUTPUT, metavar="RATE")
    """Share of the documents, chosen by content, that goes to a split of its own, on which
    trainer.pretrain validates; 0.01 is usual."""

    deduplicate: bool | Literal["near"] = option(
        False, group=TEXT, words={"none": False, "exact": True, "near": "near"}
    )
    """exact: drop documents whose text is the same as another's, and count them; near: also those that
    are nearly the same as another, of which the one with the smallest doc_id stays."""

    near_similarity: float = option(0.7, group=NEAR, decides="unless default", metavar="SHARE")
    """From which share of their runs of 5 tokens in common documents are nearly the same."""

    near_bands: int = option(20, group=NEAR, decides="unless default")
    """How many parts of their signatures documents are compared by: more find more of those about as
    similar as asked for, and move more data."""

    min_tokens: int = option(1, group=TEXT)
    """Drop documents with fewer tokens, and count them."""

    exclude: tuple[str, ...] = option((), group=EXCLUDE, decides=False, metavar="FILE")
    """Evaluation texts, files of any format that --input takes: documents that share a run of tokens
    with one of them are dropped and counted, and listed in leaks.jsonl."""

    exclude_field: tuple[str, ...] = option(("text",), group=EXCLUDE, decides="unless default")
    """The fields or columns of these files that hold text."""

    exclude_tokens: int = option(13, group=EXCLUDE, decides="unless default")
    """How many tokens make a run; texts of fewer are not looked for."""

    exclude_action: Literal["drop", "report"] = option(
        "drop", group=EXCLUDE, decides="unless default"
    )
    """report: count and list such documents, and keep them."""

    max_tokens: int = option(0, group=KEPT, decides="unless default")
    """Drop documents with more tokens; 0: there is no limit."""

    max_unknown: float = option(1.0, group=KEPT, decides="unless default", metavar="SHARE")
    """Drop documents of whose tokens a larger share are [UNK]."""

    max_repeated_runs: float = option(1.0, group=KEPT, decides="unless default", metavar="SHARE")
    """Drop documents of whose runs of 5 tokens a larger share stand in the document before; 0.3 drops
    generated lists and lines that go on and on."""

    seed: int = option(0, group=OUTPUT)
    """Decides order, packing partners and the validation split; another seed, another output."""

    def check(self) -> None:
        """Raises UserError for values that cannot work."""
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UserError(f"--{name} {value}: must be between {low} and {high}")
        if not 0 <= self.validation_fraction < 1:
            raise UserError(
                f"--validation_fraction {self.validation_fraction}: must be at least 0 and below 1"
            )
        if self.min_tokens < 1:
            raise UserError(f"--min_tokens {self.min_tokens}: must be at least 1")
        if self.packing == "examples":
            if not self.label_field:
                raise UserError(
                    "--packing examples: name the field of the label with --label_field"
                )
            excluded = _NOT_FOR_EXAMPLES
            problem = (
                "does not go with --packing examples, which keeps every example as it is; "
                "leave it out"
            )
        else:
            excluded = _ONLY_FOR_EXAMPLES
            problem = (
                f"goes with --packing examples, not {self.packing}; add it or leave the field out"
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in excluded and value != field.default:
                raise UserError(f"--{field.name} {value}: {problem}")

    @property
    def train_shards(self) -> int:
        """Shards of the training split: ``num_shards``, or what small inputs get."""
        return self.num_shards or FEWEST_SHARDS

    def labelled_fields(self) -> Fields | None:
        """The fields of text, second text and label; None where the input is documents."""
        if self.packing != "examples":
            return None
        return Fields(self.text_field, self.text_pair_field or "", self.label_field or "")
