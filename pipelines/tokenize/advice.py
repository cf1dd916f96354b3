"""What the stage says about its input and options beside the result, with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.command.run import say
from pipelines.documents.sample import sample_texts
from pipelines.records.manifest import Manifest
from pipelines.storage import files
from pipelines.text.unknown_words import MUCH_UNKNOWN, count_words, find_unknown, list_words
from pipelines.text.vocabulary import Vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.shard_count import SHARD_BYTES, count_shards


def advise_on_large_shards(config: TokenizeConfig, id_bytes: int) -> None:
    """Says so where the shards asked for will be far larger than is good."""
    size = id_bytes / config.train_shards
    if size > 2 * SHARD_BYTES:
        say(
            "tokenize",
            f"--num_shards {config.train_shards}: some {size / 1e9:,.1f} GB of token ids for each "
            f"shard, which one worker must hold; leave it out for {count_shards(id_bytes):,} shards",
        )


def advise_on_unknown(
    manifest: Manifest,
    matched: Sequence[files.FileInfo],
    config: TokenizeConfig,
    vocabulary: Vocabulary,
) -> None:
    """Says which words the vocabulary lacks, by a sample, where that is much of the text."""
    rate = manifest.counts["tokens_unknown"] / manifest.counts["tokens_in"]
    if rate < MUCH_UNKNOWN:
        return
    examples = ""
    if config.packing != "examples":
        unknown = find_unknown(
            count_words(
                sample_texts(matched, config),
                lowercase=bool(config.lowercase),
                strip_accents=bool(config.strip_accents),
            ),
            vocabulary,
        )
        examples = f", most often {list_words(unknown)} in a sample" if unknown else ""
    say(
        "tokenize",
        f"{rate:.2%} of the tokens are [UNK]{examples}; learn a vocabulary from this text "
        "(pipelines.vocab), or add to this one (its --extend)",
    )
