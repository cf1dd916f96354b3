"""Stage ``vocab`` as a Beam pipeline.

    blocks of documents -> words counted (count_words.py) -> one learner on arrays, and one more to
    judge it by (held_out.py) -> vocab.txt, manifest

With ``--word_counts`` the counted words are kept in a file, and a later run begins there.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np

from pipelines import files
from pipelines.beam_pipeline import count_workers, run_pipeline
from pipelines.command import RunOptions
from pipelines.documents.blocks import plan_ranges
from pipelines.documents.config import describe_inputs
from pipelines.documents.read_documents import ReadDocuments
from pipelines.documents.sample import print_estimate, sample_input
from pipelines.errors import UserError
from pipelines.options import deciding_fields
from pipelines.records.manifest import (
    Manifest,
    finish_output,
    prepare_output,
    read_manifest,
    read_run,
)
from pipelines.report import Finish
from pipelines.summary import print_summary
from pipelines.text.vocabulary_source import VOCABULARY_FILE
from pipelines.text.words import can_continue, separate_words
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.count_words import CountWords, gather_counts
from pipelines.vocab.held_out import measure_pieces
from pipelines.vocab.learn import LearnedVocabulary, learn_wordpiece
from pipelines.vocab.learn_tf_text import learn_tf_text
from pipelines.vocab.word_counts import (
    WordCounts,
    load_word_counts,
    save_word_counts,
    select_counted,
)

# From this share of unknown words on, the user is told how to have fewer.
_MUCH_UNKNOWN = 0.01
# Of one distinct word, on one core; measured up to 5 million of them.
_LEARNING_SECONDS = 2e-5


def _count_and_learn(
    elements: list[Any], config: VocabConfig, inputs: Any, ranges: int, started: float
) -> None:
    """What ends the pipeline, wherever it runs."""
    counted = gather_counts(elements, ranges)
    if config.word_counts:
        save_word_counts(config.word_counts, counted, _origin(config, inputs))
    _learn(counted, config, inputs, started)


def _origin(config: VocabConfig, inputs: Any) -> dict[str, Any]:
    return {"inputs": inputs["files"], **config.counting_fields()}


def _learn(counted: WordCounts, config: VocabConfig, inputs: Any, started: float) -> None:
    """Learns from counted words, judges and publishes the vocabulary."""
    selected = select_counted(counted, config.max_input_tokens, config.min_count)
    if not selected.words:
        raise UserError(
            f"no words to learn from: read {counted.totals.get('documents_in', 0)} documents in "
            f"{', '.join(config.input)}; check --input, --input_format and --text_field"
            + (f", or lower --min_count {config.min_count}" if config.min_count > 1 else "")
        )
    # The second learner, for judging, runs beside the first: both are array operations.
    with ThreadPoolExecutor(1) as beside:
        judging = beside.submit(_judge, counted, selected, config)
        learned = learn_pieces(selected.words, selected.counts, config)
        held_out = judging.result()
    tokens = "\n".join([*learned.tokens, ""])
    manifest = Manifest(
        stage="vocab",
        config=deciding_fields(config),
        counts=dict(sorted(selected.totals.items())),
        facts={
            "lowercase": config.lowercase,
            "strip_accents": config.strip_accents,
            "suffix_indicator": config.suffix_indicator,
            "size": len(learned.tokens),
            **describe_learned(learned, config),
            "held_out": held_out,
        },
    )
    seconds = time.time() - started
    run = {
        "seconds": round(seconds, 2),
        "megabytes_per_second": round(selected.totals["bytes_in"] / seconds / 1e6, 2),
    }
    files.publish_bytes(files.join(config.output, VOCABULARY_FILE), tokens.encode())
    finish_output(config.output, manifest, inputs, run)


def _judge(counted: WordCounts, selected: WordCounts, config: VocabConfig) -> dict[str, Any] | None:
    """Learns without the held-out sample and measures on it; None where nothing is held out."""
    learning = selected.counts - selected.held_out
    rest, sampled = np.flatnonzero(learning), np.flatnonzero(counted.held_out)
    if not len(rest) or not len(sampled):
        return None
    learned = learn_pieces([selected.words[i] for i in rest.tolist()], learning[rest], config)
    return {
        "words": int(counted.held_out.sum()),
        **measure_pieces(
            learned.tokens,
            [counted.words[i] for i in sampled.tolist()],
            counted.held_out[sampled],
            suffix_indicator=config.suffix_indicator,
            text_bytes=counted.totals["bytes_held_out"],
        ),
    }


def describe_learned(learned: LearnedVocabulary, config: VocabConfig) -> dict[str, Any]:
    """What the manifest says of how the vocabulary came about."""
    return {
        "asked_size": config.vocab_size,
        "threshold": learned.threshold,
        "alphabet": len(learned.alphabet),
        "alphabet_dropped": len(learned.alphabet_dropped),
        "distinct_words_cut": learned.words_cut,
        "words_cut": learned.occurrences_cut,
        "reason_smaller": learned.reason_smaller,
    }


def learn_pieces(words: list[str], counts: Any, config: VocabConfig) -> LearnedVocabulary:
    """Runs the algorithm that the config names."""
    common: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "reserved_tokens": config.reserved_tokens,
        "num_iterations": config.num_iterations,
        "max_input_tokens": config.max_input_tokens,
        "max_token_length": config.max_token_length,
        "max_unique_chars": config.max_unique_chars,
    }
    if config.algorithm == "wordpiece":
        return learn_wordpiece(
            words,
            counts,
            suffix_indicator=config.suffix_indicator,
            can_continue=can_continue,
            prune=config.prune,
            **common,
        )
    learned = learn_tf_text(
        words,
        counts,
        joiner=config.suffix_indicator,
        upper_thresh=config.upper_thresh,
        lower_thresh=config.lower_thresh,
        slack_ratio=config.slack_ratio,
        **common,
    )
    fixed = len(config.reserved_tokens) + 2 * len(learned.alphabet)
    if fixed > config.vocab_size:
        raise UserError(
            f"vocab_size {config.vocab_size} is too small for {len(config.reserved_tokens)} "
            f"reserved tokens and {len(learned.alphabet)} characters, plain and continued: give "
            f"{fixed} or more, or lower max_unique_chars"
        )
    return learned


def learn_vocabulary(config: VocabConfig, options: RunOptions) -> None:
    """Runs the stage. Raises UserError for what the user can put right."""
    started = time.time()
    config.check()
    if config.strip_accents is None:
        config = replace(config, strip_accents=config.lowercase)
    found = config.match_input()
    inputs = {"files": describe_inputs(found)}
    size = sum(info.size for info in found)
    print(f"vocab: {len(found)} files, {size / 1e6:,.1f} MB", file=sys.stderr)
    if options.dry_run:
        _show_plan(found, config, options)
        return
    counted = _read_counted(config, inputs, recount=options.overwrite)
    if prepare_output(
        config.output, deciding_fields(config), inputs, overwrite=options.overwrite, stage="vocab"
    ):
        print(f"vocab: {config.output} is finished already; nothing to do", file=sys.stderr)
        return
    if counted:
        print(f"vocab: words counted before, from {config.word_counts}", file=sys.stderr)
        _learn(counted, config, inputs, started)
    else:
        run_pipeline(
            partial(_build, config=config, found=found, inputs=inputs, started=started),
            options.beam_args,
            progress=lambda: "vocab: counting words and learning",
        )
    manifest = read_manifest(config.output)
    print_summary(
        manifest.counts, manifest.facts, read_run(config.output), [("output", config.output)]
    )
    unknown = (manifest.facts["held_out"] or {}).get("unknown_rate", 0.0)
    dropped = manifest.facts["alphabet_dropped"]
    if unknown > _MUCH_UNKNOWN and dropped:
        print(
            f"vocab: {unknown:.1%} of held-out words are [UNK]: {dropped:,} characters are beyond "
            f"--max_unique_chars {config.max_unique_chars}; raise it (and --vocab_size) to keep them",
            file=sys.stderr,
        )


def _show_plan(found: list[files.FileInfo], config: VocabConfig, options: RunOptions) -> None:
    """What would be written, and how long it takes and how dear, from a sample of the input."""
    print(f"would write {files.join(config.output, VOCABULARY_FILE)}")
    if config.word_counts:
        print(f"would write {config.word_counts}, or read it if it is there")
    began = time.thread_time()
    sample, scale = sample_input(found, config.read_options())
    number = size = 0
    words: set[bytes] = set()
    for block in sample:
        split = separate_words(
            np.frombuffer(block.text, np.uint8),
            block.offsets,
            lowercase=config.lowercase,
            strip_accents=bool(config.strip_accents),
        ).split()
        words.update(split)
        number += len(split)
        size += len(block.text)
    # Heaps' law: distinct words grow with about the square root of the text.
    distinct = min(int(len(words) * scale**0.5), config.max_input_tokens)
    learning = 2 * distinct * _LEARNING_SECONDS
    print_estimate(
        {
            "text, MB": round(size * scale / 1e6, 1),
            "documents": round(sum(map(len, sample)) * scale),
            "words": round(number * scale),
            "distinct words": distinct,
        },
        (time.thread_time() - began) * scale + learning,
        count_workers(options.beam_args),
        options.price,
    )


def _read_counted(config: VocabConfig, inputs: Any, *, recount: bool) -> WordCounts | None:
    """The words as counted before; None where there is no such file, or where it may be replaced."""
    path = config.word_counts
    if not path:
        return None
    if os.path.isdir(path):
        raise UserError(f"--word_counts: {path} is a folder; name a file, such as {path}/words.tsv")
    if not files.exists(path):
        # Now, not after hours of counting.
        files.make_folder(os.path.dirname(path) or ".")
        return None
    try:
        return load_word_counts(path, _origin(config, inputs))
    except UserError:
        if recount:
            return None
        raise


def _build(
    pipeline: beam.Pipeline,
    *,
    config: VocabConfig,
    found: list[files.FileInfo],
    inputs: Any,
    started: float,
) -> None:
    ranges = len(plan_ranges(found, config.read_options()))
    finish = partial(_count_and_learn, config=config, inputs=inputs, ranges=ranges, started=started)
    _ = pipeline | ReadDocuments(found, config.read_options()) | CountWords(config) | Finish(finish)
