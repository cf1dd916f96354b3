"""Whole runs of ``python -m trainer.pretrain``: killed and resumed, refused, without TensorFlow."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.run import RunOptions, parse_command
from pipelines.errors import UserError
from pipelines.records.manifest import read_manifest
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from tests.command_process import TINY, CommandProcess, flags_of
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.cluster import Cluster
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.plan import plan_run

_ROOT = Path(__file__).resolve().parents[2]
# Runs the command where importing these fails, as where they are not installed.
_BLOCKED = """
import sys
for name in {blocked}:
    sys.modules[name] = None
import runpy
sys.argv[0] = "trainer.pretrain"
runpy.run_module("trainer.pretrain", run_name="__main__", alter_sys=True)
"""
_NOT_NEEDED = ["tensorflow", "tensorflow_text", "apache_beam", "keras_hub", "torch", "transformers"]
_TINY = TINY


def run_anew(backend="jax", blocked=(), **options):
    """Runs the command in a new Python."""
    return subprocess.run(
        [sys.executable, "-c", _BLOCKED.format(blocked=list(blocked)), *flags_of(**options)],
        cwd=_ROOT,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )


def start(**options):
    return CommandProcess("trainer.pretrain", *flags_of(**options))


@pytest.fixture(scope="module")
def run(pretrain_here):
    """Runs the command to its end: in a process of its own where modules are ``blocked``, else here."""

    def run(check=0, blocked=(), **options):
        if not blocked:
            return pretrain_here(check, **options)
        done = run_anew(blocked=blocked, **options)
        assert done.returncode == check, done.stderr
        return done.stderr

    return run


@pytest.fixture(scope="module")
def whole(run, make_rows, tmp_path_factory):
    """An uninterrupted run of 200 steps, on a machine with nothing but JAX."""
    output = tmp_path_factory.mktemp("whole")
    said = run(blocked=_NOT_NEEDED, data=make_rows(), output=output, steps=200, **_TINY)
    return output, said


def read_lines(output):
    path = Path(output) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def results(output):
    """What must not depend on interruptions."""
    timing = ("seconds", "rows_per_second", "tokens_per_second", "tflops", "mfu", "data_wait")
    lines = [
        {name: value for name, value in line.items() if name not in timing}
        for line in read_lines(output)
    ]
    return lines, newest_arrays(output)


def newest_arrays(output):
    checkpoints = Checkpoints(str(output), keep=2)
    return checkpoints.load(checkpoints.newest())[0]


def wait_for_step(output, step, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            lines = (Path(output) / "metrics.jsonl").read_bytes().count(b"\n")
        except FileNotFoundError:
            lines = 0
        if lines >= step:
            return
        time.sleep(0.002)
    pytest.fail(f"the process ended or hung before step {step}: {process.returncode}")


def test_a_run_learns_and_publishes(whole, make_rows):
    output, said = whole
    lines = read_lines(output)
    assert [line["step"] for line in lines] == list(range(1, 201))
    assert np.mean([line["loss"] for line in lines[-10:]]) < lines[0]["loss"] - 0.3
    assert lines[-1]["validation_loss"] < lines[0]["loss"]
    assert 0 <= lines[-1]["validation_accuracy"] <= 1
    assert all(line["rows_per_second"] > 0 and 0 <= line["data_wait"] <= 1 for line in lines)
    assert lines[19]["learning_rate"] == pytest.approx(0.01)
    assert "50 rows of 32 tokens, 200 steps of 8 (32.00 epochs)" in said
    manifest = read_manifest(str(output), ("pretrain",))
    assert manifest.facts["model"]["hidden_dim"] == 16
    assert manifest.facts["model"]["max_sequence_length"] == 512
    assert manifest.facts["metrics"]["validation_loss"] == lines[-1]["validation_loss"]
    assert (output / "vocab.txt").read_bytes() == (make_rows() / "vocab.txt").read_bytes()


def test_the_published_weights_are_the_last_ones(whole):
    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.pretraining_model import PretrainingModel

    output, _ = whole
    backbone = BertBackbone(**read_manifest(str(output)).facts["model"])
    model = PretrainingModel(backbone, portable_head=True)
    model.load_weights(output / "model.weights.h5")
    arrays = newest_arrays(output)
    for i, variable in enumerate(model.trainable_variables):
        np.testing.assert_array_equal(variable.numpy(), arrays[f"model/{i:04d}/{variable.path}"])


def test_killed_again_and_again_gives_the_same_bits(whole, run, make_rows, tmp_path):
    options = {"data": make_rows(), "output": tmp_path, "steps": 200, **_TINY}
    seen = 0
    # The first dies before any checkpoint; where exactly each one dies is chance.
    for step in (3, 64, 130):
        process = start(**options)
        wait_for_step(tmp_path, step, process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        steps = Checkpoints(str(tmp_path), keep=2).steps()
        assert len(steps) <= 2
        assert not steps or steps[-1] >= seen
        seen = steps[-1] if steps else 0
    said = run(**options)
    assert f"resuming after step {seen}" in said
    lines, arrays = results(tmp_path)
    expected_lines, expected_arrays = results(whole[0])
    assert lines == expected_lines
    assert arrays.keys() == expected_arrays.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, expected_arrays[name], err_msg=name)
    mine, other = (read_manifest(str(folder)).to_json() for folder in (tmp_path, whole[0]))
    assert mine == other


def test_steps_in_one_call_give_the_same_results(whole, run, make_rows, tmp_path):
    options = {"data": make_rows(), "output": tmp_path, "steps": 200, **_TINY, "log_every": 15}
    run(**options, steps_per_execution=5, eval_every=100)
    lines = {line["step"]: line for line in read_lines(tmp_path)}
    assert list(lines) == sorted([*range(15, 200, 15), 100, 200])
    expected = {line["step"]: line for line in read_lines(whole[0])}
    assert all(line["learning_rate"] == expected[k]["learning_rate"] for k, line in lines.items())
    names = ("loss", "accuracy", "gradient_norm")
    if any(lines[15][name] != expected[15][name] for name in names):
        # For some processors XLA compiles five steps so that they are rounded otherwise, and at this
        # rate of learning the differences grow tenfold every ten steps.
        for name in names:
            assert lines[15][name] == pytest.approx(expected[15][name], rel=1e-4)
        assert lines[200]["loss"] == pytest.approx(expected[200]["loss"], rel=0.1)
        return
    for step, line in lines.items():
        for name in names:
            assert line[name] == expected[step][name]
    for name, values in newest_arrays(whole[0]).items():
        np.testing.assert_array_equal(newest_arrays(tmp_path)[name], values, err_msg=name)


def test_initial_positions_are_part_of_the_run(whole, run, make_rows, tmp_path):
    options = {"data": make_rows(), "output": tmp_path, "steps": 20, **_TINY}
    run(initial_positions="sinusoidal", **options)
    assert read_lines(tmp_path)[0]["loss"] != read_lines(whole[0])[0]["loss"]
    (tmp_path / "manifest.json").unlink()
    message = "initial_positions was 'sinusoidal', now None"
    assert message in run(check=2, **options)
    # Runs that were begun before there was a choice are still recognised.
    assert (
        "initial_positions" not in json.loads((whole[0] / "identity.json").read_text())["deciding"]
    )


def test_a_second_phase_begins_with_the_weights_of_the_first(
    whole, run, make_rows, tmp_path_factory
):
    first, _ = whole
    longer = make_rows(seq_length=64)
    options = {"data": longer, "initial_run": first, "steps": 40, **_TINY, "checkpoint_every": 5}
    options |= {"warmup_steps": 4, "learning_rate": 0.001}
    outputs = [tmp_path_factory.mktemp(f"phase-{i}") for i in range(2)]
    run(output=outputs[0], **options)
    assert read_lines(outputs[0])[0]["learning_rate"] == pytest.approx(0.001 / 4)
    fields = {name: value for name, value in options.items() if name != "data"}
    config = PretrainConfig(data=(str(longer),), output="x", **fields | {"initial_run": str(first)})
    model, _, _ = plan_run(config).build(Cluster())
    trained = newest_arrays(first)
    for i, variable in enumerate(model.trainable_variables):
        np.testing.assert_array_equal(variable.numpy(), trained[f"model/{i:04d}/{variable.path}"])
    # Killed and started again, the same bits; from other weights it is another run.
    process = start(output=outputs[1], **options)
    wait_for_step(outputs[1], 12, process)
    process.kill()
    process.wait()
    without = {name: value for name, value in options.items() if name != "initial_run"}
    assert "initial_weights was '" in run(check=2, output=outputs[1], **without)
    run(output=outputs[1], **options)
    assert results(outputs[1])[0] == results(outputs[0])[0]
    for name, values in newest_arrays(outputs[0]).items():
        np.testing.assert_array_equal(newest_arrays(outputs[1])[name], values, err_msg=name)


def test_sigterm_saves_and_asks_to_be_started_again(run, make_rows, whole, tmp_path):
    options = {"data": make_rows(), "output": tmp_path, "steps": 200, **_TINY}
    options["checkpoint_every"] = 1000
    process = start(**options)
    wait_for_step(tmp_path, 20, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 75
    (step,) = Checkpoints(str(tmp_path), keep=2).steps()
    assert step >= 20
    assert read_lines(tmp_path)[-1]["step"] == step
    # What only watches may change between the parts of a run; what decides may not.
    message = run(check=2, **options | {"seed": 1, "batch_size": 4})
    assert "batch_size was 8, now 4" in message
    assert "seed was 0, now 1" in message
    other = make_rows(seed=9)
    assert "data was another" in run(check=2, **options | {"data": other})
    assert f"resuming after step {step}" in run(**options | {"keep_checkpoints": 1})
    assert results(tmp_path)[0] == results(whole[0])[0]


def test_finished_runs_are_recognised(whole, run, make_rows, tmp_path):
    output, _ = whole
    options = {"data": make_rows(), "output": output, "steps": 200, **_TINY}
    before = (output / "metrics.jsonl").stat().st_mtime_ns
    assert "finished already; nothing to do" in run(**options)
    assert (output / "metrics.jsonl").stat().st_mtime_ns == before
    assert "learning_rate was 0.01, now 0.02" in run(check=2, **options | {"learning_rate": 0.02})


def test_a_shard_that_cannot_be_opened_is_named_and_nothing_is_lost(run, tmp_path, make_rows):
    data, output = tmp_path / "rows", tmp_path / "run"
    shutil.copytree(make_rows(), data)
    shard = next(data.glob("train-00002*"))
    content = shard.read_bytes()
    options = {"data": data, "output": output, "steps": 40, **_TINY}
    shard.write_bytes(content[:-64])
    message = run(check=2, **options)
    assert shard.name in message
    assert "Traceback" not in message
    done = read_lines(output)[-1]["step"] if read_lines(output) else 0
    assert Checkpoints(str(output), keep=2).steps()[-1] >= done
    shard.write_bytes(content)
    run(**options)
    assert [line["step"] for line in read_lines(output)] == list(range(1, 41))


def swap_two_records(path):
    """Two records of one length change places: to who reads rows all is as it should be."""
    content, start = path.read_bytes(), 0
    places: dict[int, int] = {}
    while True:
        size = 16 + int.from_bytes(content[start : start + 8], "little")
        first, one = places.setdefault(size, start), content[start : start + size]
        other = content[first : first + size]
        if one != other:
            break
        start += size
    between = content[first + size : start]
    path.write_bytes(content[:first] + one + between + other + content[start + size :])


def test_nothing_is_kept_of_a_shard_that_is_not_the_manifests(run, tmp_path, make_rows):
    data, output = tmp_path / "rows", tmp_path / "run"
    shutil.copytree(make_rows(format="tfrecord"), data)
    options = {"data": data, "output": output, "steps": 40, **_TINY, "checkpoint_every": 1}
    shard = next(data.glob("train-00002*"))
    content = shard.read_bytes()
    swap_two_records(shard)
    message = run(check=2, **options)
    (line,) = [line for line in message.splitlines() if shard.name in line]
    assert "does not match the checksum in its manifest" in line
    assert f"python -m pipelines.inspect --data {data} --repair" in line
    assert "Traceback" not in message
    # Of 50 rows, all shards are opened in the first step or two.
    assert Checkpoints(str(output), keep=2).steps() in ([], [1])
    shard.write_bytes(content)
    run(**options)
    assert [line["step"] for line in read_lines(output)] == list(range(1, 41))


def test_divergence_stops_the_run_and_is_not_saved(run, make_rows, tmp_path):
    options = _TINY | {"learning_rate": 1e38, "checkpoint_every": 1, "clip_norm": 0}
    message = run(check=2, data=make_rows(), output=tmp_path, steps=50, warmup_steps=0, **options)
    assert "diverged" in message
    assert "--learning_rate" in message
    arrays = newest_arrays(tmp_path)
    assert all(np.isfinite(values).all() for values in arrays.values())


def check(**options):
    from trainer.pretrain import pretrain

    _, arguments = None, [f"--{name}={value}" for name, value in options.items()]
    config, _ = parse_command(PretrainConfig, "pretrain", "trainer.pretrain", arguments)
    pretrain(config, RunOptions(dry_run=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "bert_tinny"}, "bert_tiny"),
        ({"steps": 0}, "--steps 0: must be at least 1"),
        ({"steps": 5, "epochs": 1}, "give one of them"),
        ({"hidden_dim": 100, "num_heads": 3}, "cannot be shared evenly by num_heads 3"),
        ({"grad_accumulation": 3}, "cannot split a batch of 32"),
        ({"max_sequence_length": 16}, "--max_sequence_length 16: the rows in"),
        ({"mask_selection_length": 33}, "33, but a row has only 32 tokens"),
        ({"mask_token_rate": 0.95}, "together they must be at most 1"),
        ({"learning_rate": float("nan")}, "must be a positive number"),
        ({"seed": -1}, "--seed -1"),
        ({"dropout": 1}, "--dropout 1"),
        ({"peak_tflops": 0}, "--peak_tflops 0.0: must be a positive number"),
        ({"steps_per_execution": 0}, "--steps_per_execution 0: must be at least 1"),
        ({"initial_run": "/nowhere"}, "--initial_run: /nowhere"),
        ({"initial_run": "x", "initial_positions": "sinusoidal"}, "--initial_run brings its own"),
    ],
)
def test_impossible_options(make_rows, tmp_path, options, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        check(data=make_rows(), output=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_an_initial_run_of_another_kind_is_refused(whole, make_rows, tmp_path):
    options = {"output": tmp_path / "run", "initial_run": whole[0], **_TINY}
    check(data=make_rows(), **options)
    with pytest.raises(UserError, match=r"has hidden_dim 16, the options of this run say 32"):
        check(data=make_rows(), **options | {"hidden_dim": 32})
    changed = tmp_path / "changed"
    shutil.copytree(whole[0], changed)
    (changed / "model.weights.h5").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"model\.weights\.h5 is not the file of SHA256SUMS"):
        check(data=make_rows(), **options | {"initial_run": changed})
    words = [f"v{i}" for i in range(115)]
    other = make_rows(vocabulary=Vocabulary((*SPECIAL_TOKENS, *words)))
    with pytest.raises(UserError, match="was trained with another vocabulary"):
        check(data=other, **options)


def test_masking_options_are_refused_for_examples(make_rows, make_examples, tmp_path):
    examples = make_examples(make_rows())
    check(data=examples, output=tmp_path / "run")
    with pytest.raises(UserError, match=r"--strategy: the examples in .* are masked already"):
        check(data=examples, output=tmp_path / "run", strategy="whole_word")


def test_mixtures_are_read_with_their_weights(make_rows, tmp_path):
    both = (str(make_rows()), str(make_rows(seed=1)))
    config = PretrainConfig(data=(f"{both[0]}=2", f"{both[1]}=0.5"), output="x")
    assert config.folders() == (list(both), [2.0, 0.5])
    assert PretrainConfig(data=both, output="x").folders() == (list(both), None)
    odd = tmp_path / "rate=3"
    odd.mkdir()
    assert PretrainConfig(data=(str(odd),), output="x").folders() == ([str(odd)], None)
    with pytest.raises(UserError, match="every folder a weight, or none"):
        PretrainConfig(data=(f"{both[0]}=2", both[1]), output="x").folders()
    with pytest.raises(UserError, match="must be a positive number"):
        PretrainConfig(data=("a=0",), output="x").folders()


@pytest.mark.long
@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_other_backends_train_alike(make_rows, tmp_path, backend):
    losses = {}
    for name in ("jax", backend):
        options = _TINY | {"dropout": 0.0, "learning_rate": 0.001}
        done = run_anew(name, data=make_rows(), output=tmp_path / name, steps=20, **options)
        assert done.returncode == 0, done.stderr
        losses[name] = [line["loss"] for line in read_lines(tmp_path / name)]
        losses[name].append(read_lines(tmp_path / name)[-1]["validation_loss"])
    np.testing.assert_allclose(losses["jax"], losses[backend], rtol=1e-3)


def test_skipped_rows_decide_a_run(run, make_rows, tmp_path):
    skip = tmp_path / "skip.txt"
    skip.write_text("train-00000-of-00003.array_record 0-3\n")
    options = {"data": make_rows(), "output": tmp_path / "run", "steps": 5, **_TINY}
    assert "46 rows of 32 tokens" in run(**options, skip_rows=skip)
    assert read_manifest(str(tmp_path / "run")).counts["skipped_rows"] == 4
    assert "skip_rows was '" in run(check=2, **options)
    assert "shard_window was None, now 2" in run(
        check=2, **options, skip_rows=skip, shard_window=2, cache_gb=3
    )


def test_attention_dropout_decides_only_where_it_is_given(make_rows):
    data = (str(make_rows()),)
    plain = plan_run(PretrainConfig(data=data, output="x")).deciding()
    without = plan_run(PretrainConfig(data=data, output="x", attention_dropout=0.0)).deciding()
    assert "attention_dropout" not in json.dumps(plain)
    assert without["model"] == {**plain["model"], "attention_dropout": 0.0}


def test_temperature_is_for_several_folders_without_weights(make_rows, tmp_path):
    both = (str(make_rows()), str(make_rows(train=200)))
    plan = plan_run(PretrainConfig(data=both, output="x", temperature=2.0))
    assert plan.weights == pytest.approx([1 / 3, 2 / 3])
    assert plan.deciding()["temperature"] == 2.0
    for data in (both[:1], tuple(f"{folder}=1" for folder in both)):
        with pytest.raises(UserError, match="--temperature 2: only for several"):
            plan_run(PretrainConfig(data=data, output="x", temperature=2.0))
