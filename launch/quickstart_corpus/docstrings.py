"""The embedded corpus: the docstrings of the Python packages that are already installed.

Every Python environment holds tens of MB of English prose. This command parses the installed
packages with ``ast`` (nothing is imported or run), cleans their docstrings, keeps one of every
group of near-duplicates and writes a corpus for pretraining, and a labelled task: "which library
is this docstring from?", with the names of the libraries taken out of its texts. What is written
depends on the installed files and the configuration alone. No text of the task's validation part
(nor a near-duplicate of one) is in the corpus or in the training part.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from tqdm import tqdm

from launch.quickstart_corpus.docstring_sources import (
    Docstring,
    find_sources,
    limit_sources,
    read_docstrings,
)
from launch.quickstart_corpus.docstring_task import DocstringsConfig, choose
from pipelines.command.run import RunOptions, run_command, show
from pipelines.errors import UserError
from pipelines.records.manifest import Manifest, check_balance, read_manifest
from pipelines.records.output_folder import finish_output, prepare_output
from pipelines.records.shards import ShardInfo
from pipelines.storage import files

# Generated clients are hundreds of MB of one pattern: only so much of each package is read.
_PACKAGE_SOURCE_BYTES = 24_000_000


def make_docstrings(config: DocstringsConfig, options: RunOptions) -> None:
    """Reads the installed packages and writes the corpus and the task; see the module docstring.

    Raises UserError for bad options, or if there is too little to read.
    """
    started = time.monotonic()
    _check(config)
    paths = sysconfig.get_paths()
    default = (paths["purelib"], paths["platlib"], paths["stdlib"])
    folders = sorted({os.path.realpath(f) for f in config.folders or default}, key=str)
    found = find_sources(folders)
    if not found:
        raise UserError(f"--folders: no Python files in {', '.join(folders)}; name other folders")
    listing = "\n".join(f"{source.module} {source.size}" for source in found)
    inputs = {"files": len(found), "sha256": hashlib.sha256(listing.encode()).hexdigest()}
    asked = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("output", "folders")}
    sources = limit_sources(found, _PACKAGE_SOURCE_BYTES, config.seed)
    size = sum(source.size for source in sources) / 1e6
    if options.dry_run:
        show(f"would read {len(sources):,} files ({size:.0f} MB) in {', '.join(folders)}")
        show(f"would write corpus, train, validation (.jsonl) and manifest.json to {config.output}")
        return
    if prepare_output(
        config.output,
        asked,
        inputs,
        overwrite=options.overwrite,
        stage="docstrings",
        makes=("corpus.jsonl", "train.jsonl", "validation.jsonl"),
    ):
        show(f"{config.output} is finished already: {_summary(read_manifest(config.output))}")
        return
    print(f"reading the docstrings of {len(sources):,} files ({size:.0f} MB)", flush=True)
    counts: Counter[str] = Counter(files_found=len(found))
    docstrings: list[Docstring] = []
    counts["files_dropped_package_limit"] = len(found) - len(sources)
    with ProcessPoolExecutor(initializer=_end_with_parent) as pool:
        results = pool.map(read_docstrings, sources, chunksize=64)
        for result in tqdm(results, total=len(sources), unit=" files", disable=None):
            counts["files_read" if result else "files_dropped_not_python"] += 1
            number, prose = result or (0, [])
            counts["docstrings_read"] += number
            counts["docstrings_dropped_not_prose"] += number - len(prose)
            docstrings += prose
    corpus, train, validation = choose(docstrings, config, counts)
    check_balance(counts, "files", "files_found", ("files_read", "files_dropped_*"))
    check_balance(
        counts,
        "docstrings",
        "docstrings_read",
        ("docstrings_corpus", "docstrings_held_out_for_validation", "docstrings_dropped_*"),
    )
    shards = {
        "corpus": _write_jsonl(config.output, "corpus", corpus, ("text", "source")),
        "train": _write_jsonl(config.output, "train", train, ("text", "label", "source")),
        "validation": _write_jsonl(
            config.output, "validation", validation, ("text", "label", "source")
        ),
    }
    facts = {
        "corpus_bytes": sum(len(docstring.text.encode()) for docstring in corpus),
        "corpus_documents": dict(sorted(Counter(d.label for d in corpus).items())),
        "train_labels": dict(sorted(Counter(d.label for d in train).items())),
        "validation_labels": dict(sorted(Counter(d.label for d in validation).items())),
    }
    manifest = Manifest("docstrings", asked, dict(sorted(counts.items())), facts, (), shards)
    seconds = time.monotonic() - started
    finish_output(config.output, manifest, inputs, {"seconds": round(seconds, 1)})
    show(f"{config.output}: {_summary(manifest)} ({seconds:.0f} s)")


def _end_with_parent() -> None:
    """Ends this worker when the command is killed: it would wait for more work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _check(config: DocstringsConfig) -> None:
    least = {"max_bytes": 1, "labels": 2, "train_per_label": 1, "validation_per_label": 1}
    for name, number in least.items():
        if getattr(config, name) < number:
            raise UserError(f"--{name} {getattr(config, name)}: must be at least {number}")
    for folder in config.folders:
        if not os.path.isdir(folder):
            raise UserError(f"--folders: {folder} is not a folder")


def _write_jsonl(
    folder: str, name: str, docstrings: Sequence[Docstring], fields: tuple[str, ...]
) -> tuple[ShardInfo, ...]:
    records = ({field: getattr(docstring, field) for field in fields} for docstring in docstrings)
    content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    files.publish_bytes(files.join(folder, f"{name}.jsonl"), content)
    digest = hashlib.sha256(content).hexdigest()
    return (ShardInfo(f"{name}.jsonl", len(docstrings), len(content), digest),)


def _summary(manifest: Manifest) -> str:
    return (
        f"{manifest.rows('corpus'):,} docstrings ({manifest.facts['corpus_bytes'] / 1e6:.1f} MB) "
        f"to pretrain on; {manifest.rows('train'):,} + {manifest.rows('validation'):,} of "
        f"{len(manifest.facts['train_labels'])} libraries to fine-tune and validate with"
    )


if __name__ == "__main__":
    run_command(
        DocstringsConfig,
        make_docstrings,
        stage="docstrings",
        module="launch.quickstart_corpus.docstrings",
    )
