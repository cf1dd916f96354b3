"""``python -m pipelines.inspect``: what an output holds, how to parse it, and whether it is whole.

With ``--repair`` damaged shards are made again; with ``--tokenizer`` a vocabulary is shown at work.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.command.options import CHOOSE, option
from pipelines.command.run import RunOptions, run_command, show
from pipelines.documents.config import InputFormat
from pipelines.documents.sample import sample_texts
from pipelines.errors import UserError
from pipelines.inspection.peer_tokenizers import ask_peers
from pipelines.inspection.show_leaks import describe_leaks
from pipelines.inspection.show_rows import describe_rows
from pipelines.inspection.show_tokenizer import describe_texts, load_tokenizer, measure_words
from pipelines.inspection.verify_output import (
    damaged_manifest,
    damaged_shards,
    damaged_vocabulary,
    unchecked_vocabulary,
)
from pipelines.records.checksums import CHECKSUMS, find_damage
from pipelines.records.codec import record_layout
from pipelines.records.manifest import MANIFEST, RUN, Manifest, read_manifest
from pipelines.records.ragged import Columns
from pipelines.records.tf_example import parsing_schema
from pipelines.repair import repair_shards
from pipelines.stage import row_ratios
from pipelines.storage import files
from pipelines.summary import print_summary
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE

_LEAKS = "to find evaluation texts in rows"
_REPAIR = "to make damaged shards again"
_TOKENIZER = "to see a tokenizer at work"
_WHOLE = "all files are as they were written"


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """Summarise an output, show some of its rows, print how to parse its records, and verify every
    file of it; or show what a vocabulary makes of texts.

    Example: --data runs/rows
    """

    data: str | None = option(None, group=CHOOSE, metavar="DIR")
    """The output of a stage (rows, examples, a preset …), local or gs://…. Required unless --tokenizer
    is given."""

    rows: int = option(2, metavar="N")
    """Rows of the output to show as pieces, a line for each document; 0: none. A masked token has what
    is to be predicted behind it: [MASK][cat]."""

    html: str | None = option(None, metavar="FILE")
    """Write a page to look at about the vocabulary, rows or examples in --data instead: documents, rows,
    pieces, masks, what was dropped, and what it was made from. Of large ones it looks at a part."""

    tokenizer: str | None = option(None, group=_TOKENIZER, metavar="PATH")
    """A vocab.txt, or the folder of a stage's output or of a preset, whose pieces are shown of --texts
    and --input."""

    texts: tuple[str, ...] = option((), group=_TOKENIZER, metavar="TEXT")
    """Texts to split into pieces and ids."""

    compare: bool = option(False, group=_TOKENIZER)
    """Show beside them what the tokenizers of KerasHub and Transformers make of --texts with the same
    vocabulary, where they are installed. Takes some seconds."""

    text_field: str = option("text", group=_TOKENIZER, metavar="NAME")
    """The field or column of --input, or of --leaks, that holds the text."""

    leaks: tuple[str, ...] = option((), group=_LEAKS, metavar="FILE")
    """Evaluation texts, files of any format of documents: say which documents of the rows share a run of
    tokens with one of them. Their text is in --text_field."""

    leak_tokens: int = option(13, group=_LEAKS)
    """How many tokens make a run; texts of fewer are not looked for."""

    repair: bool = option(False, group=_REPAIR)
    """Make damaged and missing shards of rows and examples again, bit for bit, from what the stage
    read; all else stays as it is."""

    input: tuple[str, ...] = option((), group=_REPAIR, metavar="PATH")
    """Where the input of the stage is now; default: where it was, as run.json says. The vocabulary is
    the output's own. With --tokenizer: documents, of a sample of which the words are shown that fare
    worst."""

    def check(self) -> None:
        """Raises UserError for options that do not go together."""
        if (self.data is None) == (self.tokenizer is None):
            raise UserError("--data: name an output to inspect, or a vocabulary with --tokenizer")
        if self.tokenizer and not (self.texts or self.input):
            raise UserError(
                f"--tokenizer {self.tokenizer}: give --texts to split, or --input to find the words "
                "that it splits worst"
            )
        if self.texts and not self.tokenizer:
            raise UserError("--texts: name the vocabulary that is to split them with --tokenizer")
        if self.compare and not self.texts:
            raise UserError("--compare: compares what becomes of --texts; give some")
        if self.input and not (self.repair or self.tokenizer):
            raise UserError("--input: is what to repair from; add --repair")
        if self.html is not None and (not self.data or self.repair or self.leaks):
            raise UserError(
                "--html: is a page about --data, and does not go with --repair or --leaks"
            )
        if self.leaks and not self.data:
            raise UserError("--leaks: name the rows to look through with --data")
        if self.leak_tokens < 2:
            raise UserError(f"--leak_tokens {self.leak_tokens}: must be at least 2")
        if self.rows < 0:
            raise UserError(f"--rows {self.rows}: must not be negative")


def inspect(config: InspectConfig, options: RunOptions = RunOptions()) -> None:
    """Runs the command. Raises UserError for a file that is not as it was written."""
    config.check()
    if config.data is None:
        _show_tokenizer(config)
    elif config.html is not None:
        _write_page(config.data, config.html)
    elif _is_listed_alone(config.data):
        _report([*find_damage(config.data, whole=True)])
        show(_WHOLE)
    else:
        _inspect_output(config.data, config)


def _write_page(folder: str, path: str) -> None:
    try:
        from pipelines.pages.output_page import write_page
    except ImportError:
        raise UserError("--html: needs jinja2; pip install 'bertmill[train]'") from None
    looked_at = write_page(folder, path)
    show(f"wrote {path}; {looked_at}")


def _show_tokenizer(config: InspectConfig) -> None:
    source = load_tokenizer(str(config.tokenizer))
    vocabulary = source.vocabulary
    show(
        f"{vocabulary.size:,} pieces, lowercase {source.lowercase}, strip_accents "
        f"{source.strip_accents}{source.note}"
    )
    peers = ask_peers(config.texts, source) if config.compare else ()
    for lines in describe_texts(config.texts, source, peers):
        show("\n" + "\n".join(lines))
    if config.input:
        sampled = sample_texts(files.match(config.input), InputFormat(text_field=config.text_field))
        figures, tables = measure_words(sampled, source)
        print()
        print_summary(figures)
        for table in filter(None, tables):
            show(f"\n{table}")


def _inspect_output(folder: str, config: InspectConfig) -> None:
    manifest = read_manifest(folder, flag="data")
    totals = {
        split: f"{manifest.rows(split):,} records in {len(shards):,} shards, "
        f"{sum(shard.bytes for shard in shards) / 1e6:,.1f} MB"
        for split, shards in manifest.splits.items()
    }
    print_summary({"made_by": manifest.stage}, manifest.facts, manifest.counts, totals)
    if manifest.stage == "tokenize":
        print_summary(row_ratios(manifest))
    if manifest.schema:
        show(f"\n{describe_records(manifest)}\n")
    unchecked = unchecked_vocabulary(folder, manifest)
    # An export holds nothing else; in the folder of a run there may be more.
    problems = [*find_damage(folder, whole=manifest.stage == "export")]
    if RUN not in dict(problems):  # else what it says of the manifest is worth nothing
        problems += damaged_manifest(folder)
    problems += damaged_vocabulary(folder, manifest)
    first: list[Columns] = []
    damaged = dict(damaged_shards(folder, manifest, first))
    if first and not problems:
        vocabulary = Vocabulary.load(files.join(folder, VOCABULARY_FILE))
        for line in describe_rows(first[0], vocabulary, config.rows):
            show(line)
    if config.repair and damaged and not problems:
        shards = [shard for shard in manifest.shards() if shard.name in damaged]
        repair_shards(folder, manifest, shards, config.input)
        show(f"made again: {', '.join(damaged)}")
        damaged.clear()
    _report([*problems, *damaged.items()])
    count = len(manifest.shards())
    whole = f"all {count:,} shards are as {files.join(folder, MANIFEST)} says" if count else _WHOLE
    show(f"{whole}{unchecked}")
    if config.leaks:
        for line in describe_leaks(
            folder, manifest, config.leaks, config.text_field, config.leak_tokens
        ):
            show(line)


def _is_listed_alone(folder: str) -> bool:
    """True for a preset that is a part of an output, or a copy: it has checksums and no manifest."""
    there = [files.exists(files.join(folder, name)) for name in (CHECKSUMS, MANIFEST, RUN)]
    return there == [True, False, False]


def describe_records(manifest: Manifest) -> str:
    """How to parse a record: Python for ``tf.io.parse_example``, or the layout of an ArrayRecord."""
    if manifest.facts.get("format") == "tfrecord":
        return (
            "# Every record is a tf.train.Example. With stock TensorFlow:\n"
            f"{parsing_schema(manifest.schema)}\n"
            "# dataset = tf.data.TFRecordDataset(paths).map(\n"
            "#     lambda record: tf.io.parse_single_example(record, features))"
        )
    return record_layout(manifest.schema)


def _report(problems: Sequence[tuple[str, str]]) -> None:
    """Prints each damaged file to standard error. Raises UserError if there is one."""
    for name, problem in problems:
        print(f"BAD  {name}: {problem}", file=sys.stderr)
    if problems:
        more = f" (and {len(problems) - 1} more, see above)" if len(problems) > 1 else ""
        raise UserError(f"{problems[0][1]}{more}")


if __name__ == "__main__":
    run_command(
        InspectConfig, inspect, stage="inspect", module="pipelines.inspect", publishes=False
    )
