"""What every tokenizer has: text -> ids and back, special tokens, presets.

A subclass implements ``tokenize_texts``; containers (Python, numpy, eager tensors, ``tf.data``) are
handled here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.layers.preprocessing_layer import PreprocessingLayer, map_rows, sequences_of
from trainer.presets.builtin import BUILTIN_PRESETS


class Tokenizer(PreprocessingLayer):
    """Base class; ``Tokenizer.from_preset`` infers the class from the preset."""

    presets = BUILTIN_PRESETS
    _special_tokens: Mapping[str, str] = {}  # attribute to token; instances have their own
    sequence_length: int | None = None
    split = True  # False: a row is a sequence of words, not a text

    def tokenize_texts(self, texts: Sequence[str | bytes]) -> list[list[Any]]:
        """The ids (or tokens) of each text."""
        raise NotImplementedError

    def detokenize_ids(self, ids: Sequence[int]) -> str:
        """The text of one sequence of ids."""
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        return self.tokenize(inputs)

    def tokenize(self, inputs: Any) -> Any:
        """Tokenizes a string or a batch of strings; with ``split=False`` a sequence of words (or
        one word) or a batch of them.

        Returns:
            For one row, an int32 vector. For a batch, a list of lists, or int32[batch,
            sequence_length] where ``sequence_length`` is set. With ``dtype="string"`` lists of str.
            In ``tf.data``: a tensor, or a ragged tensor for a batch.
        """
        length = self.sequence_length
        shape = None if length is None else (None, length)
        dtype = "string" if self._gives_text else "int32"
        (ids,) = map_rows(self._tokenize, (inputs,), [(dtype, shape)], texts=self.split)
        return ids

    def _tokenize(self, inputs: Sequence[Any]) -> list[Any]:
        if self.split:
            rows = self.tokenize_texts(inputs)
        else:
            rows = [list(chain.from_iterable(self.tokenize_texts(words))) for words in inputs]
        return [rows if self.sequence_length is None else self._dense(rows)]

    def detokenize(self, inputs: Any) -> Any:
        """The text of a sequence of ids, or the texts of a batch; not always the original text."""
        rows, batched = sequences_of(inputs)
        texts = [self.detokenize_ids(row) for row in rows]
        return texts if batched else texts[0]

    @property
    def _gives_text(self) -> bool:
        return self.compute_dtype == "string"

    def _dense(self, rows: list[list[Any]]) -> NDArray:
        assert self.sequence_length is not None
        dtype = np.dtype(object) if self._gives_text else np.dtype(np.int32)
        dense = np.full((len(rows), self.sequence_length), "" if self._gives_text else 0, dtype)
        for r, row in enumerate(rows):
            row = row[: self.sequence_length]
            dense[r, : len(row)] = row
        return dense.astype(np.str_) if self._gives_text else dense

    # --- special tokens: KerasNLP gives each an attribute for the token and one for its id

    def _add_special_token(self, token: str, name: str) -> None:
        self._special_tokens = {**self._special_tokens, name: token}
        setattr(self, name, token)
        setattr(self, f"{name}_id", None)

    def _set_special_token_ids(self, index: dict[str, int]) -> None:
        for name, token in self._special_tokens.items():
            setattr(self, f"{name}_id", index[token])

    @property
    def special_tokens(self) -> list[str]:
        """The special tokens, each once."""
        return list(dict.fromkeys(self._special_tokens.values()))

    @property
    def special_token_ids(self) -> list[int]:
        """The special tokens' ids, each once."""
        ids = [getattr(self, f"{name}_id") for name in self._special_tokens]
        return list(dict.fromkeys(ids))

    # --- presets

    @classmethod
    def from_preset(cls, preset: str, **kwargs: Any) -> Any:
        """Loads a tokenizer from a built-in name, ``kaggle://``, ``hf://`` or a directory.

        Raises:
            UserError: unknown name, missing file, or another kind of tokenizer in it.
        """
        from trainer.presets.load import load_tokenizer

        return load_tokenizer(cls, preset, **kwargs)

    def save_to_preset(self, preset_dir: str) -> None:
        """Writes ``tokenizer.json`` and ``assets/tokenizer/vocabulary.txt`` into ``preset_dir``."""
        from trainer.presets.save import save_tokenizer

        save_tokenizer(self, preset_dir)
