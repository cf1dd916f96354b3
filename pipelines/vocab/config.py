"""The options of ``python -m pipelines.vocab``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pipelines.documents.config import CorpusConfig
from pipelines.errors import UserError
from pipelines.options import CHOOSE, option

# What decides the words and their counts.
_COUNTING = (
    "input_format",
    "text_field",
    "document_boundary",
    "on_bad_record",
    "filter",
    "lowercase",
    "strip_accents",
    "held_out_fraction",
    "min_count",
    "max_input_tokens",
)


@dataclass(frozen=True, kw_only=True)
class VocabConfig(CorpusConfig):
    """Learn a WordPiece vocabulary from documents: vocab.txt and a manifest in --output."""

    output: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """The folder to write (local or gs://…)."""

    vocab_size: int = 30522
    """Entries in the vocabulary, reserved tokens included."""

    algorithm: Literal["wordpiece", "tf_text"] = "wordpiece"
    """wordpiece: exactly vocab_size entries, fewest pieces per word; tf_text: tensorflow_text's
    reference learner, entry for entry."""

    lowercase: bool = True
    """Fold case before counting words."""

    strip_accents: bool | None = None
    """Remove accents before counting words; default: the same as lowercase."""

    reserved_tokens: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    """Entries that stand first, in this order; later stages need the five of the default."""

    suffix_indicator: str = "##"
    """Marks a piece that continues a word."""

    word_counts: str | None = option(None, decides=False, metavar="FILE")
    """A file to keep the counted words in. Where it exists they are read from it instead of being
    counted again: to try another vocabulary size or algorithm."""

    held_out_fraction: float = 0.01
    """Share of the documents on which the vocabulary is judged in the manifest: with one learned
    without them, while the one that is written is learned from all; 0: not judged."""

    min_count: int = 1
    """Words that occur fewer times are left out of learning, and counted."""

    max_input_tokens: int = 5_000_000
    """Distinct words to learn from, the most frequent ones (ties by the word itself)."""

    max_token_length: int = 50
    """Words of more characters are left out of learning, and counted."""

    max_unique_chars: int = 1000
    """Characters in the alphabet, the most frequent ones; words with others are left out, and are
    [UNK] later. Chinese and Japanese need more, and a vocab_size to match."""

    num_iterations: int = 4
    """Rounds of splitting the words by the pieces kept so far and counting again."""

    upper_thresh: int | None = 10_000_000
    """tf_text only: no higher count is ever asked of a piece."""

    lower_thresh: int | None = 10
    """tf_text only: no lower count is ever asked of a piece."""

    slack_ratio: float = 0.05
    """tf_text only: by how much of vocab_size the vocabulary may be smaller."""

    prune: bool = True
    """wordpiece only: of three times the pieces wanted keep those that shorten the words most;
    without it, those with the highest counts, as the published algorithm does."""

    def check(self) -> None:
        """Raises UserError for values that cannot work."""
        repeated = sorted({t for t in self.reserved_tokens if self.reserved_tokens.count(t) > 1})
        if repeated:
            raise UserError(f"--reserved_tokens: {', '.join(repeated)} named twice; name each once")
        for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"):
            if token not in self.reserved_tokens:
                raise UserError(
                    f"--reserved_tokens: {token} is missing, which later stages need; "
                    "add it or leave the option out"
                )
        for token in self.reserved_tokens:
            if not token or token != token.strip() or "\n" in token:
                raise UserError(
                    f"--reserved_tokens: {token!r} is empty or has white space at its ends"
                )
        if self.vocab_size <= len(self.reserved_tokens):
            raise UserError(
                f"--vocab_size {self.vocab_size}: must be larger than the "
                f"{len(self.reserved_tokens)} reserved tokens"
            )
        if not self.suffix_indicator or self.suffix_indicator.split() != [self.suffix_indicator]:
            raise UserError(
                f"--suffix_indicator {self.suffix_indicator!r}: must be characters without blanks, "
                "such as ##"
            )
        for name in (
            "min_count",
            "max_input_tokens",
            "max_token_length",
            "max_unique_chars",
            "num_iterations",
            "upper_thresh",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: must be at least 1")
        if not 0 <= self.held_out_fraction < 1:
            raise UserError(
                f"--held_out_fraction {self.held_out_fraction}: must be at least 0 and below 1"
            )

    def counting_fields(self) -> dict[str, Any]:
        """The fields that decide which words are counted, and how often."""
        return {name: getattr(self, name) for name in _COUNTING}
