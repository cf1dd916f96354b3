"""``python -m pipelines.inspect``: what an output holds and whether it is whole; whose ids we give.

``--data`` summarises the output of a stage, prints how to parse its records, and verifies every
shard against the manifest. ``--tokenizer`` with ``--sample`` compares the ids of a sample of
documents with those of KerasHub and Transformers, whichever is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines import files
from pipelines.check_parity import compare_with_peers
from pipelines.command import RunOptions, run_command
from pipelines.documents.blocks import read_blocks
from pipelines.documents.formats import Format, InputFormat
from pipelines.documents.line_ranges import FileRange
from pipelines.errors import UserError
from pipelines.options import CHOOSE, option
from pipelines.records.codec import record_layout
from pipelines.records.manifest import MANIFEST, Manifest, read_manifest
from pipelines.records.shards import ShardReader, local_copy
from pipelines.records.tf_example import parsing_schema
from pipelines.stage import print_summary
from pipelines.text.vocabulary_source import load_vocabulary

_SAMPLE = "comparing ids"


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """Look into what the stages made: --data DIR verifies an output, --tokenizer DIR --sample FILES
    compares ids with KerasHub and Transformers.

    Example: --data runs/rows
    """

    data: str | None = option(None, group=CHOOSE, metavar="DIR")
    """The output of a stage (rows, examples, …), local or gs://…, to be verified."""

    tokenizer: str | None = option(None, group=CHOOSE, metavar="PATH")
    """A vocab.txt, or a folder with one (the output of pipelines.vocab or pipelines.tokenize), to
    compare ids with; needs --sample."""

    sample: tuple[str, ...] = option((), group=_SAMPLE, metavar="PATH")
    """Files, folders or glob patterns of documents to compare ids on."""

    documents: int = option(1000, group=_SAMPLE)
    """How many documents to compare, from the beginning of each file in turn."""

    input_format: Format = option("auto", group=_SAMPLE)
    """As for pipelines.tokenize."""

    text_field: str = option("text", group=_SAMPLE, metavar="NAME")
    """The field (jsonl) or column (csv, tsv, parquet) that holds the text."""

    lowercase: bool | None = option(None, group=_SAMPLE)
    """Fold case; default: as the vocabulary's manifest says, else true unless it
    has upper-case pieces."""

    strip_accents: bool | None = option(None, group=_SAMPLE)
    """Remove accents; default: as the manifest says, else the same as lowercase."""

    def check(self) -> None:
        """Raises UserError unless the options ask for something."""
        if not self.data and not self.tokenizer:
            raise UserError(
                "nothing to inspect: give --data DIR, or --tokenizer DIR --sample FILES"
            )
        if bool(self.tokenizer) != bool(self.sample):
            raise UserError("--tokenizer and --sample go together: give both")
        if self.documents < 1:
            raise UserError(f"--documents {self.documents}: must be at least 1")


def inspect(config: InspectConfig) -> None:
    """Runs the command. Raises UserError for a shard that is not as its manifest says."""
    config.check()
    if config.tokenizer:
        _inspect_tokenizer(config)
    if config.data:
        _inspect_data(config.data)


def _inspect_data(folder: str) -> None:
    manifest = read_manifest(folder, flag="data")
    totals = {
        split: f"{sum(shard.records for shard in shards):,} records in {len(shards):,} shards, "
        f"{sum(shard.bytes for shard in shards) / 1e6:,.1f} MB"
        for split, shards in manifest.splits.items()
    }
    print_summary([("stage", manifest.stage)], manifest.facts, manifest.counts, totals)
    print_summary(_ratios(manifest))
    if manifest.schema:
        print(f"\n{describe_records(manifest)}\n")
    verify_shards(folder, manifest)


def _ratios(manifest: Manifest) -> dict[str, str]:
    """What readers want to know of packed rows, from the manifest alone."""
    counts, length = manifest.counts, manifest.facts.get("seq_length")
    if manifest.stage != "tokenize" or not length or not counts.get("rows"):
        return {}
    tokens = counts["tokens_out"] + counts["special_tokens"]
    size = sum(shard.bytes for shards in manifest.splits.values() for shard in shards)
    return {
        "fill": f"{tokens / (counts['rows'] * length):.3%}",
        "bytes a token": f"{size / tokens:.3f}",
    }


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


def verify_shards(folder: str, manifest: Manifest) -> None:
    """Checks size, checksum, record count and every record of every shard.

    Raises UserError that names all shards that are not as the manifest says.
    """
    found = 0
    bad: list[str] = []
    for shards in manifest.splits.values():
        for info in shards:
            found += 1
            try:
                if not manifest.schema:  # files of another kind, such as a corpus
                    with local_copy(folder, info):
                        continue
                with local_copy(folder, info) as path:
                    format = str(manifest.facts.get("format", info.name.rsplit(".", 1)[-1]))
                    reader = ShardReader(path, info, manifest.schema, format)
                    for rows in reader.in_order():
                        del rows
            except UserError as error:
                bad.append(str(error))
                print(f"BAD  {info.name}: {error}", file=sys.stderr)
    if bad:
        more = f" (and {len(bad) - 1} more, see above)" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}{more}")
    print(f"all {found:,} shards are as {files.join(folder, MANIFEST)} says")


def _inspect_tokenizer(config: InspectConfig) -> None:
    assert config.tokenizer is not None
    source = load_vocabulary(config.tokenizer, config.lowercase, config.strip_accents)
    texts = _read_sample(config)
    print(
        f"{len(texts):,} documents, {sum(len(text.encode()) for text in texts) / 1e6:,.1f} MB; "
        f"vocabulary of {source.vocabulary.size:,} (lowercase {source.lowercase}, strip_accents "
        f"{source.strip_accents})"
    )
    for line in compare_with_peers(texts, source):
        print(line)


def _read_sample(config: InspectConfig) -> list[str]:
    options = InputFormat(config.input_format, config.text_field)
    found = files.match(config.sample, "sample")
    readers: list[Iterator[Any]] = [
        (text for block in read_blocks(FileRange(info.path), options) for text in block.texts())
        for info in found
    ]
    texts: list[str] = []
    while readers and len(texts) < config.documents:
        for reader in list(readers):
            text = next(reader, None)
            if text is None:
                readers.remove(reader)
            elif len(texts) < config.documents:
                texts.append(text)
    if not texts:
        raise UserError("--sample: no documents in it; check --input_format and --text_field")
    return texts


def _main(config: InspectConfig, options: RunOptions) -> None:
    inspect(config)


if __name__ == "__main__":
    run_command(InspectConfig, _main, stage="inspect", module="pipelines.inspect", publishes=False)
