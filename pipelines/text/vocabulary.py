"""A WordPiece vocabulary: the pieces in the order of their ids, as a ``vocab.txt`` holds them.

One piece a line, id = line number - 1. Lines end at "\\n" alone (a "\\r" before it is dropped),
because BERT's Chinese vocabulary has the piece U+2028, which other notions of a line break. The ids
read here are those that google-research/bert and Hugging Face read from the same file; a file that
would leave a piece without an id of its own (blank or repeated lines, blanks around a piece) is
refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.storage import files

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_MOST_BYTES = 256 << 20
BLANKS = " \t\n\r\v\f"  # not all that str.strip takes: BERT's Chinese one has the piece U+2028


@dataclass(frozen=True)
class Vocabulary:
    """Pieces and their ids; immutable, hashable and picklable.

    Attributes:
      tokens: the pieces; a piece's id is its index.
      suffix_indicator: what begins a piece that continues a word ("##" in BERT's vocabularies).
      source: where the pieces came from, for messages.
      allow_blanks: pieces may begin or end with blanks, or be one. Who reads vocab.txt strips its
        lines, so such a piece is not BERT's; KerasNLP's learner makes some nevertheless ("##" and a
        blank, from "´").
    """

    tokens: tuple[str, ...]
    suffix_indicator: str = "##"
    source: str = "the vocabulary"
    allow_blanks: bool = False

    def __post_init__(self) -> None:
        seen: dict[str, int] = {}
        for line, token in enumerate(self.tokens, 1):
            bare = token.strip(BLANKS)
            if not token or (token != bare and not self.allow_blanks):
                what = f"{token!r} has blanks around it" if bare else "no piece here"
                raise UserError(f"{self.source}, line {line}: {what}; write one piece on each line")
            first = seen.setdefault(token, line)
            if first != line:
                raise UserError(
                    f"{self.source}, line {line}: {token!r} is already on line {first}; "
                    "a piece can have only one id, so remove one of the two"
                )
        if not seen:
            raise UserError(f"{self.source}: no pieces in it; give a vocab.txt with one a line")

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[tuple[str, ...], str, str, bool]]:
        return Vocabulary, (self.tokens, self.suffix_indicator, self.source, self.allow_blanks)

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> Vocabulary:
        """Reads a vocab.txt, local or remote; ``options`` as for ``parse``.

        Raises:
          UserError: the file is missing or cannot be read, or as ``parse`` does.
        """
        try:
            content = files.read_bytes(str(path), _MOST_BYTES)
        except FileNotFoundError:
            raise UserError(
                f"{path}: no such file; give a vocab.txt or the output of pipelines.vocab"
            ) from None
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror or error}); give a vocab.txt"
            ) from None
        return cls.parse(content, source=str(path), **options)

    @classmethod
    def parse(
        cls,
        content: bytes,
        *,
        source: str,
        required: Iterable[str] = SPECIAL_TOKENS,
        suffix_indicator: str = "##",
        allow_blanks: bool = False,
    ) -> Vocabulary:
        """The vocabulary in the bytes of a vocab.txt; ``source`` names them in messages.

        Raises:
          UserError: the content is not UTF-8, is empty, repeats a piece, has a blank line or lacks
            a piece of ``required``. The message names the source and the line.
        """
        tokens = tuple(read_lines(content, source))
        vocabulary = cls(tokens, suffix_indicator, source, allow_blanks)
        vocabulary.require(required)
        return vocabulary

    def require(self, tokens: Iterable[str]) -> None:
        """Raises UserError unless all of these are pieces."""
        missing = [token for token in tokens if token not in self.index]
        if missing:
            raise UserError(
                f"{self.source}: {', '.join(missing)} not among its {self.size:,} pieces; "
                f"add {'it' if len(missing) == 1 else 'them'} or give BERT's vocab.txt"
            )

    @property
    def size(self) -> int:
        """Number of pieces."""
        return len(self.tokens)

    @cached_property
    def index(self) -> dict[str, int]:
        """The id of every piece."""
        return {token: i for i, token in enumerate(self.tokens)}

    @cached_property
    def longest(self) -> int:
        """Characters of the longest piece, its suffix indicator included."""
        return max(map(len, self.tokens))

    @cached_property
    def is_continuation(self) -> NDArray[np.bool_]:
        """bool[size]: which pieces continue a word, that is, begin with the suffix indicator."""
        mark = self.suffix_indicator
        mask = np.array([t.startswith(mark) and t != mark for t in self.tokens], np.bool_)
        mask.setflags(write=False)
        return mask

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the pieces, each with a "\\n": that of the file as usually written."""
        return hashlib.sha256(self.as_file()).hexdigest()

    def as_file(self) -> bytes:
        """The content of its vocab.txt."""
        return "".join(f"{token}\n" for token in self.tokens).encode()

    @property
    def pad_id(self) -> int:
        """Id of [PAD]."""
        return self.id_of(PAD)

    @property
    def unk_id(self) -> int:
        """Id of [UNK]."""
        return self.id_of(UNK)

    @property
    def cls_id(self) -> int:
        """Id of [CLS]."""
        return self.id_of(CLS)

    @property
    def sep_id(self) -> int:
        """Id of [SEP]."""
        return self.id_of(SEP)

    @property
    def mask_id(self) -> int:
        """Id of [MASK]."""
        return self.id_of(MASK)

    def id_of(self, token: str) -> int:
        """The id of a piece. Raises UserError where the vocabulary does not have it."""
        self.require([token])
        return self.index[token]

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> list[str]:
        """The pieces of the ids, for people to read. Raises IndexError for an id out of range."""
        wrong = [i for i in map(int, ids) if not 0 <= i < self.size]
        if wrong:
            raise IndexError(f"id {wrong[0]} is not in [0, {self.size:,})")
        return [self.tokens[i] for i in map(int, ids)]


def read_lines(content: bytes, source: str) -> list[str]:
    """The lines of a vocab.txt. Raises UserError, which names ``source``, for other than UTF-8."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{source}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; "
            "save the file as UTF-8"
        ) from None
    lines = text.removeprefix("\ufeff").split("\n")
    if not lines[-1]:
        lines.pop()  # what follows the last line's end is not a line
    return [line.removesuffix("\r") for line in lines]
