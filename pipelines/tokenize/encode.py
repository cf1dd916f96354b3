"""Documents to BERT ids: TensorFlow Text's kernel wherever it is exact, the plain path elsewhere.

The kernel's own normalisation is not BERT's, so blocks are normalised here first and the kernel
only splits and looks up. A word with a character that it classes otherwise than BERT, or over 100
characters long, is cut out of the text, encoded exactly, and its ids are put back in its place.
Without TensorFlow Text all words go the plain way: same ids, only slower. In raw text "[MASK]" and
its like are plain text, a bracket, a word and a bracket, either way.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.text import bert_characters
from pipelines.text.normalize_block import BlockNormalizer, NormalizedBlock
from pipelines.text.utf8 import join_texts
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.wordpiece import WordIds
from pipelines.text.words import find_long_words
from pipelines.tokenize.kernel import compare_with_kernel, load_kernel, run_kernel

Ids = tuple[NDArray[np.int32], NDArray[np.int64]]


class Encoder:
    """Turns documents into the ids that google-research/bert and Hugging Face give them.

    Threads may share one, and it pickles (as its arguments): what it needs is built at first use.
    Fastest on blocks of a quarter to one megabyte of text.

    Attributes:
      documents: how many it has encoded.
      exact_documents: how many of them did not go through the kernel whole.
      exact_stretches: how many stretches of text (words, or all between two spaces) took the exact
        path in the others; 0 without a kernel.
    """

    def __init__(self, vocabulary: Vocabulary, lowercase: bool, strip_accents: bool) -> None:
        self.vocabulary = vocabulary
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self.documents = self.exact_documents = self.exact_stretches = 0
        self._engine: _KernelEngine | _PlainEngine | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Encoder], tuple[Vocabulary, bool, bool]]:
        return Encoder, (self.vocabulary, self.lowercase, self.strip_accents)

    @property
    def uses_kernel(self) -> bool:
        """Whether TensorFlow Text does the work: it is installed and takes the vocabulary."""
        return isinstance(self._built(), _KernelEngine)

    def encode(self, texts: Sequence[str]) -> Ids:
        """The ids of documents, no special tokens: int32[T] and offsets int64[n + 1]."""
        return self.encode_block(*join_texts(texts))

    def encode_block(self, text: NDArray[np.uint8] | bytes, offsets: NDArray[np.int64]) -> Ids:
        """The ids of documents that lie end to end in one UTF-8 buffer.

        Args:
          text: uint8[m] or bytes, UTF-8.
          offsets: int64[n + 1]; document i is ``text[offsets[i]:offsets[i + 1]]``.

        Returns:
          int32[T], the ids of all documents without special tokens, and int64[n + 1], the offsets
          of each in them.

        Raises:
          ValueError: the buffer is not made of whole UTF-8 characters.
        """
        buffer = np.frombuffer(text, np.uint8) if isinstance(text, bytes) else text
        engine = self._built()
        block = engine.normalizer(buffer[offsets[0] : offsets[-1]], offsets - offsets[0])
        (ids, id_offsets), documents, stretches = engine.encode(block)
        with self._lock:
            self.documents += len(offsets) - 1
            self.exact_documents += documents
            self.exact_stretches += stretches
        return ids, id_offsets

    def _built(self) -> _KernelEngine | _PlainEngine:
        with self._lock:
            if self._engine is None:
                kernel = load_kernel(self.vocabulary.tokens, self.vocabulary.suffix_indicator)
                arguments = self.vocabulary, self.lowercase, self.strip_accents
                if kernel is None:
                    self._engine = _PlainEngine(*arguments)
                else:
                    self._engine = _KernelEngine(kernel, *arguments)
            return self._engine


class _PlainEngine:
    """Looks every word up in Python."""

    def __init__(self, vocabulary: Vocabulary, lowercase: bool, strip_accents: bool) -> None:
        self._words = WordIds(vocabulary)
        apart = bert_characters.chinese() | bert_characters.punctuation()
        self.normalizer = BlockNormalizer(lowercase, strip_accents, apart)

    def encode(self, block: NormalizedBlock) -> tuple[Ids, int, int]:
        """Encodes a block; returns the ids, and how many documents and stretches were exact."""
        text, offsets = block.text.tobytes(), block.offsets.tolist()
        ids, counts = [np.zeros(0, np.int32)], [0]
        for start, stop in pairwise(offsets):
            found = map(self._words.__getitem__, text[start:stop].decode().split())
            ids.append(np.fromiter(chain.from_iterable(found), np.int32))
            counts.append(len(ids[-1]))
        return (np.concatenate(ids), np.cumsum(counts, dtype=np.int64)), len(offsets) - 1, 0


class _KernelEngine:
    """Gives the kernel all that it encodes as BERT does, and looks up the rest in Python."""

    def __init__(
        self, kernel: object, vocabulary: Vocabulary, lowercase: bool, strip_accents: bool
    ) -> None:
        self._kernel = kernel
        self._words = WordIds(vocabulary)
        self._unknown = (vocabulary.unk_id,)
        apart, unsafe = compare_with_kernel()
        self.normalizer = BlockNormalizer(lowercase, strip_accents, apart, flagged=unsafe)

    def encode(self, block: NormalizedBlock) -> tuple[Ids, int, int]:
        """Encodes a block; returns the ids, and how many documents and stretches were exact."""
        text, offsets = block.text.tobytes(), block.offsets
        cuts = self._find_cuts(block, text)
        if not cuts:
            return run_kernel(self._kernel, text, offsets[:-1], offsets[1:]), 0, 0
        starts, stops = (np.array([cut[i] for cut in cuts], np.int64) for i in (0, 1))
        exact = [cut[2] for cut in cuts]
        # The kernel gets the pieces between cuts and ends of documents. Piece k + d ends at cut k,
        # which is in document d, and piece c + d at the end of document d if c cuts precede it.
        ids, ends = run_kernel(
            self._kernel,
            text,
            np.sort(np.concatenate([offsets[:-1], stops])),
            np.sort(np.concatenate([offsets[1:], starts])),
        )
        document = np.searchsorted(offsets, starts, "right") - 1
        lengths = np.array([len(pieces) for pieces in exact], np.int64)
        places = ends[np.arange(len(cuts)) + document + 1]
        flat = np.fromiter(chain.from_iterable(exact), np.int32)
        ids = np.insert(ids, np.repeat(places, lengths), flat)
        numbers = np.arange(len(offsets))
        cuts_before = np.searchsorted(document, numbers)
        added = np.concatenate([[0], np.cumsum(lengths)])
        id_offsets = ends[numbers + cuts_before] + added[cuts_before]
        return (ids, id_offsets), len(np.unique(document)), len(cuts)

    def _find_cuts(
        self, block: NormalizedBlock, text: bytes
    ) -> list[tuple[int, int, Sequence[int]]]:
        """The stretches of a block to keep from the kernel: (start, stop, ids), in order.

        What lies between two spaces is cut whole: there is no doubt that words end there.
        """
        cuts: list[tuple[int, int, Sequence[int]]] = []
        document = np.searchsorted(block.offsets, block.flagged, "right") - 1
        stop = 0
        for place, i in zip(block.flagged.tolist(), document.tolist(), strict=True):
            if place < stop:
                continue  # in the stretch cut last
            first, last = int(block.offsets[i]), int(block.offsets[i + 1])
            start = text.rfind(b" ", first, place) + 1 or first
            space = text.find(b" ", place, last)
            stop = last if space < 0 else space
            cuts.append((start, stop, self._words.of_normalized(text[start:stop].decode())))
        cut_already = np.array([cut[1] for cut in cuts], np.int64)
        flagged = len(cuts)
        for start, stop in find_long_words(block.text, block.offsets):
            i = int(np.searchsorted(cut_already, start, "right"))
            if i == flagged or cuts[i][0] >= stop:
                cuts.append((start, stop, self._unknown))
        return sorted(cuts, key=lambda cut: cut[0])
