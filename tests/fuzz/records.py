"""Vocabularies, word counts, manifests, run.json and shards, read as the stages after them read them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.errors import UserError
from pipelines.inspect import InspectConfig, inspect
from pipelines.records.manifest import read_manifest
from pipelines.records.output_folder import prepare_output
from pipelines.records.shards import ShardReader, file_sha256
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import load_vocabulary
from pipelines.tokenize.encode import Encoder
from pipelines.vocab.word_counts import WordCounts, load_word_counts, save_word_counts
from tests.fuzz.commands import run_quietly
from tests.fuzz.target import Draw, SilentLossError, Target, folder_files
from tests.trainer.conftest import write_rows

_ORIGIN = {"inputs": [["a.txt", 10, 1.0]], "lowercase": True}
_SOME_TEXT = "w1s2 W3 some unknown w10s4s5 é 你好 [MASK] x"


def targets() -> list[Target]:
    """The files and folders of the pipelines."""
    made = [
        Target("vocab.txt", _vocabulary(), _read_vocabulary, share=0.5),
        Target("vocab.txt of KerasNLP", _vocabulary(), _read_blank_pieces),
        Target("word counts", _word_counts(), _read_word_counts, share=2),
    ]
    for form in ("array_record", "tfrecord"):
        with tempfile.TemporaryDirectory() as folder:
            rows = folder_files(
                write_rows(Path(folder) / "rows", train=20, validation=4, format=form)
            )
        shards = tuple(name for name in rows if name.endswith(form))
        texts = tuple(name for name in rows if name not in shards)
        made += [
            Target(f"shards {form}", rows, _read_shards, shards, share=2),
            Target(f"manifest {form}", rows, _read_rows, texts, share=3),
            Target(f"run.json {form}", rows, _prepare, ("run.json", "manifest.json")),
        ]
    return made


def _vocabulary() -> dict[str, bytes]:
    from tests.trainer.conftest import small_vocabulary

    return {"vocab.txt": small_vocabulary(60).as_file()}


def _read_vocabulary(folder: Path, draw: Draw) -> None:
    source = load_vocabulary(str(folder / "vocab.txt"))
    stored = (
        (folder / "vocab.txt").read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    )
    if source.vocabulary.as_file() != stored + b"\n" * (not stored.endswith(b"\n")):
        raise SilentLossError("not the pieces of the file")
    encoder = Encoder(source.vocabulary, source.lowercase, source.strip_accents)
    encoder.encode([_SOME_TEXT])


def _read_blank_pieces(folder: Path, draw: Draw) -> None:
    Vocabulary.load(folder / "vocab.txt", required=(), allow_blanks=True)


def _word_counts() -> dict[str, bytes]:
    words = ["the", "café", "你", "x" * 120, "b"]
    counts = np.array([90, 40, 40, 3, 1], np.int64)
    counted = WordCounts(words, counts, counts // 3, {"documents_in": 7, "bytes_in": 1000})
    with tempfile.TemporaryDirectory() as folder:
        save_word_counts(f"{folder}/words.tsv", counted, _ORIGIN)
        return folder_files(Path(folder))


def _read_word_counts(folder: Path, draw: Draw) -> None:
    path = folder / "words.tsv"
    if draw.random() < 0.5:
        _seal(path)
    load_word_counts(str(path), _ORIGIN).select(3, 2)


def _seal(path: Path) -> None:
    """Gives the file the checksum of what it holds, so that the rest of it is read."""
    import hashlib

    line, _, body = path.read_bytes().partition(b"\n")
    try:
        head = json.loads(line) | {"sha256": hashlib.sha256(body).hexdigest()}
    except (ValueError, TypeError, RecursionError):
        return
    path.write_bytes(json.dumps(head).encode() + b"\n" + body)


def _read_shards(folder: Path, draw: Draw) -> None:
    """Every row of every shard; a shard that is not as its manifest says must be named."""
    manifest = read_manifest(str(folder))
    sealed = draw.random() < 0.7
    for shard in manifest.shards():
        path = folder / shard.name
        changed = file_sha256(str(path)) != shard.sha256
        if not sealed:
            if changed:
                _demand_error(lambda: run_quietly(inspect, InspectConfig(data=str(folder))))
            continue
        # As if its maker had written it so: what is inside is read.
        info = replace(shard, bytes=path.stat().st_size)
        reader = ShardReader(str(path), info, manifest.schema, manifest.facts["format"])
        for _ in reader.in_order(7):
            pass


def _demand_error(read: Callable[[], object]) -> None:
    try:
        read()
    except UserError:
        return
    raise SilentLossError("a shard that is not as its manifest says was read without a word")


def _read_rows(folder: Path, draw: Draw) -> None:
    from pipelines.mask.config import MaskConfig
    from trainer.data.batches import BatchMaker
    from trainer.data.dataset import TRAIN, open_datasets
    from trainer.data.order import RowOrder

    readers: tuple[Callable[[], object], ...] = (
        lambda: run_quietly(inspect, InspectConfig(data=str(folder))),
        lambda: load_vocabulary(str(folder)),
    )
    draw.choice(readers)()
    datasets = open_datasets([str(folder)])
    order = RowOrder([dataset.shard_rows(TRAIN) for dataset in datasets], seed=0, batch_size=8)
    maker = BatchMaker(datasets, order, MaskConfig(seed=0))
    try:
        maker.train_batch(draw.choice((0, 1, 5)))
    finally:
        maker.stop_fetching()


def _prepare(folder: Path, draw: Draw) -> None:
    """What a stage asks before it writes; foreign files must stay."""
    (folder / "mine.txt").write_text("mine")
    try:
        prepare_output(
            str(folder),
            {"seed": 0},
            {},
            overwrite=draw.random() < 0.5,
            stage="tokenize",
            makes=("vocab.txt",),
        )
    finally:
        if not (folder / "mine.txt").exists():
            raise SilentLossError("a file of the user was deleted")
