"""Counted words to a vocabulary, by the algorithm that the config names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.text.vocabulary import Vocabulary
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.learn import LearnedVocabulary, check_room, learn_extension, learn_wordpiece
from pipelines.vocab.learn_tf_text import learn_tf_text
from pipelines.vocab.select_words import select_words


def learn_pieces(
    words: list[str],
    counts: NDArray[np.int64],
    config: VocabConfig,
    old: Vocabulary | None = None,
) -> LearnedVocabulary:
    """Runs the algorithm that the config names; with ``old``, learns pieces to extend that."""
    selected = select_words(
        words,
        counts,
        reserved_tokens=config.reserved_tokens,
        max_input_tokens=config.max_input_tokens,
        max_token_length=config.max_token_length,
        max_unique_chars=config.max_unique_chars,
        vocab_size=config.vocab_size,
    )
    if old is not None:
        return learn_extension(selected, old, config.extend, config.num_iterations)
    common: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "reserved_tokens": config.reserved_tokens,
        "num_iterations": config.num_iterations,
    }
    if config.algorithm == "wordpiece":
        mark = config.suffix_indicator
        return learn_wordpiece(selected, suffix_indicator=mark, prune=config.prune, **common)
    fixed = len(config.reserved_tokens) + 2 * len(selected.alphabet)
    check_room(config.vocab_size, fixed, config.reserved_tokens, selected)
    return learn_tf_text(
        selected,
        joiner=config.suffix_indicator,
        upper_thresh=config.upper_thresh,
        lower_thresh=config.lower_thresh,
        slack_ratio=config.slack_ratio,
        **common,
    )
