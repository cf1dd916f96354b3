"""Evaluation texts that must not be in a corpus, and which documents share a run of tokens with them.

Every run of so many tokens of every evaluation text is kept as a hash, with the text it is from. A
table of bits tells at once that most runs of a document are none of these; the others are looked up.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipelines.documents.bad_record import BadRecord
from pipelines.documents.config import InputFormat
from pipelines.documents.formats import read_records
from pipelines.documents.line_ranges import FileRange
from pipelines.errors import UserError
from pipelines.keyed_random import fold
from pipelines.records.ragged import Ragged, begins_run
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.signatures import hash_runs

_BYTES_AT_ONCE = 1 << 20
_BITS_A_RUN = 16


@dataclass(frozen=True)
class EvaluationTexts:
    """The runs of ``length`` tokens of some texts.

    ``hashes`` uint64[m] ascending, ``owners`` int64[m]: the text of each. Of each text: ``files``
    int64[t], the index of its path in ``paths``, and ``records`` int64[t], its number there from 1.
    ``too_short``: how many of the texts have no run.
    """

    length: int
    hashes: NDArray[np.uint64]
    owners: NDArray[np.int64]
    files: NDArray[np.int64]
    records: NDArray[np.int64]
    paths: tuple[str, ...]
    too_short: int

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the runs."""
        return hashlib.sha256(self.hashes.astype("<u8").tobytes()).hexdigest()

    def name_text(self, text: int) -> str:
        """The path of a text's file and its number in it."""
        return f"{self.paths[self.files[text]]}:{self.records[text]}"

    def find(
        self, tokens: Ragged
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The documents that share a run, int64[k], each with each text that it shares one with, and
        where the first such run begins in the document."""
        chosen = np.flatnonzero(tokens.lengths >= self.length)
        runs = hash_runs(tokens.take(chosen), self.length)
        hashes = fold(runs.values, 0)
        maybe = np.flatnonzero(self._may_hold(hashes))
        places = np.searchsorted(self.hashes, hashes[maybe])
        places[places == len(self.hashes)] = 0
        same = self.hashes[places] == hashes[maybe] if len(self.hashes) else maybe < 0
        hits, owners = maybe[same], self.owners[places[same]]
        documents = np.searchsorted(runs.offsets, hits, side="right") - 1
        starts = hits - runs.offsets[documents]
        order = np.lexsort((starts, owners, documents))
        documents, owners, starts = documents[order], owners[order], starts[order]
        first = begins_run(documents, owners)
        return chosen[documents[first]], owners[first], starts[first]

    @cached_property
    def _bits(self) -> NDArray[np.uint8]:
        size = 1 << max(10, int(len(self.hashes) * _BITS_A_RUN - 1).bit_length())
        bits = np.zeros(size // 8, np.uint8)
        at = self.hashes & np.uint64(size - 1)
        np.bitwise_or.at(bits, (at >> np.uint64(3)).astype(np.int64), _bit(at))
        return bits

    def _may_hold(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        at = hashes & np.uint64(len(self._bits) * 8 - 1)
        found = self._bits[(at >> np.uint64(3)).astype(np.int64)] & _bit(at)
        return found > 0

    def to_bytes(self) -> bytes:
        """As ``from_bytes`` reads it."""
        file = io.BytesIO()
        np.savez(
            file,
            length=np.array(self.length),
            hashes=self.hashes,
            owners=self.owners,
            files=self.files,
            records=self.records,
            paths=np.frombuffer("\0".join(self.paths).encode(), np.uint8),
            too_short=np.array(self.too_short),
        )
        return file.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> EvaluationTexts:
        """What ``to_bytes`` gave."""
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            names = ("hashes", "owners", "files", "records")
            return EvaluationTexts(
                **{name: stored[name] for name in names},
                length=int(stored["length"]),
                too_short=int(stored["too_short"]),
                paths=tuple(stored["paths"].tobytes().decode().split("\0")),
            )


def _bit(at: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.left_shift(np.uint8(1), (at & np.uint64(7)).astype(np.uint8))


def read_evaluation(
    paths: Sequence[str], text_fields: Sequence[str], length: int, encoder: Encoder, flag: str
) -> EvaluationTexts:
    """The texts in these fields of all records of the files, of any format of documents.

    Raises UserError, which names ``flag``, for a record without one of the fields and where no text
    has ``length`` tokens.
    """
    files, records = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    hashes, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    count = too_short = 0
    for number, path in enumerate(paths):
        for name in text_fields:
            for first, texts in _read_texts(path, name, flag):
                ids, offsets = encoder.encode([text.decode() for text in texts])
                tokens = Ragged(ids, offsets)
                long = np.flatnonzero(tokens.lengths >= length)
                runs = hash_runs(tokens.take(long), length)
                hashes.append(fold(runs.values, 0))
                owners.append(np.repeat(count + long, runs.lengths))
                files.append(np.full(len(texts), number))
                records.append(first + np.arange(len(texts)))
                count += len(texts)
                too_short += len(texts) - len(long)
    if count == too_short:
        raise UserError(
            f"--{flag}: no text of {', '.join(paths)} has {length} tokens; name other files or fields, "
            "or shorter runs"
        )
    distinct, places = np.unique(np.concatenate(hashes), return_index=True)
    return EvaluationTexts(
        length,
        distinct,
        np.concatenate(owners)[places],
        np.concatenate(files),
        np.concatenate(records),
        tuple(paths),
        too_short,
    )


def _read_texts(path: str, name: str, flag: str) -> Iterator[tuple[int, list[bytes]]]:
    """The number of the first record, and the texts, of about ``_BYTES_AT_ONCE`` at a time."""
    texts: list[bytes] = []
    first, size = 1, 0
    # What is wrong with a record is said there in words for --input.
    field_flag = "--text_field" if flag == "leaks" else f"--{flag}_field"
    try:
        for number, text in enumerate(
            read_records(FileRange(path), InputFormat(text_field=name)), 1
        ):
            if isinstance(text, BadRecord):
                raise UserError(text.message)
            texts.append(text)
            size += len(text)
            if size >= _BYTES_AT_ONCE:
                yield first, texts
                texts, first, size = [], number + 1, 0
    except UserError as error:
        raise UserError(f"--{flag}: {str(error).replace('--text_field', field_flag)}") from None
    yield first, texts
