"""WordPiece with the pre-tokenization of KerasNLP's ``WordPieceTokenizer``: same options, same ids.

It is not BERT's: lower-casing is Unicode case folding, and the default splits and strips differently
(see ``BertTokenizer`` for BERT's own). Pieces are found greedily, longest first (Song et al. 2020).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras.src.saving.serialization_lib import in_safe_mode

from pipelines.errors import UserError
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.wordpiece import WordIds
from trainer.tokenizers.keras_nlp_words import find_words, length_in_bytes
from trainer.tokenizers.tokenizer import Tokenizer


@keras.saving.register_keras_serializable(package="bertmill")
class WordPieceTokenizer(Tokenizer):
    """Splits text into pieces of a vocabulary.

    Args:
        vocabulary: a list of pieces or the path of a file with one a line.
        sequence_length: where given, outputs are dense, cut and padded with 0 to this length.
        lowercase: fold case.
        strip_accents: decompose (NFD) and drop combining marks.
        split: split at white space and around punctuation; else inputs are sequences of words.
        split_on_cjk: also put Chinese characters apart.
        suffix_indicator: what begins a piece that continues a word.
        oov_token: the piece for words that cannot be split; must be in the vocabulary.
        special_tokens: further tokens to keep whole with ``special_tokens_in_strings``.
        special_tokens_in_strings: whether special tokens in the text are recognised.
        dtype: "int32" for ids or "string" for the pieces themselves.
    """

    def __init__(
        self,
        vocabulary: Sequence[str] | str | os.PathLike[str] | None = None,
        sequence_length: int | None = None,
        lowercase: bool = False,
        strip_accents: bool = False,
        split: bool = True,
        split_on_cjk: bool = True,
        suffix_indicator: str = "##",
        oov_token: str = "[UNK]",
        special_tokens: Sequence[str] | None = None,
        special_tokens_in_strings: bool = False,
        dtype: Any = "int32",
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype=dtype, **kwargs)
        if self.compute_dtype != "string" and not str(self.compute_dtype).startswith("int"):
            raise ValueError(f"dtype must be an integer type or 'string', not {dtype!r}")
        if oov_token is None:
            raise ValueError("oov_token must be a piece of the vocabulary, not None")
        self.sequence_length = sequence_length
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self.split = split
        self.split_on_cjk = split_on_cjk
        self.suffix_indicator = suffix_indicator
        self.oov_token = oov_token
        self.special_tokens_in_strings = special_tokens_in_strings
        self._extra_special_tokens = special_tokens
        self._vocabulary: Vocabulary | None
        self._ids_of: Any
        self.set_vocabulary(vocabulary)

    # --- vocabulary

    def set_vocabulary(self, vocabulary: Any) -> None:
        """Uses these pieces.

        Raises:
            UserError: a missing file or special token, a repeated piece, or a path in the
                configuration of a saved model, which could make any file of this machine be read.
        """
        self._vocabulary, self._ids_of = None, None
        if vocabulary is None:
            return
        required = [self.oov_token, *self.special_tokens]
        mark = self.suffix_indicator
        if isinstance(vocabulary, (str, os.PathLike)):
            if in_safe_mode():
                raise UserError(
                    f"{os.fspath(vocabulary)}: a saved model names this vocabulary file outside of "
                    "itself; pass safe_mode=False to load it if you trust who made it"
                )
            self._vocabulary = Vocabulary.load(
                os.fspath(vocabulary), required=required, suffix_indicator=mark, allow_blanks=True
            )
        else:
            source = f"the vocabulary of {type(self).__name__}"
            self._vocabulary = Vocabulary(tuple(vocabulary), mark, source, allow_blanks=True)
            self._vocabulary.require(required)
        known = WordIds(self._vocabulary, self.oov_token, length=length_in_bytes)
        self._ids_of = known.__getitem__  # Keras would make a dict of its own of the dict itself
        self._set_special_token_ids(self._vocabulary.index)

    @property
    def vocabulary(self) -> list[str] | None:
        """The pieces in the order of their ids, or None."""
        return None if self._vocabulary is None else list(self._vocabulary.tokens)

    def loaded_vocabulary(self) -> Vocabulary:
        """The vocabulary; a UserError where none was set."""
        if self._vocabulary is None:
            raise UserError(
                f"{type(self).__name__} has no vocabulary; pass vocabulary= or use from_preset"
            )
        return self._vocabulary

    def get_vocabulary(self) -> list[str]:
        """The pieces in the order of their ids."""
        return list(self.loaded_vocabulary().tokens)

    def vocabulary_size(self) -> int:
        """Number of pieces."""
        return self.loaded_vocabulary().size

    def id_to_token(self, id: int) -> str:
        """The piece of an id; ValueError outside the vocabulary."""
        if not 0 <= id < self.vocabulary_size():
            raise ValueError(f"id {id} is not in [0, {self.vocabulary_size()})")
        return self.loaded_vocabulary().tokens[id]

    def token_to_id(self, token: str) -> int:
        """The id of a piece; ValueError for what is not one."""
        index = self.loaded_vocabulary().index
        if token not in index:
            raise ValueError(f"{token!r} is not in the vocabulary")
        return index[token]

    def save_assets(self, dir_path: str) -> None:
        """Writes ``vocabulary.txt`` (also called by Keras when a model is saved)."""
        Path(dir_path, "vocabulary.txt").write_bytes(self.loaded_vocabulary().as_file())

    def load_assets(self, dir_path: str) -> None:
        """Reads what ``save_assets`` wrote."""
        self.set_vocabulary(os.path.join(dir_path, "vocabulary.txt"))

    # --- text to pieces and back

    def tokenize_texts(self, texts: Sequence[str | bytes]) -> list[list[Any]]:
        vocabulary = self.loaded_vocabulary()
        rows: list[list[Any]] = []
        for text in texts:
            words = find_words(
                decoded(text),
                lowercase=self.lowercase,
                strip_accents=self.strip_accents,
                split=self.split,
                split_on_cjk=self.split_on_cjk,
                marked=self._marked_tokens(),
            )
            ids = [i for word in words for i in self._ids_of(word)]
            rows.append([vocabulary.tokens[i] for i in ids] if self._gives_text else ids)
        return rows

    def _marked_tokens(self) -> tuple[str, ...]:
        """The special tokens to recognise in text."""
        if not (self.split and self.special_tokens_in_strings):
            return ()
        return (*self.special_tokens, *(self._extra_special_tokens or ()))

    def detokenize_ids(self, ids: Sequence[int]) -> str:
        """Words joined by spaces, continuing pieces joined to the piece before them."""
        mark = self.suffix_indicator
        words: list[str] = []
        for i in ids:
            token = self.id_to_token(int(i))
            if words and token.startswith(mark) and token != mark:
                words[-1] += token.removeprefix(mark)
            else:
                words.append(token)
        return " ".join(words)

    def get_config(self) -> dict[str, Any]:
        names = (
            "sequence_length lowercase strip_accents split split_on_cjk suffix_indicator oov_token"
        )
        return super().get_config() | {
            "vocabulary": None,  # saved as an asset
            **{name: getattr(self, name) for name in names.split()},
            "special_tokens": self._extra_special_tokens,
            "special_tokens_in_strings": self.special_tokens_in_strings,
        }


def decoded(text: str | bytes) -> str:
    """Text that UTF-8 can hold: U+FFFD for bytes that are not UTF-8 and for lone surrogates."""
    if isinstance(text, str):
        text = text.encode("utf-8", errors="surrogatepass")
    return text.decode("utf-8", errors="replace")
