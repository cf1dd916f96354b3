"""What stripping accents would do to the words of a corpus, said before a vocabulary is learned.

It is the default, as in BERT's uncased English models. Afterwards nothing tells what was lost: the
counted words are stripped already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pipelines.text.accents import without_accents

# English has 0.3 %, German 8 %, Hangul all.
_MANY = 0.01


def describe_lost_accents(words: Mapping[str, int]) -> str | None:
    """A sentence on what becomes of the words, counted with their accents, and on the flag that keeps
    them; None where hardly any would change."""
    words = {word: count for word, count in words.items() if any(map(str.isalpha, word))}
    changed = {word: bare for word in words if word != (bare := without_accents(word))}
    share = sum(words[word] for word in changed) / max(1, sum(words.values()))
    if share < _MANY:
        return None
    examples = _find_examples(words, changed)
    cased = any(word != word.upper() for word in examples)
    return (
        f"removing accents changes {share:.1%} of the words in a sample of the input: "
        f"{', '.join(examples.values())}; give --strip_accents false to keep them"
        + (", or --lowercase false to keep them and capitals" if cased else "")
    )


def _find_examples(words: Mapping[str, int], changed: Mapping[str, str]) -> dict[str, str]:
    """The most frequent word that changes and, of those that become another word, the one for which
    both are frequent; what becomes of each."""
    shown = {}
    first = max(changed, key=lambda word: (words[word], word))
    bare = changed[first]
    shown[first] = f"{first} becomes {' '.join(bare) if len(bare) > len(first) else bare}"
    merged = Counter({w: min(words[w], words[b]) for w, b in changed.items() if b in words})
    if merged:
        word = max(merged, key=lambda word: (merged[word], word))
        shown[word] = f"{word} the same as {changed[word]}"
    return shown
