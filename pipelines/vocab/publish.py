"""From counted words to a published vocabulary: learn, judge (judge.py), write. Pure arrays, no Beam.

The vocabulary that is written is learned from all documents, or extends a preset's by pieces learned
from them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from pipelines.beam.step_times import timed
from pipelines.errors import UserError
from pipelines.stage import StageRun
from pipelines.text.unknown_words import find_unknown, most_frequent
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import save_vocabulary
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.judge import judging
from pipelines.vocab.learn_pieces import learn_pieces
from pipelines.vocab.word_counts import WordCounts


def publish_preset(old: Vocabulary, run: StageRun) -> None:
    """Publishes the vocabulary of a preset as it is."""
    save_vocabulary(run.config.output, old)
    run.publish({}, _facts(old, run.config, old))


def learn_and_publish(counted: WordCounts, run: StageRun, old: Vocabulary | None) -> None:
    """Learns from counted words, judges and publishes the vocabulary; with ``old``, pieces for it."""
    config: VocabConfig = run.config
    selected = counted.select(config.max_input_tokens, config.min_count)
    if not selected.words:
        raise UserError(
            f"no words to learn from: read {counted.totals.get('documents_in', 0)} documents in "
            f"{', '.join(config.input)}; check --input, --input_format and --text_field"
            + (f", or lower --min_count {config.min_count}" if config.min_count > 1 else "")
        )
    totals = Counter(selected.totals)
    with timed(totals, "learning"), judging(counted, config, old) as judgement:
        learned = learn_pieces(selected.words, selected.counts, config, old)
        judged = judgement()
    if old and learned.reason_smaller:
        raise UserError(
            f"--extend {config.extend}: {learned.reason_smaller}; give at most that, or more --input"
        )
    vocabulary = Vocabulary(tuple(learned.tokens), config.suffix_indicator)
    save_vocabulary(config.output, vocabulary)
    facts = {
        **_facts(vocabulary, config, old),
        "asked_size": config.vocab_size,
        "threshold": learned.threshold,
        "alphabet": len(learned.words.alphabet),
        "alphabet_dropped": len(learned.words.alphabet_dropped),
        "distinct_words_cut": learned.words.words_cut,
        "words_cut": learned.words.occurrences_cut,
        "reason_smaller": learned.reason_smaller,
        "unknown": _find_unknown(vocabulary, counted),
        **judged,
    }
    megabytes = totals["bytes_in"] / 1e6
    run.publish(totals, facts, rates={"megabytes_per_second": megabytes})


def _facts(vocabulary: Vocabulary, config: VocabConfig, old: Vocabulary | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "lowercase": config.lowercase,
        "strip_accents": config.strip_accents,
        "suffix_indicator": config.suffix_indicator,
        "size": vocabulary.size,
        "vocabulary": {"fingerprint": vocabulary.fingerprint, "size": vocabulary.size},
    }
    if old:
        facts["preset"] = {"size": old.size, "fingerprint": old.fingerprint}
        facts["new_pieces"] = config.extend
    return facts


def _find_unknown(vocabulary: Vocabulary, counted: WordCounts) -> dict[str, Any]:
    """The words of all documents that the vocabulary does not know, and the commonest of them."""
    unknown = find_unknown(
        dict(zip(counted.words, counted.counts.tolist(), strict=True)), vocabulary
    )
    number, words = unknown.total(), max(1, int(counted.counts.sum()))
    return {
        "words": number,
        "rate": round(number / words, 6),
        "most_frequent": most_frequent(unknown),
    }
