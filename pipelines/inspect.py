"""``python -m pipelines.inspect``: what an output holds, how to parse it, and whether it is whole."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass

from pipelines.command.options import CHOOSE, option
from pipelines.command.run import RunOptions, run_command
from pipelines.errors import UserError
from pipelines.records.codec import record_layout
from pipelines.records.manifest import MANIFEST, Manifest, open_shard, read_manifest
from pipelines.records.shards import ShardInfo, local_copy
from pipelines.records.tf_example import parsing_schema
from pipelines.stage import print_summary, row_ratios
from pipelines.storage import files
from pipelines.text.vocabulary_source import VOCABULARY_FILE, check_vocabulary, read_vocabulary


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """Summarise the output of a stage, print how to parse its records, and verify every shard.

    Example: --data runs/rows
    """

    data: str = option(group=CHOOSE, metavar="DIR")
    """The output of a stage (rows, examples, …), local or gs://…."""


def inspect(config: InspectConfig, options: RunOptions) -> None:
    """Runs the command. Raises UserError for a shard that is not as its manifest says."""
    folder = config.data
    manifest = read_manifest(folder, flag="data")
    totals = {
        split: f"{manifest.rows(split):,} records in {len(shards):,} shards, "
        f"{sum(shard.bytes for shard in shards) / 1e6:,.1f} MB"
        for split, shards in manifest.splits.items()
    }
    print_summary({"stage": manifest.stage}, manifest.facts, manifest.counts, totals)
    if manifest.stage == "tokenize":
        print_summary(row_ratios(manifest))
    if manifest.schema:
        print(f"\n{describe_records(manifest)}\n")
    verify_vocabulary(folder, manifest)
    verify_shards(folder, manifest)


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


def verify_vocabulary(folder: str, manifest: Manifest) -> None:
    """Checks vocab.txt, where the stage writes one, against what the manifest says of it.

    Raises UserError if it is missing or another.
    """
    path = files.join(folder, VOCABULARY_FILE)
    if manifest.stage not in ("vocab", "tokenize", "mask", "pretrain"):
        return
    if not files.exists(path):
        raise UserError(f"{path} is missing; put it back or make the output again (--overwrite)")
    if manifest.stage != "vocab":
        check_vocabulary(folder, read_vocabulary(path), manifest)
        return
    size, pieces = manifest.facts["size"], files.read_bytes(path).count(b"\n")
    if pieces != size:
        raise UserError(
            f"{path} has {pieces:,} pieces, its manifest says {size:,}; put the right file back or "
            "make the output again (--overwrite)"
        )


def verify_shards(folder: str, manifest: Manifest) -> None:
    """Checks size, checksum, record count and every record of every shard.

    Prints each damaged shard to standard error. Raises UserError if there is one.
    """
    shards = manifest.shards()
    problems: list[str] = []
    for shard in shards:
        try:
            _read_all(folder, manifest, shard)
        except UserError as error:
            problems.append(str(error))
            print(f"BAD  {shard.name}: {error}", file=sys.stderr)
    if problems:
        more = f" (and {len(problems) - 1} more, see above)" if len(problems) > 1 else ""
        raise UserError(f"{problems[0]}{more}")
    print(f"all {len(shards):,} shards are as {files.join(folder, MANIFEST)} says")


def _read_all(folder: str, manifest: Manifest, shard: ShardInfo) -> None:
    if not manifest.schema:  # files of another kind, such as a corpus: only the checksum
        with local_copy(folder, shard):
            return
    with open_shard(folder, manifest, shard) as reader:
        deque(reader.in_order(), maxlen=0)


if __name__ == "__main__":
    run_command(
        InspectConfig, inspect, stage="inspect", module="pipelines.inspect", publishes=False
    )
