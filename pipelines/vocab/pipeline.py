"""Stage ``vocab`` as a Beam pipeline.

    blocks of documents -> words counted (count_words.py) -> one learner on arrays, and one more to
    judge it by (publish.py) -> vocab.txt, manifest

With ``--word_counts`` the counted words are kept in a file, and a later run begins there.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import apache_beam as beam

from pipelines.beam.heartbeat import reading
from pipelines.beam.runner import Finish, run_pipeline
from pipelines.command.progress import Phase
from pipelines.command.run import RunOptions, say
from pipelines.documents.config import describe_inputs, paths_read
from pipelines.documents.read_documents import ReadDocuments
from pipelines.documents.sample import sample_input, sample_texts
from pipelines.documents.text_size import advise_on_whole_files
from pipelines.errors import UserError
from pipelines.plan import Plan
from pipelines.records.manifest import Manifest
from pipelines.records.versions import deciding_versions
from pipelines.stage import StageRun, run_stage
from pipelines.storage import files
from pipelines.storage.real_paths import real_path, refuse_overlap
from pipelines.text.preset_vocabulary import load_preset_vocabulary
from pipelines.text.unknown_words import count_words, list_words
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE
from pipelines.vocab.advice import describe_lost_accents, describe_shortcomings
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.count_words import CountWords, count_partitions, gather_counts
from pipelines.vocab.publish import learn_and_publish, publish_preset
from pipelines.vocab.word_counter import COUNTED_BYTES, WordCounter
from pipelines.vocab.word_counts import (
    WordCounts,
    is_word_counts,
    load_word_counts,
    save_word_counts,
)

# Of one distinct word, on one core; measured up to 5 million of them.
_LEARNING_SECONDS = 2e-5
# Distinct words never grow faster than this power of a large text, whatever a small sample says.
_MOST_POWER = 0.6
# In memory: how often what is counted at a time, and for each distinct word.
_COUNTED_TIMES, _WORD_BYTES = 4, 600


def learn_vocabulary(config: VocabConfig, options: RunOptions = RunOptions()) -> None:
    """Runs the stage. Raises UserError for what the user can put right."""
    config.check()
    chosen = config.strip_accents is not None
    preset = load_preset_vocabulary(config.from_preset) if config.from_preset else None
    old = preset.vocabulary if preset else None
    config = config.resolve(preset)
    inputs = config.match_input() if config.input else []
    run = StageRun(
        "vocab",
        config,
        {"files": describe_inputs(inputs), **({"preset": old.fingerprint} if old else {})},
        {
            "input": paths_read(config, inputs),
            "from_preset": [config.from_preset] if config.from_preset else [],
        },
        (VOCABULARY_FILE, *_counts_beside(config)),
        versions=deciding_versions(),
    )
    # Before the output is touched: the file may hold other words.
    counted = None if options.dry_run else _read_counted(run, recount=options.overwrite)

    documents = ReadDocuments(inputs, config)

    def build(pipeline: beam.Pipeline) -> None:
        finish = partial(_count_and_learn, run=run, ranges=len(documents.ranges), old=old)
        count = CountWords(config, count_partitions(inputs))
        _ = pipeline | documents | count | Finish(finish)

    def plan() -> Plan:
        if counted or not inputs:
            return _plan([], config, 0)
        if config.strip_accents and not (chosen or old):
            _advise_on_accents(inputs, config)
        advise_on_whole_files("vocab", inputs, documents.ranges)
        return _plan(inputs, config, len(documents.ranges))

    def work(expected: Mapping[str, float]) -> None:
        if old and not inputs:
            publish_preset(old, run)
            return
        if counted:
            say("vocab", f"words counted before, from {config.word_counts}")
            learn_and_publish(counted, run, old)
            return
        run_pipeline(build, options.beam_args, partial(_progress, expected, len(documents.ranges)))

    reads = f"{len(inputs)} files, {sum(info.size for info in inputs) / 1e6:,.1f} MB"
    if old:
        reads += f"; the vocabulary of {config.from_preset}, {old.size:,} pieces"
    manifest = run_stage(
        run,
        options,
        reads=reads,
        plan=plan,
        work=work,
        ratios=_show,
    )
    if manifest is not None:
        for advice in describe_shortcomings(manifest.facts, config):
            say("vocab", advice)


def _progress(expected: Mapping[str, float], ranges: int, counted: Counter[str]) -> Phase:
    if counted["ranges"] < ranges:
        return reading("vocab", counted, expected.get("bytes_in", 0))
    return Phase("vocab: learning", note=f"{counted['documents']:,} documents read")


def _count_and_learn(
    elements: list[Any], run: StageRun, ranges: int, old: Vocabulary | None
) -> None:
    """What ends the pipeline, wherever it runs."""
    counted = gather_counts(elements, ranges, run.config)
    if run.config.word_counts:
        save_word_counts(run.config.word_counts, counted, _origin(run))
    learn_and_publish(counted, run, old)


def _origin(run: StageRun) -> dict[str, Any]:
    """What a file of counted words must have been counted from, and how, to be read again."""
    return {"inputs": run.inputs["files"], **run.config.counting_fields()}


def _read_counted(run: StageRun, *, recount: bool) -> WordCounts | None:
    """The words as counted before; None where there is no such file, or where it may be replaced."""
    path = run.config.word_counts
    if not path:
        return None
    refuse_overlap(path, run.reads, "word_counts")
    if os.path.isdir(path):
        raise UserError(f"--word_counts: {path} is a folder; name a file, such as {path}/words.tsv")
    if not files.exists(path):
        # Now, not after hours of counting.
        files.make_folder(os.path.dirname(path) or ".")
        return None
    try:
        return load_word_counts(path, _origin(run))
    except UserError:
        if recount and is_word_counts(path):
            return None
        raise


def _counts_beside(config: VocabConfig) -> tuple[str, ...]:
    """The name of the file of counted words, where it lies in the output."""
    folder, name = os.path.split(config.word_counts or "")
    return (name,) if name and real_path(folder) == real_path(config.output) else ()


def _plan(inputs: list[files.FileInfo], config: VocabConfig, pieces: int) -> Plan:
    """What would be written and how long it takes, from a sample of the input, which can be read in so
    many pieces."""
    writes = [files.join(config.output, VOCABULARY_FILE)]
    if config.word_counts:
        writes.append(f"{config.word_counts}, or read it if it is there")
    if not inputs:
        return Plan(writes)
    sample = sample_input(inputs, config)
    words, texts, distinct = Counter[bytes](), [1], [1]
    adding = taking = 0.0
    half = -(-len(sample.blocks) // 2)
    parts = [part for part in (sample.blocks[:half], sample.blocks[half:]) if part]
    for part in parts:
        counter, began = WordCounter(config), time.thread_time()
        for block in part:
            counter.add(block.text, block.offsets)
        added = time.thread_time()
        words.update(counter.take())
        adding, taking = adding + added - began, taking + time.thread_time() - added
        texts.append(texts[-1] + sum(len(block.text) for block in part))
        distinct.append(max(1, len(words)))
    # Heaps' law: distinct words grow with a power of the text, which the two halves tell.
    power = min(
        math.log(distinct[-1] / distinct[-2]) / math.log(texts[-1] / texts[-2]), _MOST_POWER
    )
    size = texts[-1] * sample.scale
    total = min(len(words) * sample.scale**power, config.max_input_tokens)
    # What is counted at a time costs as much as it has distinct words.
    at_once = min(size, COUNTED_BYTES)
    grown = len(parts) * at_once / texts[-1]
    counting = adding * sample.scale + taking / len(parts) * grown**power * size / at_once
    amounts = {
        **{name: sample.counts[name] for name in ("documents_in", "bytes_in")},
        "words_in": words.total() * sample.scale,
        "distinct_words": total,
    }
    return Plan(
        writes,
        amounts,
        sample.read_seconds + counting,
        total * _LEARNING_SECONDS,
        pieces=pieces,
        worker_bytes=_COUNTED_TIMES * at_once,
        shared_bytes=_WORD_BYTES * total,
    )


def _advise_on_accents(inputs: list[files.FileInfo], config: VocabConfig) -> None:
    """Says what the default would take away from the words, before they are counted."""
    words = count_words(
        sample_texts(inputs, config), lowercase=bool(config.lowercase), strip_accents=False
    )
    if advice := describe_lost_accents(words):
        say("vocab", advice)


def _show(manifest: Manifest) -> dict[str, Any]:
    """What the summary says of a vocabulary."""
    facts = dict(manifest.facts)
    unknown = facts.pop("unknown", None)
    if unknown and unknown["words"]:
        facts["[UNK] words"] = f"{unknown['words']:,} ({unknown['rate']:.2%})"
        facts["most frequent [UNK] words"] = list_words(unknown["most_frequent"])
    return facts
