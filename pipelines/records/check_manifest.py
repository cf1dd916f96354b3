"""What a manifest must be before anybody relies on it, or opens or deletes a file that it names.

Names are plain file names that begin with their split, amounts are counts, and the parts agree: shards
are numbered from 0 without a gap, and hold as many rows as the counts say.
"""

from __future__ import annotations

import re
from typing import Any

from pipelines.records.shards import SHARD_NAME

_KINDS = {
    "stage": str,
    "config": dict,
    "counts": dict,
    "facts": dict,
    "schema": list,
    "splits": dict,
}
_SPLIT_NAME = re.compile(r"[a-z_]{1,32}")
_DTYPE = re.compile(r"u?int(8|16|32|64)|float(16|32|64)|bool")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FORMATS = ("array_record", "tfrecord")
# Of the facts that readers compute with: the least and the greatest value.
_RANGES = {"seq_length": (1, 65535), "copies": (1, 65535)}
# What readers ask of the facts of a stage, which may be older than they are.
_OF_ROWS = {"format": str, "seq_length": int, "packing": str, "vocabulary": dict}
_OF_TEXT = {"lowercase": bool, "strip_accents": bool}
_FACTS: dict[str, dict[str, type]] = {
    "vocab": {"size": int, **_OF_TEXT},
    "tokenize": {**_OF_ROWS, **_OF_TEXT},
    "mask": {**_OF_ROWS, **_OF_TEXT, "copies": int, "mask": dict},
    "pretrain": {"model": dict, "vocabulary": dict, "seq_length": int, **_OF_TEXT},
}
# Of their records, and which of these are lists.
_FIELDS = {"row_id": False, "token_ids": True, "segment_lengths": True}
# Which count is the number of records, by stage.
_ROWS = {"tokenize": "rows", "mask": "examples"}


def check_manifest(data: dict[str, Any]) -> None:
    """Raises ValueError, which says what is wrong, unless the JSON is that of a manifest.

    KeyError and TypeError where a part is missing or of another kind.
    """
    for name, kind in _KINDS.items():
        _demand(type(data[name]) is kind, f"{name} is not of type {kind.__name__}")
    for name, version in data.get("versions", {}).items():
        _demand(type(version) is str, f"the version of {name} is {version!r}")
    for name, count in data["counts"].items():
        _demand(_is_count(count), f"the count {name} is {count!r}")
    _check_schema(data["schema"], _FIELDS if data["stage"] in _ROWS else {})
    _check_facts(data["facts"], _FACTS.get(data["stage"], {}))
    records = 0
    for split, shards in data["splits"].items():
        _demand(
            _SPLIT_NAME.fullmatch(split) is not None, f"{split!r} is not a valid name of a split"
        )
        records += sum(_check_shard(split, shard) for shard in shards)
        _check_numbers(split, shards)
    rows = _ROWS.get(data["stage"])
    counted = data["counts"][rows] if rows else records
    _demand(counted == records, f"it counts {counted:,} rows, its shards have {records:,}")


def _check_shard(split: str, shard: dict[str, Any]) -> int:
    name = shard["name"]
    match = SHARD_NAME.fullmatch(name)
    _demand(match is not None and match["split"] == split, f"{name!r} is no shard of {split}")
    for amount in ("records", "bytes"):
        _demand(_is_count(shard[amount]), f"{amount} of {name} is {shard[amount]!r}")
    _demand(_SHA256.fullmatch(shard["sha256"]) is not None, f"{name} has no SHA-256")
    return int(shard["records"])


def _check_numbers(split: str, shards: list[dict[str, Any]]) -> None:
    """One file without a number, or as many as they say themselves, each once."""
    matches = [SHARD_NAME.fullmatch(shard["name"]) for shard in shards]
    numbers = sorted(int(match["index"] or 0) for match in matches if match)
    counts = {int(match["count"] or 1) for match in matches if match}
    whole = numbers == list(range(len(shards))) and counts <= {len(shards)}
    _demand(whole, f"a shard of {split} is missing or listed twice")


def _check_schema(schema: list[dict[str, Any]], ragged: dict[str, bool]) -> None:
    names = [entry["name"] for entry in schema]
    _demand(all(type(name) is str for name in names), "a field of the schema has no name")
    _demand(len(set(names)) == len(names), "a field of the schema is listed twice")
    missing = ragged.keys() - set(names)
    _demand(not missing or not schema, f"its records have no {', '.join(sorted(missing))}")
    for entry in schema:
        known = _DTYPE.fullmatch(entry["dtype"]) is not None
        is_ragged = entry.get("ragged", False)
        fits = type(is_ragged) is bool and is_ragged is ragged.get(entry["name"], is_ragged)
        _demand(known and fits, f"field {entry['name']!r}")


def _check_facts(facts: dict[str, Any], kinds: dict[str, type]) -> None:
    for name, kind in kinds.items():
        _demand(type(facts[name]) is kind, f"{name} is {str(facts[name])[:40]!r}")
    if "mask" in kinds:
        length = facts["mask"]["mask_selection_length"]
        _demand(type(length) is int and 0 < length <= facts["seq_length"], f"masks are {length!r}")
    for name, (least, most) in _RANGES.items():
        value = facts.get(name, least)
        _demand(type(value) is int and least <= value <= most, f"{name} is {value!r}")
    form = facts.get("format", _FORMATS[0])
    _demand(form in _FORMATS, f"format is {form!r}")
    vocabulary = facts.get("vocabulary")
    if vocabulary is not None:
        _demand(type(vocabulary["fingerprint"]) is str, "its vocabulary has no fingerprint")
        size = vocabulary["size"]
        _demand(_is_count(size) and size > 0, f"its vocabulary's size is {size!r}")
        for name in (name for name in vocabulary if name.endswith("_id")):
            token = vocabulary[name]
            fits = token is None or (_is_count(token) and token < size)
            _demand(fits, f"{name} is {token!r}")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _demand(fulfilled: bool, problem: str) -> None:
    if not fulfilled:
        raise ValueError(problem)
