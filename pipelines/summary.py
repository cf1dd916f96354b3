"""A summary for people: the names that manifests have for things become words, figures get units.

First comes ``_FIRST`` in its order, then what keeps its own name, at the end ``_LAST``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tabulate import tabulate

from pipelines.command.run import show

# Name: words, and the unit of the figure; "share" is a part of one.
_FIRST: dict[str, tuple[str, str]] = {
    "made_by": ("made by", ""),
    "stage": ("model trained by", ""),
    "documents_in": ("documents read", ""),
    "documents_out": ("documents used", ""),
    "documents_repeated": ("repeats of another document, kept", ""),
    "documents_held_out": ("documents held out to judge by", ""),
    "bytes_in": ("text read", "bytes"),
    "bytes_held_out": ("text held out", "bytes"),
    "words_in": ("words read", ""),
    "words_counted": ("words learned from", ""),
    "distinct_words": ("distinct words", ""),
    "asked_size": ("pieces asked for", ""),
    "size": ("pieces in the vocabulary", ""),
    "threshold": ("fewest occurrences of a piece", ""),
    "alphabet": ("characters in the alphabet", ""),
    "alphabet_dropped": ("characters left out of it", ""),
    "suffix_indicator": ("mark of a piece inside a word", ""),
    "tokens_in": ("tokens of the documents", ""),
    "tokens_out": ("tokens in rows", ""),
    "special_tokens": ("[CLS] and [SEP] in rows", ""),
    "segments": ("runs of one document in rows", ""),
    "rows": ("rows", ""),
    "examples": ("examples", ""),
    "bytes_out": ("shards", "bytes"),
    "bytes_between": ("temporary files", "bytes"),
    "tokens_selectable": ("tokens that masks may hide", ""),
    "tokens_selected": ("tokens to predict", ""),
    "tokens_masked": ("of them replaced by [MASK]", ""),
    "tokens_randomised": ("of them replaced by another token", ""),
    "tokens_kept": ("of them left as they are", ""),
    "lowercase": ("case folded", ""),
    "strip_accents": ("accents removed", ""),
    "seq_length": ("positions of a row", ""),
    "head": ("head for masked tokens", ""),
}
_HELD_OUT = {
    "words": ("words", ""),
    "pieces_per_word": ("pieces a word", ""),
    "bytes_per_token": ("bytes a piece", ""),
    "unknown_rate": ("words that are [UNK]", "share"),
    "continued_share": ("pieces that continue a word", "share"),
}
_JUDGED = (("held_out", "on held-out text"), ("held_out_before", "on it with the preset alone"))
_LAST: dict[str, tuple[str, str]] = {
    **{
        f"{part}_{name}": (f"{where}: {words}", unit)
        for part, where in _JUDGED
        for name, (words, unit) in _HELD_OUT.items()
    },
    "vocabulary_fingerprint": ("SHA-256 of the vocabulary", ""),
    "workers": ("workers", ""),
    "seconds": ("took", "s"),
    "processor_seconds": ("processor time", "s"),
    "peak_memory": ("peak memory", "bytes"),
    "price": ("price", ""),
    "megabytes_per_second": ("speed", "MB/s"),
    "examples_per_second": ("speed", "examples/s"),
    "output": ("written to", ""),
}
_KNOWN = {**_FIRST, **_LAST}
_ORDER = {name: i for i, name in enumerate([*_FIRST, "", *_LAST])}
_VALUES = {("head", "portable"): "as KerasHub and Transformers have it"}


def print_summary(*groups: Mapping[str, Any], expected: Mapping[str, Any] | None = None) -> None:
    """Prints names and values, one a line, with what was ``expected`` beside it; counts of zero and
    what is None are left out."""
    values: dict[str, Any] = {}
    for group in groups:
        values.update(_flatten(group))
    if "size" in values:  # the vocabulary's own, which is named again
        values.pop("vocabulary_size", None)
    names = [name for name in values if values[name] not in (None, False, 0)]
    names.sort(key=lambda name: _ORDER.get(name, _ORDER[""]))
    rows = [[_in_words(name), _with_unit(name, values[name])] for name in names]
    if expected:
        for name, row in zip(names, rows, strict=True):
            row += [f"estimated {_with_unit(name, expected[name])}"] if name in expected else [""]
    show(tabulate(rows, tablefmt="plain", disable_numparse=True))


def _flatten(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Values by the names of all mappings that they are in, joined."""
    for key, value in values.items():
        name = key if key.startswith(above) else above + key
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{name}_")
        else:
            yield name, value


def _in_words(name: str) -> str:
    return _KNOWN[name][0] if name in _KNOWN else name.replace("_", " ")


def _with_unit(name: str, value: Any) -> str:
    unit = _KNOWN.get(name, ("", ""))[1]
    if value is True:
        text = "yes"
    elif unit == "share":
        return f"{value:.2%}"
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, float):
        text = f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"
    elif isinstance(value, list | tuple):
        text = ", ".join(map(str, value))
    else:
        text = _VALUES.get((name, str(value)), str(value))
    return f"{text} {unit}".rstrip()
