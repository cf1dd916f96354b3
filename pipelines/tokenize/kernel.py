"""TensorFlow Text's WordPiece kernel, and where it does not do what BERT does.

The kernel is used in its cased mode on text that is normalised already, so all that it decides is
which characters end a word. It takes that from its own Unicode tables, which change with its
version; so it is asked, character by character, when first needed. TensorFlow is imported only when
used.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.tensorflow_import import import_quietly
from pipelines.text import bert_characters

_log = logging.getLogger(__name__)

# Words over 100 characters never get to the kernel; shorter ones have at most 4 bytes a character.
_MAX_WORD_BYTES = 400
_BYTES_A_CALL = 1 << 19  # large string tensors are slow to make
_PROBE_PIECES = ("[UNK]", "a", "##b", "b", "z")


def load_kernel(tokens: Sequence[str], suffix_indicator: str) -> Any | None:
    """A ``tensorflow_text.FastBertTokenizer`` in cased mode, or None where there can be none.

    None with a note in the log if TensorFlow Text is not installed, and with a warning if it cannot
    build a kernel for this vocabulary (it wants a suffix indicator that is not one punctuation
    character, and pieces that can match at all).
    """
    try:
        tensorflow_text = import_quietly("tensorflow_text")
        tensorflow = import_quietly("tensorflow")
    except ImportError:
        _log.info("tensorflow_text is not installed: tokenizing without it, same ids but slower")
        return None
    try:
        return tensorflow_text.FastBertTokenizer(
            list(tokens),
            suffix_indicator=suffix_indicator,
            max_bytes_per_word=_MAX_WORD_BYTES,
            token_out_type=tensorflow.int32,
            unknown_token="[UNK]",
            lower_case_nfd_strip_accents=False,
        )
    except RuntimeError as error:
        _log.warning("tensorflow_text refuses the vocabulary (%s): tokenizing slower", error)
        return None


def run_kernel(
    kernel: Any, text: bytes, starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The ids of the stretches ``text[starts[i]:stops[i]]``, which are in order of their place.

    Returns int32[T], all ids, and int64[n + 1], the offsets of each stretch's in them.
    """
    groups = np.flatnonzero(np.diff(starts // _BYTES_A_CALL, append=-1)) + 1
    ids, counts, first = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)], 0
    for last in groups.tolist():
        spans = zip(starts[first:last].tolist(), stops[first:last].tolist(), strict=True)
        ragged = kernel.tokenize([text[start:stop] for start, stop in spans])
        ids.append(ragged.flat_values.numpy())
        counts.append(np.diff(ragged.row_splits.numpy()))
        first = last
    return np.concatenate(ids), np.cumsum(np.concatenate(counts))


@lru_cache(maxsize=1)
def compare_with_kernel() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Finds the characters that the kernel does not class as BERT does, by asking it about each.

    Each is put between two letters, "a?b", under a vocabulary whose ids tell whether the kernel
    takes it for part of a word, for a word of its own or for nothing. Takes a fraction of a second
    once in a process. Planes 4 to 13 are left out: no Unicode version has a character there.

    Returns:
      Two masks, bool[0x110000], over normalised text: the characters to set between spaces so that
      the kernel takes them as BERT does, and those for which that does not help.
    """
    codes = np.arange(0x40000, dtype=np.uint32)
    codes = np.concatenate([codes[:0xD800], codes[0xE000:], np.arange(0xE0000, 0xF0000)])
    kinds = probe_kernel(codes.astype(np.uint32))
    alone = bert_characters.chinese() | bert_characters.punctuation()
    # These do not occur in normalised text, except the space.
    gone = bert_characters.dropped() | bert_characters.spaces()
    apart, unsafe = (np.zeros(bert_characters.CODE_POINTS, np.bool_) for _ in range(2))
    apart[codes] = alone[codes] & (kinds == "letter")
    unsafe[codes] = ~gone[codes] & (kinds != np.where(alone[codes], "word", "letter"))
    return apart, unsafe & ~apart


def probe_kernel(codes: NDArray[np.uint32]) -> NDArray[np.str_]:
    """What each code point is to the kernel: "letter", "word" (of its own) or "other"."""
    kernel = load_kernel(_PROBE_PIECES, "##")
    if kernel is None:
        raise RuntimeError("tensorflow_text is needed to ask its kernel about characters")
    probes = np.full((len(codes), 6), ord(" "), np.uint32)
    probes[:, 0], probes[:, 1], probes[:, 2], probes[:, 4] = ord("a"), codes, ord("b"), ord("z")
    text = probes.tobytes().decode("utf-32-le").encode()
    ids = kernel.tokenize([text]).flat_values.numpy()
    unknown, a, b, end = (_PROBE_PIECES.index(piece) for piece in ("[UNK]", "a", "b", "z"))
    ends = np.flatnonzero(ids == end)
    starts = np.concatenate([[0], ends + 1])[:-1]
    if len(ends) != len(codes):
        raise RuntimeError(f"the kernel split {len(codes):,} words into {len(ends):,}")
    first, second, third = (ids[np.minimum(starts + j, ends)] for j in range(3))
    counts = ends - starts
    kinds = np.full(len(codes), "other", "U6")
    kinds[(counts == 1) & (first == unknown)] = "letter"
    kinds[(counts == 3) & (first == a) & (second == unknown) & (third == b)] = "word"
    kinds[np.isin(codes, [ord(piece) for piece in "abz"])] = "letter"  # they match, so no [UNK]
    return kinds
