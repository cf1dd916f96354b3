"""What a vocabulary lacks, and the option that helps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.text.unknown_words import MUCH_UNKNOWN
from pipelines.vocab.config import VocabConfig

# Pieces that occur no more often are hardly learned.
_RARE = 2
# Of fewer words the rates on held-out text are known to some percent only.
_FEW_WORDS = 5000
_MOST_HELD_OUT = 0.2


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
