"""How a text differs from another that is nearly the same, word by word."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher


def compare_words(kept: str, other: str) -> Iterator[tuple[str, bool]]:
    """Runs of words of ``other``, and whether ``kept`` has others there, or none.

    Both may be cut short: what ``other`` alone still has at its end is no difference.

    >>> list(compare_words("a small red fox", "a small blue fox ran"))
    [('a small', False), ('blue', True), ('fox', False), ('ran', False)]
    """
    left, right = kept.split(), other.split()
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    for kind, before, _, begin, end in matcher.get_opcodes():
        if begin < end:
            at_the_end = kind == "insert" and before == len(left)
            yield " ".join(right[begin:end]), kind != "equal" and not at_the_end
