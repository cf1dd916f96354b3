"""Stages whose input, vocabulary and output lie at gs://, on an emulator that these tests start."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.pipeline import mask
from pipelines.records.manifest import MANIFEST, read_manifest
from pipelines.records.shards import ShardReader, local_copy
from pipelines.storage import files
from pipelines.tokenize.pipeline import tokenize
from tests.pipelines.gcs.conftest import FIELDS, contents, upload

pytest.importorskip("google.cloud.storage", reason="needs the extra gcp")


def _has_shards(folder: str) -> bool:
    return any(name.startswith("train") for name in files.names_in(folder))


def test_the_same_bytes_as_a_local_run_and_recognised_when_run_again(remote, rows_dir, capsys):
    tokenize(remote, RunOptions())
    assert contents(remote.output) == contents(str(rows_dir))
    tokenize(remote, RunOptions())
    assert "finished already" in capsys.readouterr().err
    other = dataclasses.replace(remote, seq_length=32, num_shards=2)
    with pytest.raises(UserError, match="num_shards was 3, now 2, seq_length was 64, now 32"):
        tokenize(other, RunOptions())
    tokenize(other, RunOptions(overwrite=True))
    assert read_manifest(remote.output).facts["seq_length"] == 32
    # The shards of the output that was replaced are gone.
    assert not [name for name in files.names_in(remote.output) if "of-00003" in name]
    assert not [name for name in files.names_in(remote.output) if name.startswith(".")]


@pytest.mark.long
def test_worker_processes_and_tfrecords(remote, tmp_path):
    """Two worker processes write to the bucket what one thread writes to a disk."""
    config = dataclasses.replace(remote, format="tfrecord", input=(remote.input[0][:-8],))
    tokenize(
        config,
        RunOptions(beam_args=("--direct_running_mode=multi_processing", "--direct_num_workers=2")),
    )
    local = dataclasses.replace(config, output=str(tmp_path / "rows"))
    tokenize(local, RunOptions())
    assert contents(config.output) == contents(local.output)


def test_masking_from_bucket_to_bucket(bucket, rows_dir, tmp_path):
    upload(rows_dir, f"{bucket}/rows")
    mask(MaskStageConfig(input=f"{bucket}/rows", output=f"{bucket}/examples"), RunOptions())
    mask(MaskStageConfig(input=str(rows_dir), output=str(tmp_path / "examples")), RunOptions())
    assert contents(f"{bucket}/examples") == contents(str(tmp_path / "examples"))


def test_a_killed_run_leaves_no_manifest_and_is_made_again(remote, rows_dir, bucket):
    """A process that is killed once its first shard is in the bucket."""
    command = [sys.executable, "-m", "pipelines.tokenize", "--input", *remote.input]
    command += ["--vocab", remote.vocab, "--output", remote.output]
    command += [text for name, value in FIELDS.items() for text in (f"--{name}", str(value))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and not _has_shards(remote.output):
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed_early = MANIFEST not in files.names_in(remote.output)
    if killed_early:
        with pytest.raises(UserError, match="not finished|does not exist"):
            read_manifest(remote.output)
        # What another attempt with other options left behind is removed.
        files.publish_bytes(f"{remote.output}/train-00000-of-00099.array_record", b"remains")
    tokenize(remote, RunOptions(overwrite=not killed_early))
    assert contents(remote.output) == contents(str(rows_dir))


def test_readers_fetch_and_verify_remote_shards(bucket, rows_dir):
    upload(rows_dir, f"{bucket}/rows")
    manifest = read_manifest(f"{bucket}/rows")
    info = manifest.splits["train"][1]
    with local_copy(f"{bucket}/rows", info) as path:
        reader = ShardReader(path, info, manifest.schema, "array_record")
        local = ShardReader(str(rows_dir / info.name), info, manifest.schema, "array_record")
        rows = np.arange(len(reader))
        assert np.array_equal(reader.read(rows)["row_id"], local.read(rows)["row_id"])
    damaged = bytearray((rows_dir / info.name).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    files.publish_bytes(f"{bucket}/rows/{info.name}", bytes(damaged))
    with (
        pytest.raises(UserError, match=f"{info.name} does not match the checksum"),
        local_copy(f"{bucket}/rows", info),
    ):
        pass
    files.delete([f"{bucket}/rows/{info.name}"])
    with (
        pytest.raises(UserError, match=f"{info.name} is missing"),
        local_copy(f"{bucket}/rows", info),
    ):
        pass


def test_other_libraries_see_the_same_files(remote):
    import gcsfs
    from google.cloud import storage

    tokenize(remote, RunOptions())
    name, _, prefix = remote.output.removeprefix("gs://").partition("/")
    manifest = json.loads(
        storage.Client.create_anonymous_client()
        .bucket(name)
        .blob(f"{prefix}/{MANIFEST}")
        .download_as_bytes()
    )
    filesystem = gcsfs.GCSFileSystem(token="anon")
    for shard in manifest["splits"]["train"]:
        assert len(filesystem.cat(f"{name}/{prefix}/{shard['name']}")) == shard["bytes"]


def test_wrong_places_are_named_in_one_line(bucket, vocab_dir, remote):
    with pytest.raises(UserError, match=r"--input: no file matches 'gs://.*/none/\*'"):
        files.match([f"{bucket}/none/*"])
    with pytest.raises(UserError, match="gs://no-such-bucket.*not found|no file matches"):
        files.match(["gs://no-such-bucket/*.txt"])
    with pytest.raises(UserError, match="nothing installed can read nosuch://"):
        files.match(["nosuch://place/*.txt"])
    with pytest.raises(UserError, match="gs://no-such-bucket/rows.*not found"):
        tokenize(dataclasses.replace(remote, output="gs://no-such-bucket/rows"), RunOptions())
