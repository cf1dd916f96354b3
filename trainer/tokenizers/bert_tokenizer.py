"""BERT's tokenizer: the ids that the pipelines write, so that what was trained is what is served.

The pipelines' ``Encoder`` does the work; here are special tokens within text, and KerasNLP's API.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras

from pipelines.tokenize.encode import Encoder
from trainer.models.bert_backbone import BertBackbone
from trainer.tokenizers.keras_nlp_words import split_at_tokens
from trainer.tokenizers.word_piece_tokenizer import WordPieceTokenizer, decoded


@keras.saving.register_keras_serializable(package="bertmill")
class BertTokenizer(WordPieceTokenizer):
    """Tokenizes as BERT does, without adding special tokens.

    Args:
        vocabulary: a list of pieces or the path of a file with one a line; must hold [UNK], [CLS],
            [SEP], [PAD] and [MASK].
        lowercase: the vocabulary is uncased.
        strip_accents: remove accents; as ``lowercase`` where None, like BERT.
        kwargs: ``sequence_length``, ``special_tokens_in_strings`` (whether "[MASK]" and so on in
            the text are recognised), ``dtype``, ``name``, … as in ``WordPieceTokenizer``.

    Has ``cls_token``, ``sep_token``, ``pad_token``, ``mask_token``, ``start_token`` and
    ``end_token``, and their ids as ``cls_token_id`` and so on.
    """

    backbone_cls = BertBackbone

    def __init__(
        self,
        vocabulary: Sequence[str] | str | os.PathLike[str] | None = None,
        lowercase: bool = False,
        strip_accents: bool | None = None,
        **kwargs: Any,
    ) -> None:
        for name in ("cls", "sep", "pad", "mask"):
            self._add_special_token(f"[{name.upper()}]", f"{name}_token")
        self._add_special_token("[CLS]", "start_token")
        self._add_special_token("[SEP]", "end_token")
        super().__init__(
            vocabulary=vocabulary,
            lowercase=lowercase,
            strip_accents=lowercase if strip_accents is None else strip_accents,
            **kwargs,
        )
        if not self.split or not self.split_on_cjk or self.oov_token != "[UNK]":
            raise ValueError(
                "BertTokenizer always splits text as BERT does and its unknown token is [UNK]; "
                "use WordPieceTokenizer for other rules"
            )

    def set_vocabulary(self, vocabulary: Any) -> None:
        super().set_vocabulary(vocabulary)
        self._encoder = None
        if self._vocabulary is not None:
            self._encoder = Encoder(self._vocabulary, self.lowercase, self.strip_accents)

    def tokenize_texts(self, texts: Sequence[str | bytes]) -> list[list[Any]]:
        vocabulary = self.loaded_vocabulary()
        marked = self._marked_tokens()
        strings = [decoded(text) for text in texts]
        rows = [self._ids_around(text, marked) for text in strings] if marked else None
        rows = self._ids(strings) if rows is None else rows
        if self._gives_text:
            return [[vocabulary.tokens[i] for i in row] for row in rows]
        return rows

    def _ids(self, texts: list[str]) -> list[list[int]]:
        assert self._encoder is not None
        ids, offsets = self._encoder.encode(texts)
        values, bounds = ids.tolist(), offsets.tolist()
        return [values[i:j] for i, j in zip(bounds, bounds[1:], strict=False)]

    def _ids_around(self, text: str, marked: tuple[str, ...]) -> list[int]:
        """Ids of a text in which the tokens ``marked`` stand for themselves."""
        id_of = self.loaded_vocabulary().id_of
        parts = split_at_tokens(text, marked)
        between = iter(self._ids([part for part in parts if part not in marked]))
        return [i for part in parts for i in ([id_of(part)] if part in marked else next(between))]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["split_on_cjk"]
        return config
