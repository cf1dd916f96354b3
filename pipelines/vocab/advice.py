"""What the stage says of its words before a vocabulary is learned, and of what it lacks afterwards; each
with the option that helps.

Stripping accents is the default, as in BERT's uncased English models. Afterwards nothing tells what was
lost: the counted words are stripped already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.text.accents import without_accents
from pipelines.text.unknown_words import MUCH_UNKNOWN
from pipelines.vocab.config import VocabConfig

# Of words that lose accents: English has 0.3 %, German 8 %, Hangul all.
_MANY = 0.01
# Pieces that occur no more often are hardly learned.
_RARE = 2
# Of fewer words the rates on held-out text are known to some percent only.
_FEW_WORDS = 5000
_MOST_HELD_OUT = 0.2


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


def describe_shortcomings(facts: Mapping[str, Any], config: VocabConfig) -> Iterator[str]:
    """Sentences about a vocabulary whose manifest has these facts."""
    unknown, dropped = facts.get("unknown", {}), facts.get("alphabet_dropped", 0)
    if unknown.get("rate", 0.0) >= MUCH_UNKNOWN and dropped:
        if config.max_unique_chars is None:
            fix = f"raise --vocab_size (now {config.vocab_size:,})"
        else:
            fix = f"leave --max_unique_chars {config.max_unique_chars} out, or raise it"
        yield (
            f"{unknown['rate']:.2%} of all words are [UNK], because the alphabet of "
            f"{facts['alphabet']:,} lacks {dropped:,} characters; {fix} to keep them"
        )
    if not config.from_preset and facts.get("threshold", _RARE + 1) <= _RARE:
        yield (
            f"the text is little for {facts['size']:,} pieces: they were chosen among those that occur "
            f"{facts['threshold']} times; a smaller --vocab_size or more text makes better ones"
        )
    words = (facts.get("held_out") or {}).get("words", _FEW_WORDS)
    if words < _FEW_WORDS and config.held_out_fraction < _MOST_HELD_OUT:
        share = min(_MOST_HELD_OUT, config.held_out_fraction * 2 * _FEW_WORDS / words)
        yield (
            f"judged by only {words:,} held-out words, so the rates above are rough; "
            f"--held_out_fraction {share:.2g} gives better ones"
        )
