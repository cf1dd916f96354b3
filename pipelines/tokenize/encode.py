"""Documents to BERT ids: TensorFlow Text's kernel where it is exact, the plain path for the rest.

The kernel's own normalisation is not BERT's, so blocks are normalised here first and the kernel, in
its cased mode, only splits and looks up. Characters that it still classes otherwise than BERT are
found by asking it about every code point when it is built; a word that holds one, or that is too
long, is cut out of the text, encoded exactly, and put back in its place. Without TensorFlow Text
everything goes the plain way: same ids, only slower.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import bert_characters
from pipelines.normalize_block import BlockNormalizer, NormalizedBlock
from pipelines.text import find_long_words
from pipelines.utf8 import join_texts
from pipelines.vocabulary import Vocabulary
from pipelines.wordpiece import WordIds

# Never reached: words over 100 characters of at most 4 bytes do not get to the kernel.
_MAX_WORD_BYTES = 400
_PIECES_THAT_TELL = ("[UNK]", "a", "##b", "b", "z")


class Encoder:
    """Turns documents into the ids that google-research/bert and Hugging Face give them.

    Threads may share one, and it pickles (as its arguments); what it needs is built when first used.

    Attributes:
      documents: how many it has encoded.
      exact_documents: how many of them held at least one word that the kernel could not be given.
      exact_words: how many such words or, for text without spaces, stretches between spaces.
    """

    def __init__(self, vocabulary: Vocabulary, lowercase: bool, strip_accents: bool) -> None:
        self.vocabulary = vocabulary
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self.documents = self.exact_documents = self.exact_words = 0
        self._lock = threading.Lock()
        self._engine: _Engine | None = None

    def __reduce__(self) -> tuple[type[Encoder], tuple[Vocabulary, bool, bool]]:
        return Encoder, (self.vocabulary, self.lowercase, self.strip_accents)

    @property
    def uses_kernel(self) -> bool:
        """Whether TensorFlow Text does the work (it is installed and takes the vocabulary)."""
        return self._built().kernel is not None

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The ids of documents, no special tokens: int32[T] and offsets int64[n + 1]."""
        return self.encode_block(*join_texts(list(texts)))

    def encode_block(
        self, text: NDArray[np.uint8] | bytes, offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The ids of the documents that lie end to end in one UTF-8 buffer.

        Args:
          text: uint8[m] or bytes, UTF-8.
          offsets: int64[n + 1]; document i is ``text[offsets[i]:offsets[i + 1]]``.

        Returns:
          int32[T], the ids of all documents, and int64[n + 1], the offsets of each in them.
        """
        buffer = np.frombuffer(text, np.uint8) if isinstance(text, bytes) else text
        buffer, offsets = buffer[offsets[0] : offsets[-1]], offsets - offsets[0]
        engine = self._built()
        block = engine.normalizer(buffer, offsets)
        if engine.kernel is None:
            ids, id_offsets = _encode_words(block, engine.words)
            exact_words, exact_documents = 0, len(offsets) - 1
        else:
            ids, id_offsets, exact_words, exact_documents = _encode_with_kernel(block, engine)
        with self._lock:
            self.documents += len(offsets) - 1
            self.exact_documents += exact_documents
            self.exact_words += exact_words
        return ids, id_offsets

    def _built(self) -> _Engine:
        if self._engine is None:
            with self._lock:
                if self._engine is None:
                    self._engine = _Engine(self.vocabulary, self.lowercase, self.strip_accents)
        return self._engine


class _Engine:
    """What an encoder needs to run: the kernel, if there is one, and the normaliser to go with it."""

    def __init__(self, vocabulary: Vocabulary, lowercase: bool, strip_accents: bool) -> None:
        self.words = WordIds(vocabulary)
        self.unknown = np.array([vocabulary.unk_id], np.int32)
        self.kernel = _build_kernel(vocabulary.tokens, vocabulary.suffix_indicator)
        if self.kernel is None:
            apart = bert_characters.chinese() | bert_characters.punctuation()
            self.normalizer = BlockNormalizer(lowercase, strip_accents, apart)
        else:
            apart, unsafe = compare_kernel_classes()
            self.normalizer = BlockNormalizer(lowercase, strip_accents, apart, unsafe)


def _build_kernel(tokens: Sequence[str], suffix_indicator: str) -> Any | None:
    """``tensorflow_text.FastBertTokenizer`` in cased mode, or None without TensorFlow Text."""
    try:
        import tensorflow as tf
        from tensorflow_text import FastBertTokenizer
    except ImportError:
        logging.getLogger(__name__).info("tensorflow_text is not installed: encoding without it")
        return None
    return FastBertTokenizer(
        list(tokens),
        suffix_indicator=suffix_indicator,
        max_bytes_per_word=_MAX_WORD_BYTES,
        token_out_type=tf.int32,
        unknown_token="[UNK]",
        lower_case_nfd_strip_accents=False,
    )


@lru_cache(maxsize=1)
def compare_kernel_classes() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Asks the kernel what every code point is to it, and compares with BERT.

    Each is put between two letters, "a?b", under a vocabulary that tells from the ids whether it
    was dropped, taken for a space, for a letter or for a word of its own. Takes half a second, and
    holds for whichever version of TensorFlow Text runs.

    Returns:
      Two masks, bool[0x110000]: the characters to set between spaces so that the kernel treats them
      as BERT does, and those that no spaces make right.
    """
    kernel = _build_kernel(_PIECES_THAT_TELL, "##")
    assert kernel is not None
    codes = np.arange(bert_characters.CODE_POINTS, dtype=np.uint32)
    codes = codes[(codes < 0xD800) | (codes > 0xDFFF)]
    probes = np.full((len(codes), 6), ord(" "), np.uint32)
    probes[:, 0], probes[:, 1], probes[:, 2], probes[:, 4] = ord("a"), codes, ord("b"), ord("z")
    text = probes.tobytes().decode("utf-32-le").encode()
    unknown, a, continued_b, b, z = range(len(_PIECES_THAT_TELL))
    ids = kernel.tokenize([text]).flat_values.numpy()
    # One number a probe: its ids as digits to base 8, each plus one.
    last = np.flatnonzero(ids == z)
    assert len(last) >= len(codes)
    first = np.concatenate([[0], last[:-1] + 1])
    number = np.zeros(len(last), np.int64)
    for j in range(3):
        number = np.where(first + j < last, number * 8 + ids[np.minimum(first + j, last)] + 1, number)

    def says(*pieces: int) -> NDArray[np.bool_]:
        expected = 0
        for piece in pieces:
            expected = expected * 8 + piece + 1
        mask = np.zeros(bert_characters.CODE_POINTS, np.bool_)
        mask[codes] = number == expected
        return mask

    letter, alone = says(unknown), says(a, unknown, b)
    for known in (ord("a"), ord("b"), ord("z"), ord(" ")):
        letter[known] = known != ord(" ")
    gone = bert_characters.dropped() | bert_characters.spaces()  # the normaliser sees to these
    by_itself = bert_characters.chinese() | bert_characters.punctuation()
    apart = by_itself & letter
    unsafe = ~gone & np.where(by_itself, ~letter & ~alone, ~letter)
    unsafe[0xD800:0xE000] = False
    return apart, unsafe


def _encode_with_kernel(
    block: NormalizedBlock, engine: _Engine
) -> tuple[NDArray[np.int32], NDArray[np.int64], int, int]:
    """Encodes a normalised block. Returns ids, offsets, and how many words and documents it cut."""
    text, offsets = block.text.tobytes(), block.offsets
    cuts = _find_cuts(block, text, engine)
    if not cuts:
        ids, id_offsets = _run_kernel(engine.kernel, text, offsets, offsets[1:])
        return ids, id_offsets, 0, 0
    starts, ends = (np.array([cut[i] for cut in cuts], np.int64) for i in (0, 1))
    # The kernel gets what lies between two cuts or ends of documents.
    begins = np.sort(np.concatenate([offsets[:-1], ends]), kind="stable")
    stops = np.sort(np.concatenate([offsets[1:], starts]), kind="stable")
    ids, piece_offsets = _run_kernel(engine.kernel, text, begins, stops)
    document = np.searchsorted(offsets, starts, "right") - 1
    lengths = np.array([len(cut[2]) for cut in cuts], np.int64)
    # Cut k ends piece k + document[k]: one piece ends at each cut and at each document's end.
    places = piece_offsets[np.arange(len(cuts)) + document + 1]
    ids = np.insert(ids, np.repeat(places, lengths), np.concatenate([cut[2] for cut in cuts]))
    ends_at = np.arange(1, len(offsets)) + np.searchsorted(document, np.arange(len(offsets) - 1), "right")
    counts = np.concatenate([[0], np.cumsum(lengths)])
    cut_before = np.searchsorted(document, np.arange(len(offsets) - 1), "right")
    id_offsets = np.zeros(len(offsets), np.int64)
    id_offsets[1:] = piece_offsets[ends_at] + counts[cut_before]
    return ids, id_offsets, len(cuts), len(np.unique(document))


def _run_kernel(
    kernel: Any, text: bytes, starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    pieces = [text[i:j] for i, j in zip(starts.tolist(), stops.tolist(), strict=False)]
    if not pieces:
        return np.zeros(0, np.int32), np.zeros(1, np.int64)
    ragged = kernel.tokenize(pieces)
    return ragged.flat_values.numpy(), ragged.row_splits.numpy()


def _find_cuts(
    block: NormalizedBlock, text: bytes, engine: _Engine
) -> list[tuple[int, int, NDArray[np.int32]]]:
    """The stretches of a normalised block to keep from the kernel, in order: (start, end, ids)."""
    cuts = []
    end = 0
    for place in block.flagged.tolist():
        if place < end:
            continue  # in the stretch cut last
        document = int(np.searchsorted(block.offsets, place, "right")) - 1
        first, last = int(block.offsets[document]), int(block.offsets[document + 1])
        start = text.rfind(b" ", first, place) + 1 or first
        end = text.find(b" ", place, last)
        end = last if end < 0 else end
        ids = engine.words.of_normalized(text[start:end].decode())
        cuts.append((start, end, np.array(ids, np.int32)))
    flagged_ends = np.array([cut[1] for cut in cuts], np.int64)
    flagged_starts = [cut[0] for cut in cuts]
    for start, end in find_long_words(block.text, block.offsets):
        i = int(np.searchsorted(flagged_ends, start, "right"))
        if i == len(flagged_starts) or flagged_starts[i] >= end:
            cuts.append((start, end, engine.unknown))
    return sorted(cuts, key=lambda cut: cut[0])


def _encode_words(
    block: NormalizedBlock, words: WordIds
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Encodes a block normalised with everything that stands alone set between spaces."""
    text, offsets = block.text.tobytes(), block.offsets.tolist()
    id_offsets = np.zeros(len(offsets), np.int64)
    parts = []
    for i in range(len(offsets) - 1):
        split = text[offsets[i] : offsets[i + 1]].decode().split()
        parts.append(np.fromiter(chain.from_iterable(map(words.__getitem__, split)), np.int32))
        id_offsets[i + 1] = id_offsets[i] + len(parts[-1])
    return np.concatenate(parts) if parts else np.zeros(0, np.int32), id_offsets
