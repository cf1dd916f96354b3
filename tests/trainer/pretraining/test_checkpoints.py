"""Checkpoints: whole or not at all, the last good one kept, nothing executable inside."""

from __future__ import annotations

import errno
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import UserError
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.logs.meter import Meter


def make_arrays(step):
    return {
        "model/0000/kernel": np.arange(6, dtype=np.float32).reshape(2, 3) + step,
        "optimizer/0000/iteration": np.array(step, np.int32),
    }


RECORD = {"window": [[0.1, 1e-300, 2.0, 3.0]], "seconds": 1.5, "config": {"seed": 0}}


def save(checkpoints, step, record=RECORD, **arrays):
    checkpoints.save(step, make_arrays(step) | arrays, record)
    checkpoints.wait()


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
    checkpoints = Checkpoints(str(tmp_path), keep=2)
    assert checkpoints.newest() == 0
    save(checkpoints, 7)
    found = Checkpoints(str(tmp_path), keep=2)
    step = found.newest()
    arrays, record = found.load(step)
    assert step == 7
    assert record == RECORD
    assert arrays.keys() == make_arrays(7).keys()
    for name, values in make_arrays(7).items():
        assert arrays[name].dtype == values.dtype
        assert arrays[name].shape == values.shape
        np.testing.assert_array_equal(arrays[name], values)


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(str(tmp_path), keep=2)
    for step in (5, 10, 100_000_000, 20):
        save(checkpoints, step)
    assert checkpoints.steps() == [20, 100_000_000]
    (tmp_path / "checkpoints" / ".incomplete-abc-step-00000030.npz").touch()
    checkpoints.delete_all()
    checkpoints.delete_remains()
    assert checkpoints.steps() == []
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_full_disk_leaves_the_one_before_good(tmp_path, monkeypatch):
    checkpoints = Checkpoints(str(tmp_path), keep=1)
    save(checkpoints, 1)

    def savez(file, **arrays):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", savez)
        checkpoints.save(2, make_arrays(2), {})
        with pytest.raises(UserError, match=r"step-00000002.*No space left.*step 1 is good"):
            checkpoints.wait()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001.npz"]
    assert checkpoints.newest() == 1
    save(checkpoints, 3)
    assert checkpoints.steps() == [3]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, capsys, damage):
    checkpoints = Checkpoints(str(tmp_path), keep=3)
    save(checkpoints, 1)
    save(checkpoints, 2)
    path = Path(checkpoints.path(2))
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[content.index(make_arrays(2)["model/0000/kernel"].tobytes()) + 2] ^= 1
    path.write_bytes({"cut": content[: len(content) // 2], "flip": content, "empty": b""}[damage])
    assert checkpoints.newest() == 1
    arrays, _ = checkpoints.load(1)
    np.testing.assert_array_equal(arrays["model/0000/kernel"], make_arrays(1)["model/0000/kernel"])
    assert "step-00000002.npz is damaged" in capsys.readouterr().err
    with pytest.raises(UserError, match="damaged"):
        checkpoints.load(2)


def test_leftovers_are_not_checkpoints(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / ".incomplete-abc-step-00000009.npz").write_bytes(b"")
    (folder / "step-9.npz").write_bytes(b"")
    assert Checkpoints(str(tmp_path), keep=1).steps() == []


def test_a_pickle_is_not_loaded(tmp_path):
    checkpoints = Checkpoints(str(tmp_path))
    path = Path(checkpoints.path(1))
    path.parent.mkdir()
    np.savez(path, **{"record.json": np.array([{"an": "object"}], object)})
    assert zipfile.is_zipfile(path)
    with pytest.raises(UserError, match="damaged"):
        checkpoints.load(1)


@pytest.mark.parametrize(
    ("change", "arrays"),
    [
        ({}, {"model/0000/kernel": np.array([[1.0, np.nan]])}),
        ({}, {"model/0000/kernel": np.array(["text"])}),
        ({"config": None}, {}),
        ({"seconds": "1"}, {}),
        ({"window": [[0.1]]}, {}),
        ({"window": [[0.1] * 4, [0.1] * 6]}, {}),
        ({"window": [[0.1, 0.1, 0.1, float("nan")]]}, {}),
    ],
)
def test_a_whole_one_that_no_run_has_saved_is_passed_over(tmp_path, capsys, change, arrays):
    checkpoints = Checkpoints(str(tmp_path), keep=2)
    save(checkpoints, 1)
    save(checkpoints, 2, RECORD | change, **arrays)
    assert checkpoints.newest() == 1
    assert "step-00000002.npz is damaged (" in capsys.readouterr().err


def test_steps_of_an_earlier_version_may_stand_in_a_window(tmp_path):
    # They had one figure less, and skipped steps may be counted too.
    checkpoints = Checkpoints(str(tmp_path))
    save(checkpoints, 1, RECORD | {"window": [[0.1] * 5, [0.1] * 5, [0.1] * 6]})
    _, record = checkpoints.load(1)
    meter = Meter(record["window"], skips=True)
    assert meter.summary()["mean_loss"] == pytest.approx(0.1)


def npz(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    text = f"{header}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def a_record(text: bytes) -> bytes:
    content = io.BytesIO()
    np.save(content, np.frombuffer(text, np.uint8))
    return npz(**{"record.json.npy": content.getvalue()})


def compressed() -> bytes:
    content = io.BytesIO()
    np.savez_compressed(
        content, **{"record.json": np.frombuffer(b"{}", np.uint8)}, a=np.zeros(9999)
    )
    return content.getvalue()


def with_flags(offset: int, value: int) -> bytes:
    """A checkpoint whose member claims another compression method, or to be encrypted."""
    data = bytearray(a_record(b"{}"))
    for signature, at in ((b"PK\x03\x04", offset), (b"PK\x01\x02", offset + 2)):
        data[data.index(signature) + at] = value
    return bytes(data)


@pytest.mark.parametrize(
    "content",
    [
        with_flags(8, 99),
        with_flags(6, 1),
        npz(**{"record.json.npy": npy("{'descr': '<f8', 'shape': (1000000000000000,)}")}),
        npz(**{"record.json.npy": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1L")}),
        npz(
            **{
                "record.json.npy": npy(
                    f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({1 << 60},)}}"
                )
            }
        ),
        npz(**{"record.json.npy": npy("(" * 5000)}),
        npz(a=b"x"),
        a_record(b"[" * 100_000),
        a_record(b"[1]"),
        compressed(),
        b"\x93NUMPY",
    ],
    ids="method encrypted shape token memory deep other record list bomb npy".split(),
)
def test_whatever_is_wrong_with_one_the_one_before_is_taken(tmp_path, capsys, content):
    checkpoints = Checkpoints(str(tmp_path), keep=3)
    save(checkpoints, 1)
    Path(checkpoints.path(2)).write_bytes(content)
    assert checkpoints.newest() == 1
    said = capsys.readouterr().err
    assert "step-00000002.npz is damaged (" in said
    assert said.count("\n") == 1


def test_a_checkpoint_that_cannot_be_reached_is_not_passed_over(tmp_path, monkeypatch):
    checkpoints = Checkpoints(str(tmp_path), keep=3)
    save(checkpoints, 1)

    def fail(path):
        raise UserError(f"{path}: cannot be reached")

    monkeypatch.setattr("trainer.pretraining.checkpoints.files.local_file", fail)
    with pytest.raises(UserError, match="cannot be reached"):
        checkpoints.newest()
