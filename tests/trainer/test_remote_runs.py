"""Runs of ``python -m trainer.pretrain`` whose output is at gs://, on a real emulator on loopback:
killed and started again they equal, bit for bit, a local run that nothing interrupted."""

from __future__ import annotations

import gc
import http.server
import json
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.keyed_random import below, fold, purpose_key
from pipelines.records.manifest import read_manifest
from pipelines.storage import files
from tests.command_process import TINY, CommandProcess, flags_of, run_command_process
from trainer.pretrain import pretrain
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.logs.metrics import read_metrics

# gcsfs itself is imported once the emulator is known: it asks the real service otherwise.
pytest.importorskip("google.cloud.storage", reason="needs the extra gcp")

_STEPS = 120
_TINY = TINY | {"steps": _STEPS}
_TIMING = ("seconds", "rows_per_second", "tokens_per_second", "tflops", "mfu", "data_wait")


def start(**options):
    return CommandProcess("trainer.pretrain", *flags_of(**_TINY | options))


def run(**options):
    return run_command_process("trainer.pretrain", *flags_of(**_TINY | options))[1]


@pytest.fixture(scope="module")
def whole(make_rows, tmp_path_factory):
    """A local run that nothing interrupted."""
    output = str(tmp_path_factory.mktemp("whole"))
    run(data=make_rows(), output=output)
    return output


def kill_at(process, step):
    """Kills a run as soon as it says that it has done a step; fails if it ends before."""
    with process:
        for line in process.stderr:
            if line.startswith("pretrain: step ") and int(line.split()[2].replace(",", "")) >= step:
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL, f"the run ended before step {step}"


def assert_equal_runs(output, expected):
    def lines(folder):
        return [
            {name: value for name, value in line.items() if name not in _TIMING}
            for line in read_metrics(folder)
        ]

    assert [line["step"] for line in lines(output)] == list(range(1, _STEPS + 1))
    assert lines(output) == lines(expected)
    mine, theirs = (Checkpoints(folder, keep=2) for folder in (output, expected))
    assert mine.steps() == theirs.steps() == [_STEPS - 10, _STEPS]
    arrays, others = mine.load(_STEPS)[0], theirs.load(_STEPS)[0]
    assert arrays.keys() == others.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, others[name], err_msg=name)
    assert read_manifest(output).to_json() == read_manifest(expected).to_json()


def read_events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload().Scalars("loss/loss")


@pytest.fixture(scope="module")
def finished(whole, make_rows, storage_emulator):
    """A run in the bucket, killed before its first checkpoint, and between later ones."""
    output = "gs://bertmill-tests/finished"
    data = make_rows()
    kill_at(start(data=data, output=output), 3)
    assert Checkpoints(output, keep=2).newest() == 0
    kill_at(start(data=data, output=output), 57)
    newest = Checkpoints(output, keep=2).newest()
    # Logged are at least the steps up to the checkpoint, whole lines only.
    assert [line["step"] for line in read_metrics(output)][:newest] == list(range(1, newest + 1))
    refuse_other_runs(output, make_rows)
    assert f"resuming after step {newest}" in run(data=data, output=output)
    return output


def refuse_other_runs(output, make_rows):
    """What decides the weights cannot be changed on the way, whatever it is."""
    for changed, message in (
        ({"seed": 1}, "seed was 0, now 1"),
        ({"batch_size": 4}, "batch_size was 8, now 4"),
        ({"data": (str(make_rows(seed=9)),)}, "data was another"),
        ({"learning_rate": 0.5}, "learning_rate was 0.01, now 0.5"),
    ):
        fields = {**_TINY, "data": (str(make_rows()),), "output": output, **changed}
        with pytest.raises(UserError, match=f"unfinished run of another kind .*{message}"):
            pretrain(PretrainConfig(**fields), RunOptions())


