"""Files at scheme:// through fsspec, on its filesystem in memory; gs:// is tested in gcs/."""

from __future__ import annotations

import os
import socket
import uuid

import pytest

from pipelines.errors import UserError
from pipelines.storage import files

pytest.importorskip("fsspec")


@pytest.fixture
def folder() -> str:
    return f"memory://{uuid.uuid4().hex}"


def test_what_is_published_is_found_and_deleted(folder):
    files.publish_bytes(f"{folder}/a/b.txt", b"hello")
    files.publish_bytes(f"{folder}/c.txt", b"xy")
    files.publish_bytes(f"{folder}/.hidden", b"")
    sizes = {info.path: info.size for info in files.match([folder])}
    assert sizes == {f"{folder}/a/b.txt": 5, f"{folder}/c.txt": 2}
    assert [info.path for info in files.match([f"{folder}/*.txt"])] == [f"{folder}/c.txt"]
    assert [info.path for info in files.match([f"{folder}/.hidden"])] == [f"{folder}/.hidden"]
    assert sorted(files.names_in(folder)) == [".hidden", "c.txt"]
    assert files.exists(f"{folder}/c.txt")
    assert not files.exists(folder)
    assert files.read_bytes(f"{folder}/a/b.txt") == b"hello"
    files.delete([f"{folder}/c.txt", f"{folder}/none"])
    assert not files.exists(f"{folder}/c.txt")


def test_nothing_appears_where_writing_fails(folder):
    with pytest.raises(ValueError, match="broken"), files.publish(f"{folder}/a"):
        raise ValueError("broken")
    assert files.names_in(folder) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nosuch://place/*.txt", "nosuch://place.*: nothing installed can read nosuch://"),
        ("memory://none/*", "--input: no file matches 'memory://none/.*'"),
        ("memory://none/a", "--input: no such file: 'memory://none/a'"),
    ],
)
def test_wrong_places_are_named_in_one_line(path, message):
    with pytest.raises(UserError, match=message) as caught:
        files.match([path])
    assert "\n" not in str(caught.value)


def test_a_file_is_read_once_however_many_paths_it_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus" / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/b.txt", ".hidden"):
        (tmp_path / "corpus" / name).write_text("text")
    expected = ["corpus/a.txt", "corpus/sub/b.txt"]
    assert [info.path for info in files.match(["corpus"])] == expected
    # Two links that go round: of 40 levels there are 2 to the 40th paths.
    for name in ("self", "again", "sub/up"):
        (tmp_path / "corpus" / name).symlink_to(tmp_path / "corpus")
    (tmp_path / "corpus" / "alias.txt").symlink_to("a.txt")
    (tmp_path / "corpus" / ".more").mkdir()
    (tmp_path / "corpus" / ".more" / "c.txt").write_text("hidden")
    named = ["corpus", "./corpus", "corpus/./a.txt", f"{tmp_path}/corpus/*.txt", "corpus/alias.txt"]
    assert [info.path for info in files.match(named)] == expected
    assert [info.path for info in files.match(["corpus/self/a.txt"])] == ["corpus/self/a.txt"]


def test_patterns_that_match_more_than_files(tmp_path):
    folder = tmp_path / "a[1]"
    (folder / "sub" / ".hidden").mkdir(parents=True)
    for name in ("one.txt", "sub/two.txt", "sub/.hidden/three.txt"):
        (folder / name).write_text("text")
    expected = [f"{folder}/one.txt", f"{folder}/sub/two.txt"]
    for pattern in ("*", "**", ""):
        assert [info.path for info in files.match([f"{folder}/{pattern}"])] == expected
    assert [info.path for info in files.match([f"{folder}/*.txt"])] == expected[:1]
    (folder / "sub" / "lost.txt").symlink_to("nowhere")
    for pattern in ("*", "sub/*", "sub/lost.txt", ""):
        with pytest.raises(UserError, match=r"lost\.txt: a link that leads nowhere; mend it"):
            files.match([f"{folder}/{pattern}"])


def test_what_has_no_end_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(UserError, match=f"{path}: is a pipe or a device; give a file"):
            files.open_read(path)
        with pytest.raises(UserError, match="is a pipe or a device"), files.local_file(path):
            pass
    with pytest.raises(UserError, match=r"output folder .*File name too long.; choose another"):
        files.make_folder(str(tmp_path / ("x" * 300)))
    with pytest.raises(UserError, match="output folder .*cannot be made"):
        files.make_folder("")


def test_a_store_that_nobody_answers_for_is_told_at_once(monkeypatch):
    pytest.importorskip("gcsfs")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(UserError, match="gs://bucket/x: http://127.* cannot be reached"):
            files.match(["gs://bucket/x"])
