"""The options of ``python -m pipelines.vocab``."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from pipelines.command.options import CHOOSE, deciding_fields, option
from pipelines.documents.config import KEPT, READING, CorpusConfig
from pipelines.errors import UserError
from pipelines.text.extended_vocabulary import extended_size
from pipelines.text.vocabulary import SPECIAL_TOKENS
from pipelines.text.vocabulary_source import VocabularySource
from pipelines.vocab.select_words import FEWEST_CHARACTERS

# What stands under READING, KEPT and WORDS decides how words are counted, see ``counting_fields``.
PRESET = "going on from a published model"
WORDS, LEARNING, TF_TEXT = "which words count", "learning pieces", "with --algorithm tf_text"
_NOT_WITH_PRESET = ("vocab_size", "algorithm", "reserved_tokens", "suffix_indicator", "prune")
_AT_LEAST_ONE = (
    *("min_count", "max_input_tokens", "max_token_length", "max_unique_chars"),
    *("num_iterations", "upper_thresh"),
)


@dataclass(frozen=True, kw_only=True)
class VocabConfig(CorpusConfig):
    """Learn a WordPiece vocabulary from documents: vocab.txt and a manifest in --output.

    Example: --input corpus/*.txt --output runs/vocab --vocab_size 16000
    """

    input: tuple[str, ...] = option((), group=CHOOSE, decides=False, metavar="FILE")
    """Files, folders or glob patterns, local or on any filesystem of fsspec (gs://, s3:// …);
    .gz, .bz2 and .zst are decompressed. Required unless --from_preset alone is wanted."""

    output: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """The folder to write (local or gs://…)."""

    vocab_size: int = option(30522, group=CHOOSE)
    """Entries in the vocabulary, reserved tokens included. 8,000 to 16,000 suit corpora below some
    100 MB and small models; 30,522 is BERT's."""

    from_preset: str | None = option(None, group=PRESET, decides=False, metavar="DIR")
    """A folder of a KerasHub or Hugging Face preset, whose vocabulary is taken instead of learned: what
    trainer.pretrain --initial_preset needs. With --input it is judged by those documents."""

    extend: int = option(0, group=PRESET, decides="unless default", metavar="N")
    """Pieces to add to the preset's, those that shorten the words of --input most: in the slots that it
    leaves unused, then behind its end. All others keep their ids."""

    algorithm: Literal["wordpiece", "tf_text"] = option("wordpiece", group=LEARNING)
    """wordpiece: exactly vocab_size entries, fewest pieces per word; tf_text: tensorflow_text's
    reference learner, entry for entry."""

    lowercase: bool | None = option(None, group=WORDS)
    """Fold case before counting words (default: true, or the preset's); false where case tells names
    or nouns apart. Later stages follow the vocabulary."""

    strip_accents: bool | None = option(None, group=WORDS)
    """Remove accents before counting words (default: the same as lowercase, or the preset's); false for
    most languages but English: docs/languages.md."""

    reserved_tokens: tuple[str, ...] = option(SPECIAL_TOKENS, group=LEARNING, metavar="TOKEN")
    """Entries that stand first, in this order; later stages need the five of the default."""

    suffix_indicator: str = option("##", group=LEARNING, metavar="MARK")
    """Marks a piece that continues a word; ## is what BERT and all later stages expect."""

    word_counts: str | None = option(None, group=WORDS, decides=False, metavar="FILE")
    """A file to keep the counted words in. Where it exists they are read from it instead of being
    counted again: to try another vocabulary size or algorithm."""

    held_out_fraction: float = option(0.01, group=WORDS, metavar="RATE")
    """Share of the documents on which the vocabulary is judged in the manifest: with one learned
    without them, while the one that is written is learned from all; 0: not judged."""

    min_count: int = option(1, group=WORDS)
    """Words that occur fewer times are left out of learning, and counted; raise it for noisy text."""

    max_input_tokens: int = option(5_000_000, group=WORDS)
    """Distinct words to learn from, the most frequent ones (ties by the word itself)."""

    max_token_length: int = option(50, group=LEARNING)
    """Words of more characters are left out of learning, and counted; URLs and the like."""

    max_unique_chars: int | None = option(None, group=LEARNING, metavar="N")
    """Characters in the alphabet, the most frequent ones; words with others are left out, and are
    [UNK] later. Default: as many as cover 99.99 % of the text, at least 1,000, and of more what takes
    half of vocab_size; with tf_text 1,000."""

    num_iterations: int = option(4, group=LEARNING)
    """Rounds of splitting the words by the pieces kept so far and counting again; more than the
    default rarely change anything."""

    upper_thresh: int | None = option(10_000_000, group=TF_TEXT)
    """No higher count is ever asked of a piece."""

    lower_thresh: int | None = option(10, group=TF_TEXT)
    """No lower count is ever asked of a piece."""

    slack_ratio: float = option(0.05, group=TF_TEXT, metavar="RATE")
    """By which share of vocab_size the vocabulary may be smaller."""

    prune: bool = option(True, group=LEARNING)
    """wordpiece only: of three times the pieces wanted keep those that shorten the words most;
    without it, those with the highest counts, as the published algorithm does."""

    def check(self) -> None:
        """Raises UserError for values that cannot work."""
        if self.extend < 0 or (self.extend and not self.from_preset):
            raise UserError(
                f"--extend {self.extend}: a number of pieces to add to the vocabulary of --from_preset"
            )
        if not self.input and (self.extend or not self.from_preset):
            raise UserError("--input: name the documents to learn from")
        for field in fields(self):
            value = getattr(self, field.name)
            if self.from_preset and field.name in _NOT_WITH_PRESET and value != field.default:
                raise UserError(
                    f"--{field.name} {value}: --from_preset brings a vocabulary of its own; leave one "
                    "of them out"
                )
        repeated = sorted({t for t in self.reserved_tokens if self.reserved_tokens.count(t) > 1})
        if repeated:
            raise UserError(f"--reserved_tokens: {', '.join(repeated)} named twice; name each once")
        for token in SPECIAL_TOKENS:
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
        for name in _AT_LEAST_ONE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: must be at least 1")
        if not 0 <= self.held_out_fraction < 1:
            raise UserError(
                f"--held_out_fraction {self.held_out_fraction}: must be at least 0 and below 1"
            )

    def resolve(self, preset: VocabularySource | None) -> VocabConfig:
        """The config with what its defaults stand for; ``preset``: the vocabulary of --from_preset.

        Raises UserError for what contradicts that.
        """
        lowercase, strip_accents = self.lowercase, self.strip_accents
        if preset is None:
            lowercase = True if lowercase is None else lowercase
            strip_accents = lowercase if strip_accents is None else strip_accents
            unique = self.max_unique_chars
            if unique is None and self.algorithm == "tf_text":
                unique = FEWEST_CHARACTERS
            return replace(
                self,
                lowercase=lowercase,
                strip_accents=strip_accents,
                max_unique_chars=unique,
            )
        for name in ("lowercase", "strip_accents"):
            asked, has = getattr(self, name), getattr(preset, name)
            if asked not in (None, has):
                raise UserError(
                    f"--{name} {str(asked).lower()}: the vocabulary of {self.from_preset} has "
                    f"{str(has).lower()}; leave it out"
                )
        return replace(
            self,
            lowercase=preset.lowercase,
            strip_accents=preset.strip_accents,
            vocab_size=extended_size(preset.vocabulary, self.extend),
        )

    def counting_fields(self) -> dict[str, Any]:
        """The fields that decide which words are counted, and how often."""
        groups = {field.name: field.metadata.get("group") for field in fields(self)}
        deciding = deciding_fields(self).items()
        return {name: value for name, value in deciding if groups[name] in (READING, KEPT, WORDS)}
