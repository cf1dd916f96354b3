"""The bytes of a file of predictions, in the format that its name asks for."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from wcwidth import wcswidth

from pipelines.errors import UserError, printable

FORMATS = (".jsonl", ".csv", ".tsv", ".parquet")
Prediction = Mapping[str, Any]
_SEPARATORS = re.compile("\r\n|[\r\n\t]")


def check_format(path: str) -> str:
    """The format of a file to write, one of FORMATS; raises UserError for another, or a folder."""
    if os.path.isdir(path):
        raise UserError(f"--output {path}: is a folder; name a file in it, such as x.jsonl")
    suffix = PurePath(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"--output {path}: unknown kind of file; name it {', '.join(FORMATS)}")
    return suffix


def encode_predictions(predictions: Sequence[Prediction], path: str) -> bytes:
    """The predictions, in their order, as the content of the file ``path``.

    In tables each class has a column of its own, "probability of CLASS". A .tsv knows no quotes:
    tabs and ends of lines within texts become spaces there.
    """
    suffix = check_format(path)
    if suffix == ".jsonl":
        lines = (json.dumps(prediction, ensure_ascii=False) for prediction in predictions)
        return "".join(f"{line}\n" for line in lines).encode()
    rows = [_flat(prediction) for prediction in predictions]
    if suffix == ".parquet":
        return _parquet(rows)
    table = [list(rows[0]), *(list(row.values()) for row in rows)]
    if suffix == ".tsv":
        lines = ("\t".join(_SEPARATORS.sub(" ", str(cell)) for cell in row) for row in table)
        return "".join(f"{line}\n" for line in lines).encode()
    text = io.StringIO(newline="")
    # Ending lines with CR LF makes it quote texts that hold either.
    csv.writer(text).writerows(table)
    return text.getvalue().encode()


def _flat(prediction: Prediction) -> dict[str, Any]:
    row = dict(prediction)
    shares = row.pop("probabilities", {})
    return row | {f"probability of {name}": share for name, share in shares.items()}


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow  # only here: it takes longer to load than the other formats to write
    import pyarrow.parquet

    content = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), content)
    return content.getvalue()


def pad_label(label: str, classes: Sequence[str]) -> str:
    """The label, as wide on a terminal as the widest of the classes."""
    return label + " " * (max(map(_width, classes)) - _width(label))


def _width(label: str) -> int:
    """Columns of a terminal: two for a character of CJK, none for a combining one."""
    return max(0, wcswidth(printable(label)))
