"""From counted words to a published vocabulary: learn, judge, write. Pure arrays, no Beam.

The vocabulary that is written is learned from all documents, or extends a preset's by pieces learned
from them. What is reported of it (pieces per word,
share of [UNK] words, bytes per token, share of pieces that continue a word) is measured with a second
one, learned in the same way without the held-out sample, and on that sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.stage import StageRun
from pipelines.storage import files
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE
from pipelines.text.wordpiece import WordIds
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.learn import (
    LearnedVocabulary,
    check_room,
    learn_extension,
    learn_wordpiece,
)
from pipelines.vocab.learn_tf_text import learn_tf_text
from pipelines.vocab.select_words import select_words
from pipelines.vocab.word_counts import WordCounts


def publish_preset(old: Vocabulary, run: StageRun) -> None:
    """Publishes the vocabulary of a preset as it is."""
    _write(old.tokens, run)
    run.publish({}, _facts(old.tokens, run.config, old))


def learn_and_publish(counted: WordCounts, run: StageRun, old: Vocabulary | None = None) -> None:
    """Learns from counted words, judges and publishes the vocabulary; with ``old``, pieces for it."""
    config: VocabConfig = run.config
    selected = counted.select(config.max_input_tokens, config.min_count)
    if not selected.words:
        raise UserError(
            f"no words to learn from: read {counted.totals.get('documents_in', 0)} documents in "
            f"{', '.join(config.input)}; check --input, --input_format and --text_field"
            + (f", or lower --min_count {config.min_count}" if config.min_count > 1 else "")
        )
    # The second learner, for judging, runs beside the first: both are array operations.
    with ThreadPoolExecutor(1) as beside:
        judging = beside.submit(_judge, counted, selected, config, old)
        learned = learn_pieces(selected.words, selected.counts, config, old)
        judged = judging.result()
    if old and learned.reason_smaller:
        raise UserError(
            f"--extend {config.extend}: {learned.reason_smaller}; give at most that, or more --input"
        )
    _write(learned.tokens, run)
    facts = {
        **_facts(learned.tokens, config, old),
        "asked_size": config.vocab_size,
        "threshold": learned.threshold,
        "alphabet": len(learned.words.alphabet),
        "alphabet_dropped": len(learned.words.alphabet_dropped),
        "distinct_words_cut": learned.words.words_cut,
        "words_cut": learned.words.occurrences_cut,
        "reason_smaller": learned.reason_smaller,
        **judged,
    }
    megabytes = selected.totals["bytes_in"] / 1e6
    run.publish(selected.totals, facts, rates={"megabytes_per_second": megabytes})


def _write(tokens: Sequence[str], run: StageRun) -> None:
    files.publish_bytes(files.join(run.config.output, VOCABULARY_FILE), _content(tokens))


def _content(tokens: Sequence[str]) -> bytes:
    return "\n".join([*tokens, ""]).encode()


def _facts(tokens: Sequence[str], config: VocabConfig, old: Vocabulary | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "lowercase": config.lowercase,
        "strip_accents": config.strip_accents,
        "suffix_indicator": config.suffix_indicator,
        "size": len(tokens),
        "vocabulary": {
            "fingerprint": hashlib.sha256(_content(tokens)).hexdigest(),
            "size": len(tokens),
        },
    }
    if old:
        facts["preset"] = {"size": old.size, "fingerprint": old.fingerprint}
        facts["new_pieces"] = config.extend
    return facts


def _judge(
    counted: WordCounts, selected: WordCounts, config: VocabConfig, old: Vocabulary | None
) -> dict[str, Any]:
    """Learns without the held-out sample and measures on it; None where nothing is held out. With
    ``old``, how that alone does stands beside it."""
    learning = selected.counts - selected.held_out
    rest, sampled = np.flatnonzero(learning), np.flatnonzero(counted.held_out)
    if not len(rest) or not len(sampled):
        return {"held_out": None}
    words = [selected.words[i] for i in rest.tolist()]
    learned = learn_pieces(words, learning[rest], config, old)
    vocabulary = Vocabulary(tuple(learned.tokens), config.suffix_indicator)
    before = {"held_out_before": _measure(old, counted)} if old and config.extend else {}
    return {**before, "held_out": _measure(vocabulary, counted)}


def _measure(vocabulary: Vocabulary, counted: WordCounts) -> dict[str, Any]:
    """How a vocabulary splits the words of the held-out sample."""
    sampled = np.flatnonzero(counted.held_out)
    ids = WordIds(vocabulary)
    splits = [ids[counted.words[i]] for i in sampled.tolist()]
    counts = counted.held_out[sampled]
    lengths = np.fromiter(map(len, splits), np.int64, len(splits))
    is_unknown = np.fromiter((vocabulary.unk_id in split for split in splits), bool, len(splits))
    pieces, words = int((lengths * counts).sum()), int(counts.sum())
    return {
        "words": words,
        "pieces_per_word": round(pieces / words, 4),
        "unknown_rate": round(int(counts[is_unknown].sum()) / words, 6),
        "bytes_per_token": round(counted.totals["bytes_held_out"] / pieces, 4),
        "continued_share": round((pieces - words) / pieces, 4),
    }


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
