"""A WordPiece vocabulary from a dataset or text files, with KerasHub's function's name and result.

Words are those of ``WordPieceTokenizer``, and learned from by ``learn_tf_text``, which gives the same
list some hundred times faster. For a vocabulary that fits BERT's own splitting, and needs fewer
pieces, see ``python -m pipelines.vocab``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import numpy as np

from pipelines.vocab.learn_tf_text import learn_tf_text
from pipelines.vocab.select_words import select_words
from trainer.tokenizers.keras_nlp_words import find_words

# So many lines of text files are split at a time.
_LINES = 1024
_CACHED_STRINGS = 100_000


def compute_word_piece_vocabulary(
    data: Any,
    vocabulary_size: int,
    vocabulary_output_file: str | None = None,
    lowercase: bool = False,
    strip_accents: bool = False,
    split: bool = True,
    split_on_cjk: bool = True,
    suffix_indicator: str = "##",
    reserved_tokens: Sequence[str] = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"),
) -> list[str] | None:
    """Learns what ``keras_hub.tokenizers.compute_word_piece_vocabulary`` learns.

    ``data``: a ``tf.data.Dataset`` of strings (scalar, dense or ragged), or a list of paths of
    UTF-8 text files; ``split=False`` takes every string of the dataset for a whole word. The list
    has at most ``vocabulary_size`` entries, ``reserved_tokens`` first. With
    ``vocabulary_output_file`` it is written there, one a line, and nothing is returned.

    Raises ValueError for other data, for files with ``split=False``, for elements that are not
    strings, and where there are no words.
    """
    import tensorflow as tf

    if isinstance(data, list):
        if not split:
            raise ValueError(
                "data is a list of files, which split=False cannot be used with: make a "
                "tf.data.Dataset of words from them and pass that"
            )
        data = tf.data.TextLineDataset([str(path) for path in data]).batch(_LINES)
    elif not isinstance(data, tf.data.Dataset):
        raise ValueError(f"data must be a tf.data.Dataset or a list of paths, not {type(data)}")

    words_of = lru_cache(_CACHED_STRINGS)(
        partial(
            find_words,
            lowercase=lowercase,
            strip_accents=strip_accents,
            split=split,
            split_on_cjk=split_on_cjk,
        )
    )
    counts: Counter[str] = Counter()
    for element in data:
        if element.dtype != tf.string:
            raise ValueError(f"the elements of data must be strings, not {element.dtype}")
        texts = np.ravel(getattr(element, "flat_values", element).numpy()).tolist()
        strings = [text.decode() for text in texts]
        if split:
            # Most strings between spaces come again: each is split once.
            strings = " ".join(strings).split(" ")
        counts.update(chain.from_iterable(map(words_of, strings)))
    if not counts:
        raise ValueError("no words to learn from: data is empty")
    selected = select_words(
        list(counts),
        np.fromiter(counts.values(), np.int64),
        reserved_tokens=reserved_tokens,
    )
    learned = learn_tf_text(
        selected,
        vocab_size=vocabulary_size,
        reserved_tokens=reserved_tokens,
        joiner=suffix_indicator,
    )
    vocabulary = learned.tokens[:vocabulary_size]
    if vocabulary_output_file is None:
        return vocabulary
    with open(vocabulary_output_file, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{token}\n" for token in vocabulary)
    return None