def test_killed_and_restarted_it_equals_a_local_run(finished, whole, tmp_path):
    assert_equal_runs(finished, whole)
    published = {".lock"} | {path.name for path in Path(whole).iterdir() if path.is_file()}
    assert {".lock", *files.names_in(finished)} == published
    (name,) = files.names_in(f"{finished}/tensorboard")
    files.download(f"{finished}/tensorboard/{name}", str(tmp_path / name))
    losses = [event.value for event in read_events(tmp_path)]
    assert losses == [event.value for event in read_events(Path(whole) / "tensorboard")]
    with files.local_file(f"{finished}/model.weights.h5") as local:
        assert_same_weights(local, Path(whole) / "model.weights.h5")
    assert b"</html>" in files.read_bytes(f"{finished}/report.html")


def assert_same_weights(one, other):
    import h5py

    def arrays(path):
        found = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: (
                    found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
        return found

    mine, theirs = arrays(one), arrays(other)
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)


def test_it_is_recognised_when_started_again(finished, make_rows, capsys):
    fields = {**_TINY, "data": (str(make_rows()),), "output": finished}
    pretrain(PretrainConfig(**fields), RunOptions())
    assert "finished already; nothing to do" in capsys.readouterr().err
    with pytest.raises(UserError, match="seed was 0, now 1"):
        pretrain(PretrainConfig(**fields | {"seed": 1}), RunOptions())


@pytest.mark.long
def test_it_is_explained_and_exported(finished, whole, tmp_path, capsys):
    from trainer.explain import ExplainConfig, explain
    from trainer.export import ExportConfig, export

    step = _STEPS - 1
    found = explain(ExplainConfig(run=finished, step=step, rows=1, replay=True), RunOptions())
    assert found.replayed_loss == found.logged_loss == read_metrics(whole)[step - 1]["loss"]
    for name, folder in (("remote", finished), ("local", whole)):
        export(ExportConfig(run=folder, output=str(tmp_path / name)), RunOptions())
    assert_same_weights(*(tmp_path / name / "model.weights.h5" for name in ("remote", "local")))
    assert "could not" not in capsys.readouterr().err


@pytest.mark.long
def test_killed_at_many_moments(whole, make_rows, bucket_folder):
    """Each process is killed after a random number of steps, some before they reach a checkpoint."""
    output, data = bucket_folder, make_rows()
    further = 1 + below(fold(purpose_key(0, "kills"), np.arange(8)), 24)
    for steps in further.tolist():
        done = Checkpoints(output, keep=2).newest()
        if done + steps >= _STEPS:
            break
        kill_at(start(data=data, output=output), done + steps)
    run(data=data, output=output)
    assert_equal_runs(output, whole)


@pytest.mark.long
def test_it_starts_anew_if_told_so(make_rows, bucket_folder):
    data, output = make_rows(), bucket_folder
    kill_at(start(data=data, output=output, keep_checkpoints=5), 25)
    assert "resuming" not in run(data=data, output=output, steps=12, seed=3, overwrite=True)
    assert Checkpoints(output, keep=5).steps() == [10, 12]
    assert [line["step"] for line in read_metrics(output)] == list(range(1, 13))


def try_output(make_rows, output):
    """What a run that cannot write there says; it must not get as far as building a model."""
    fields = {**_TINY, "data": (str(make_rows()),), "output": output}
    with pytest.raises(UserError) as caught:
        pretrain(PretrainConfig(**fields), RunOptions())
    assert "\n" not in str(caught.value)
    message = str(caught.value)
    # What was being written is closed while its server still answers: else that waits for minutes.
    del caught
    gc.collect()
    return message


def test_a_bucket_that_does_not_exist(make_rows, storage_emulator):
    message = try_output(make_rows, "gs://bertmill-nowhere/run")
    assert "gs://bertmill-nowhere/run" in message
    assert "not found" in message
    assert "check the bucket's name" in message


@pytest.fixture
def refusing_store(monkeypatch):
    """A server that knows no one, as Google answers who has no credentials."""

    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            data = json.dumps({"error": {"code": 401, "message": "Anonymous caller"}}).encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()


def test_no_credentials(make_rows, refusing_store):
    message = try_output(make_rows, "gs://bertmill-tests/run")
    assert "no credentials" in message
    assert "your credentials" in message


@pytest.mark.long
def test_a_store_that_does_not_answer(make_rows, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    message = try_output(make_rows, "gs://bertmill-tests/run")
    assert "cannot be reached" in message
    assert "check the network" in message
