"""Every command whose files are at a store that nobody answers for: one line, and soon."""

from __future__ import annotations

import socket

import pytest

from pipelines.storage import remote
from tests.command_here import run_command_here

# gcsfs itself is imported once the store is known: it asks the real service otherwise.
pytest.importorskip("google.cloud.storage", reason="needs the extra gcp")

_COMMANDS = [
    "pipelines.vocab --input gs://bucket/corpus/* --output OUT",
    "pipelines.vocab --input TEXT --output gs://bucket/vocab",
    "pipelines.vocab --input TEXT --word_counts gs://bucket/words --output OUT",
    "pipelines.tokenize --input gs://bucket/a.txt --vocab ROWS/vocab.txt --output OUT",
    "pipelines.tokenize --input TEXT --vocab gs://bucket/vocab --output OUT",
    "pipelines.tokenize --input TEXT --vocab ROWS/vocab.txt --output gs://bucket/rows",
    "pipelines.mask --input gs://bucket/rows --output OUT",
    "pipelines.mask --input ROWS --output gs://bucket/examples",
    "pipelines.inspect --data gs://bucket/rows",
    "trainer.pretrain --data gs://bucket/rows --output OUT",
    "trainer.pretrain --data ROWS --output gs://bucket/run",
    "trainer.pretrain --data ROWS --initial_run gs://bucket/run --output OUT",
    "trainer.export --run gs://bucket/run --output OUT",
    "trainer.finetune --preset RUN --train gs://bucket/rows --output OUT",
    "trainer.evaluate --preset RUN --data gs://bucket/a.jsonl",
    "trainer.predict --preset RUN --data gs://bucket/a.jsonl --output OUT.jsonl",
    "trainer.report --run gs://bucket/run",
    "trainer.explain --run gs://bucket/run --step 1",
]


@pytest.fixture(params=[pytest.param("closed", marks=pytest.mark.long), "silent"])
def store(request, monkeypatch):
    """The address of a port that is closed, or takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "silent":
            server.listen(100)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        monkeypatch.setattr(remote, "_CONNECT_SECONDS", 0.2)
        yield address


def test_a_dead_store(store, make_rows, finished_run, tmp_path):
    (tmp_path / "text.txt").write_text("a few words\n")
    places = {"ROWS": make_rows(), "RUN": finished_run, "TEXT": tmp_path / "text.txt"}
    places["OUT"] = tmp_path / "out"
    for command in _COMMANDS:
        module, *arguments = command.split()
        for name, place in places.items():
            arguments = [argument.replace(name, str(place)) for argument in arguments]
        status, said = run_command_here(module, *arguments)
        *_, last = said.splitlines()
        assert status == 2, (command, said)
        assert f"{store} cannot be reached (" in last, (command, said)
        assert "check the network" in last
        assert "Traceback" not in said
        assert [path.name for path in tmp_path.iterdir()] == ["text.txt"], command
