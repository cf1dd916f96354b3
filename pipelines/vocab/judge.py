"""Judges how well a vocabulary does on text that it was not learned from.

What is reported of a vocabulary (pieces per word, share of [UNK] words, bytes per token, share of pieces
that continue a word) is measured with a second one, learned in the same way without the held-out sample,
and on that sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from pipelines.child_process import answer_question, ask, read_answer, start_child
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.wordpiece import WordIds
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.learn_pieces import learn_pieces
from pipelines.vocab.word_counts import WordCounts

# From so many distinct words on, learning takes longer than a process to start.
_WORTH_A_PROCESS = 50_000


@contextmanager
def judging(
    counted: WordCounts, config: VocabConfig, old: Vocabulary | None
) -> Iterator[Callable[[], dict[str, Any]]]:
    """Judges in the background; what it gives is called for the result, and raises what judging raised.

    In a process of its own: the learner holds Python's lock most of the time.
    """
    if len(counted.words) < _WORTH_A_PROCESS or not counted.held_out.any():
        yield lambda: judge(counted, config, old)
        return
    child = start_child(__name__)

    def judged() -> dict[str, Any]:
        try:
            return cast(dict[str, Any], read_answer(child))
        except EOFError:
            raise RuntimeError(
                f"the process that judges the vocabulary ended with status {child.wait()}"
            ) from None

    with child:
        try:
            ask(child, counted, config, old)
            yield judged
        finally:
            child.kill()


def judge(counted: WordCounts, config: VocabConfig, old: Vocabulary | None) -> dict[str, Any]:
    """Learns without the held-out sample and measures on it; None where nothing is held out. With
    ``old``, how that alone does stands beside it."""
    selected = counted.select(config.max_input_tokens, config.min_count)
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


if __name__ == "__main__":
    answer_question(judge)
