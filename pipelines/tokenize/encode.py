"""Documents to BERT ids, at the speed of nanotoken wherever it proves to be BERT's.

nanotoken is a Rust encoder of Hugging Face's WordPiece. It is young, so each one that is built first
has to give the ids of the plain reference (``pipelines.text.wordpiece``) for strings that hold every
kind of character that BERT treats specially. Where it does not, cannot be built or is not installed,
one line says so and all words go the plain way: the same ids, only slower. In raw text "[MASK]" and
its like are plain text either way: a bracket, a word and a bracket.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from itertools import chain, pairwise

import numpy as np
import orjson
from numpy.typing import NDArray

from pipelines.records.ragged import offsets_of
from pipelines.text.utf8 import encode_text
from pipelines.text.vocabulary import UNK, Vocabulary
from pipelines.text.wordpiece import WordIds
from pipelines.text.words import MAX_WORD_CHARACTERS, split_words

Ids = tuple[NDArray[np.int32], NDArray[np.int64]]
Encode = Callable[[Sequence[bytes]], Ids]

# Letters of many scripts, marks that stay and go, ideographs of all blocks, punctuation of ASCII and
# beyond, controls, format and private-use characters, every kind of space, and case that does not
# map one to one. Each is tried within words, between spaces, and beside a full stop and an ideograph.
_CHARACTERS = (
    "aZ09éÉñßẞςΣİıſﬁǅŒ\u0301\u0308\u0345\u0e31\u093f\u3099\u05b0\u064b\u1ab0\ufe0f"
    "한글ᄒ\u1161がガ々〆中國\u3400\U00020000\U0002b740\uf900\U0002f800𫠠ไทยहिमойیا"
    ".,-_'\"[]()!?#$%&*+/<=>@\\^`{|}~¡§«·»¿–—‘’“”…、。「」，．！？\u2e43\u061f\U0001f600\U0001f468"
    "\t\n\r\v\f\0\x01\x1f\x7f\x85\xa0\xad\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b\u200d"
    "\u200e\u2060\ufeff\ufffd\ue000\U000e0001\U000110cd\U0001d400€₩°±²½Ⅷ①"
)
_STRINGS = (
    "",
    " ",
    "[MASK] and [CLS], [UNK]",
    "don't stop-it e.g. U.S.A. 3,000",
    "ΌΣΟΣ ΟΔΥΣΣΕΥΣ. ΣΑΣ",
    "e\u0323\u0301 e\u0301\u0323 가각 한국어텍스트",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    *(c * (MAX_WORD_CHARACTERS + more) for c in ("a", "é", "ก", "É") for more in (-1, 0, 1)),
)


class Encoder:
    """Turns documents into the ids that google-research/bert and Hugging Face give them.

    Threads may share one, and it pickles (as its arguments): what it needs is built at first use.
    Fastest on blocks of a quarter megabyte or more.
    """

    def __init__(self, vocabulary: Vocabulary, lowercase: bool, strip_accents: bool) -> None:
        self.vocabulary = vocabulary
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self._engine: Encode | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Encoder], tuple[Vocabulary, bool, bool]]:
        return Encoder, (self.vocabulary, self.lowercase, self.strip_accents)

    def encode(self, texts: Sequence[str]) -> Ids:
        """The ids of documents, no special tokens: int32[T] and offsets int64[n + 1]."""
        return self._built()([encode_text(text) for text in texts])

    def encode_block(self, text: bytes, offsets: NDArray[np.int64]) -> Ids:
        """The ids of documents that lie end to end in one buffer, as ``encode`` gives them.

        ``offsets`` int64[n + 1]: document i is ``text[offsets[i]:offsets[i + 1]]``. Raises ValueError
        for a buffer that is not UTF-8.
        """
        try:
            text[offsets[0] : offsets[-1]].decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"a document is not UTF-8: {error}") from None
        return self._built()([text[a:b] for a, b in pairwise(offsets.tolist())])

    def _built(self) -> Encode:
        """What encodes documents (each UTF-8): the fast way if it proves right."""
        with self._lock:
            if self._engine is None:
                plain = encode_plainly(self)
                self._engine = _prove_fast(self, plain) or plain
            return self._engine


def encode_plainly(encoder: Encoder) -> Encode:
    """The plain way: splits every document into words and looks each up, in Python."""
    word_ids = WordIds(encoder.vocabulary)
    lowercase, strip_accents = encoder.lowercase, encoder.strip_accents

    def encode(documents: Sequence[bytes]) -> Ids:
        encoded = [np.zeros(0, np.int32)]
        for document in documents:
            words = split_words(document.decode(), lowercase=lowercase, strip_accents=strip_accents)
            pieces = chain.from_iterable(word_ids[word] for word in words)
            encoded.append(np.fromiter(pieces, np.int32))
        return np.concatenate(encoded), offsets_of(np.array([len(ids) for ids in encoded[1:]], int))

    return encode


def _load_nanotoken(encoder: Encoder) -> Encode:
    """nanotoken for the same vocabulary; it lets other Python threads run meanwhile."""
    from nanotoken import WordPieceTokenizer

    vocabulary = encoder.vocabulary
    description = {  # Hugging Face's tokenizer.json, without added tokens
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "lowercase": encoder.lowercase,
            "strip_accents": encoder.strip_accents,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece",
            "unk_token": UNK,
            "continuing_subword_prefix": vocabulary.suffix_indicator,
            "max_input_chars_per_word": MAX_WORD_CHARACTERS,
            "vocab": vocabulary.index,
        },
    }
    tokenizer = WordPieceTokenizer.from_json(orjson.dumps(description).decode())

    def encode(documents: Sequence[bytes]) -> Ids:
        # Beam's workers are as many threads as there are cores: no more of them here.
        ids, offsets = tokenizer.encode_batch(documents, add_special_tokens=False, parallel=False)
        return ids.view(np.int32), offsets

    return encode


def _prove_fast(encoder: Encoder, plain: Encode) -> Encode | None:
    """nanotoken if its ids are BERT's, else None after a line on standard error that says why."""
    try:
        fast = _load_nanotoken(encoder)
        problem = _find_difference(fast, plain, encoder.vocabulary)
    except (ImportError, ValueError, TypeError) as error:
        problem = str(error).split("\n")[0]
    if not problem:
        return fast
    message = f"tokenizing without nanotoken, same ids but slower: {problem}"
    print(message, file=sys.stderr, flush=True)
    return None


def _find_difference(fast: Encode, plain: Encode, vocabulary: Vocabulary) -> str:
    """The first probe that is not encoded as the plain way does, in words; empty if there is none."""
    probes = [*_STRINGS, *(f"{c} {c}a a{c}b b{c} .{c} 中{c}中 {c}{c}" for c in _CHARACTERS)]
    # Words made of pieces from all over the vocabulary.
    tokens, mark = vocabulary.tokens, vocabulary.suffix_indicator
    pieces = [token.removeprefix(mark) for token in tokens[:: len(tokens) // 128 + 1]]
    probes.append(" ".join([*pieces, *map(str.__add__, pieces, pieces[1:])]))
    documents = [probe.encode() for probe in probes]
    encoded = [np.split(ids, bounds[1:-1]) for ids, bounds in (fast(documents), plain(documents))]
    for probe, ids, expected in zip(probes, *encoded, strict=True):
        if not np.array_equal(ids, expected):
            return f"its ids for {probe[:40]!r} are not BERT's"
    return ""
