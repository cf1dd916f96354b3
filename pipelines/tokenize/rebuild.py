"""Single shards of a finished output of tokenize, made again from the documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial

import apache_beam as beam

from pipelines.beam.runner import Finish, run_pipeline
from pipelines.command.parse import config_again
from pipelines.command.progress import Phase
from pipelines.documents.read_documents import ReadDocuments, check_reading
from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST, Manifest
from pipelines.records.output_folder import read_record
from pipelines.stage import Report, add_counts
from pipelines.storage import files
from pipelines.text.vocabulary_source import load_vocabulary, save_vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pipeline import write_shards
from pipelines.tokenize.reshard import RESHARDED
from pipelines.tokenize.shard import plan_shards

# What of the counts depends on the documents alone.
_OF_THE_INPUT = ("documents_in", "bytes_in")


def rebuild_shards(
    folder: str, manifest: Manifest, names: Collection[str], inputs: tuple[str, ...], into: str
) -> None:
    """Writes the named shards of the output in ``folder`` to the local folder ``into``.

    All documents are read, and those of these shards kept. ``inputs``: files, folders or patterns;
    without, those that run.json names. Raises UserError where they are missing or others.
    """
    # A function is not run because a file names it, and evaluation texts are not in the manifest.
    used = f"--filter {manifest.config['filter']}" if manifest.config.get("filter") else ""
    used = used or ("--exclude" if "exclude" in manifest.facts else "")
    if used := used or ("pipelines.reshard" if RESHARDED in manifest.facts else ""):
        raise UserError(
            f"--repair: {folder} was made with {used}; make it again with its own command and "
            "--overwrite"
        )
    sizes = {} if inputs else _recorded_sizes(folder)
    config = config_again(
        TokenizeConfig,
        "tokenize",
        manifest.config,
        files.join(folder, MANIFEST),
        input=inputs or tuple(sizes),
        vocab=folder,
        output=into,
    )
    config.check()
    matched = config.match_input()
    for info in matched:
        if info.size != sizes.get(info.path, info.size):
            raise UserError(
                f"--repair: {info.path} has {info.size:,} bytes, but had {sizes[info.path]:,} when "
                f"{folder} was made from it; give the former files with --input"
            )
    vocabulary = load_vocabulary(folder).vocabulary
    save_vocabulary(into, vocabulary)
    documents = ReadDocuments(matched, config.labelled_fields() or config)
    keys = [key for key, shard in enumerate(plan_shards(config)) if shard.name in names]
    expected = {name: manifest.counts.get(name, 0) for name in _OF_THE_INPUT}
    check = partial(_check_input, expected=expected, ranges=len(documents.ranges))

    def build(pipeline: beam.Pipeline) -> None:
        _ = write_shards(pipeline, documents, config, vocabulary, into, keys) | Finish(check)

    run_pipeline(build, (), lambda _: Phase(f"repair: making {len(keys)} shards again"))


def _recorded_sizes(folder: str) -> dict[str, int]:
    """The size in bytes of each input file, by its path, as run.json says."""
    try:
        return {str(path): int(size) for path, size, _ in read_record(folder)["inputs"]["files"]}
    except UserError:
        raise
    except (OSError, KeyError, TypeError, ValueError):
        raise UserError(
            f"--repair: {folder} does not say what it was made from; name the files with --input"
        ) from None


def _check_input(reports: list[Report], expected: Mapping[str, int], ranges: int) -> None:
    """Raises UserError unless as much was read as the manifest counts."""
    counts: Counter[str] = add_counts(reports)
    check_reading(counts, ranges)
    for name, count in expected.items():
        if counts[name] != count:
            what = name.removesuffix("_in")
            raise UserError(
                f"--repair: the input has {counts[name]:,} {what}, but the output was made from "
                f"{count:,}; name the right files with --input"
            )
