"""The options of ``python -m pipelines.vocab``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipelines.corpus_config import CorpusConfig
from pipelines.errors import UserError

# Where the input lies decides nothing about the bytes.
_PLACES = ("input", "output")


@dataclass(frozen=True, kw_only=True)
class VocabConfig(CorpusConfig):
    """Learn a WordPiece vocabulary from documents: vocab.txt and a manifest in --output."""

    output: str
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

    max_input_tokens: int = 5_000_000
    """Distinct words to learn from, the most frequent ones (ties by the word itself)."""

    max_token_length: int = 50
    """Longer words are left out of learning, and counted."""

    max_unique_chars: int = 1000
    """Characters in the alphabet, the most frequent ones; words with others are left out."""

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
        for name in ("max_input_tokens", "max_token_length", "max_unique_chars"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: must be at least 1")

    def deciding_fields(self) -> dict[str, Any]:
        """The fields that decide the bytes of the output."""
        return {name: value for name, value in asdict(self).items() if name not in _PLACES}
