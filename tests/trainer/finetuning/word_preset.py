"""A small model over eight words, and texts of them: what fine-tuning is tried on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.records.ragged import Ragged, offsets_of
from pipelines.text.vocabulary import SPECIAL_TOKENS

WORDS = ["fine", "poor", "the", "film", "was", "and", "song", "it"]
START, END, WIDTH = 2, 3, 16


def a_backbone(length: int, vocabulary_size: int = len(SPECIAL_TOKENS) + len(WORDS)) -> Any:
    """One layer, of at most ``length`` tokens."""
    from trainer.models.bert_backbone import BertBackbone

    return BertBackbone(
        vocabulary_size=vocabulary_size,
        num_layers=1,
        num_heads=2,
        hidden_dim=WIDTH,
        intermediate_dim=32,
        max_sequence_length=length,
    )


def a_classifier(length: int) -> Any:
    """Of two classes, for the ids of ``texts_of``."""
    from trainer.models.bert_text_classifier import BertTextClassifier

    return BertTextClassifier(a_backbone(length, vocabulary_size=60), num_classes=2)


def save_word_preset(folder: Path, length: int) -> str:
    """The preset in ``folder``/preset."""
    import keras

    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    keras.utils.set_random_seed(0)
    preset = str(folder / "preset")
    a_backbone(length).save_to_preset(preset)
    BertTokenizer([*SPECIAL_TOKENS, *WORDS], lowercase=True).save_to_preset(preset)
    return preset


def texts_of(*lengths: int) -> Ragged:
    """Texts [CLS] … [SEP] with so many ids between them, all different."""
    ids = [[START, *range(10 * i + 10, 10 * i + 10 + n), END] for i, n in enumerate(lengths)]
    return Ragged(np.concatenate(ids), offsets_of(np.array(lengths) + 2))
