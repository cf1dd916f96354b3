"""The steps of ``pipelines.vocab`` for ``tests.benchmarks.scale``: see scale_steps.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipelines.documents.blocks import BLOCK_BYTES, make_block
from pipelines.stage import Report
from pipelines.vocab import count_words
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.learn_pieces import learn_pieces
from pipelines.vocab.word_tables import cut_by_word, pack
from tests.benchmarks.scale_steps import Size, Step, count_elements

_VOCAB = VocabConfig(input=("x",), output="x")


def count_in_a_worker(size: Size) -> Step:
    """Words of text drawn log-uniformly from all distinct ones, until a worker hands its counts on."""
    step = count_words._CountWords(_VOCAB, size.partitions)
    random = np.random.default_rng(0)
    yield 0
    step.start_bundle()
    sent = 0
    while not sent:
        ranks = np.exp(random.random(BLOCK_BYTES // 8) * np.log(size.distinct_words))
        text = " ".join([f"w{rank:x}" for rank in ranks.astype(np.int64).tolist()])
        sent = count_elements(step.process(make_block([text.encode()])))
    yield 0


def add_a_partition(size: Size) -> Step:
    """The words of a partition, each in five of the tables that come from workers."""
    words = size.distinct_words // size.partitions
    each = max(1, count_words._FLUSH_WORDS // size.partitions)
    yield 0
    random, arrived = np.random.default_rng(0), 0

    def tables() -> Iterator[bytes]:
        nonlocal arrived
        for _ in range(5 * words // each):
            counted = Counter({b"word%x" % i: 1 for i in random.integers(0, words, each).tolist()})
            ((_, packed),) = cut_by_word(counted, Counter(), 1)
            arrived += len(packed)
            yield packed

    count_elements(count_words._KeepFrequent(_VOCAB, add=True).process((0, tables())))
    yield arrived


def merge_frequent(size: Size) -> Step:
    """What comes together as tables are merged that are cut to the words to learn from."""
    tables = [*map(_frequent, range(count_words._MERGED))]
    yield 0
    count_elements(count_words._KeepFrequent(_VOCAB, add=False).process((0, tables)))
    yield sum(map(len, tables))


def gather_frequent(size: Size) -> Step:
    """The last step: the same, and words as text."""
    tables = [*map(_frequent, range(count_words._MERGED))]
    totals = Counter(words_in=len(tables) * _FREQUENT_COUNTS)
    yield 0
    counted = count_words.gather_counts([*tables, Report(totals)], 0, _VOCAB)
    assert len(counted.words) >= _VOCAB.max_input_tokens
    yield sum(map(len, tables))


def learn(size: Size) -> Step:
    """The pieces of as many words as are learned from."""
    counted = count_words.gather_counts(
        [_frequent(0), Report(Counter(words_in=_FREQUENT_COUNTS))], 0, _VOCAB
    )
    selected = counted.select(_VOCAB.max_input_tokens, 1)
    yield 0
    learn_pieces(selected.words, selected.counts, _VOCAB)
    yield 0


# Words of one table before it is cut again, with those of the sample that are rare elsewhere.
_FREQUENT = int(1.2 * _VOCAB.max_input_tokens)
_COUNTS = 1 + np.arange(1, _FREQUENT + 1)[::-1] // 1000
_FREQUENT_COUNTS = int(_COUNTS.sum())


def _frequent(number: int) -> bytes:
    """A packed table of words of 9 letters, which tables of other numbers do not have."""
    places = np.arange(_FREQUENT)[:, None] * 7919 % 26**6 // 26 ** np.arange(6) % 26
    tail = np.full((_FREQUENT, 3), number)
    data = (np.concatenate([places, tail], 1) + ord("a")).astype(np.uint8).tobytes()
    words = pa.Array.from_buffers(
        pa.large_binary(),
        _FREQUENT,
        [None, pa.py_buffer(np.arange(_FREQUENT + 1) * 9), pa.py_buffer(data)],
    )
    held_out = np.where(np.arange(_FREQUENT) % 10 == 0, _COUNTS // 100 + 1, 0)
    numbers = [pa.py_buffer(_COUNTS), pa.py_buffer(np.minimum(held_out, _COUNTS))]
    columns = [pa.Array.from_buffers(pa.int64(), _FREQUENT, [None, n]) for n in numbers]
    return pack(pa.table([words, *columns], ["word", "count", "held_out"]))
