"""What a user can get wrong, on the real command line: one line, status 2, nothing half-written."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command_process import CommandProcess

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stderr: str


def run(module: str, *arguments: str) -> Done:
    """Runs ``python -m MODULE ARGUMENTS``: the pipelines in this process, which has Beam loaded."""
    if not module.startswith("pipelines."):
        with CommandProcess(module, *arguments) as process:
            _, errors = process.communicate()
        return Done(process.wait(), errors)
    said = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as stopped,
    ):
        patch.setattr(sys, "argv", [module, *arguments])
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    return Done(int(stopped.value.code or 0), said.getvalue())


def assert_one_line(done: Done, module: str, *parts: str) -> None:
    assert done.returncode == 2, done.stderr
    # Lines before the last one tell what the stage was about to do.
    *before, last = done.stderr.strip().split("\n")
    assert len(before) <= 1, done.stderr
    assert last.startswith(f"{module}: "), done.stderr
    for part in parts:
        assert part in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b'{"text": "fine"}\n{"text": "caf\xe9"}\n', (".jsonl:2:", "not valid UTF-8", "iconv")),
        (b'{"text": "fine"}\nnot json\n', (".jsonl:2:", "not valid JSON")),
        (b'{"text": "fine"}\n{"body": "x"}\n', (".jsonl:2:", "no field 'text'", "--text_field")),
        (b"", ("no words to learn from", "--input")),
    ],
)
def test_bad_corpora(tmp_path, content, parts):
    (tmp_path / "corpus.jsonl").write_bytes(content)
    output = tmp_path / "vocab"
    done = run(*("pipelines.vocab", "--input", str(tmp_path / "*.jsonl"), "--output", str(output)))
    assert_one_line(done, "pipelines.vocab", *parts)
    assert not (output / "manifest.json").exists()
    # A later stage does not accept what is left.
    done = run(
        *("pipelines.tokenize", "--input", str(tmp_path / "*.jsonl"), "--vocab", str(output)),
        *("--output", str(tmp_path / "rows")),
    )
    assert_one_line(done, "pipelines.tokenize", "is not finished")


def test_inputs_that_are_not_there(tmp_path):
    for pattern in (tmp_path / "*.txt", tmp_path / "a.txt"):
        arguments = ("pipelines.vocab", "--input", str(pattern), "--output", str(tmp_path / "v"))
        assert_one_line(run(*arguments), "pipelines.vocab", str(pattern), "check the path")
    assert not (tmp_path / "v").exists()


def test_a_vocabulary_without_mask(tmp_path):
    (tmp_path / "a.txt").write_text("some words\n")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nsome\nwords\n")
    done = run(
        *("pipelines.tokenize", "--input", str(tmp_path / "a.txt")),
        *("--vocab", str(tmp_path / "vocab.txt"), "--output", str(tmp_path / "rows")),
    )
    assert_one_line(done, "pipelines.tokenize", "[MASK]", "vocab.txt")


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("trainer.pretrain", ("--data", "NOWHERE", "--output", "OUT")),
        ("trainer.export", ("--run", "NOWHERE", "--output", "OUT")),
        ("trainer.finetune", ("--preset", "NOWHERE", "--train", "NOWHERE", "--output", "OUT")),
        ("trainer.evaluate", ("--preset", "NOWHERE", "--data", "NOWHERE")),
        ("trainer.predict", ("--preset", "NOWHERE", "--texts", "a")),
        ("pipelines.mask", ("--input", "NOWHERE", "--output", "OUT")),
    ],
)
def test_every_later_stage_says_what_is_missing(tmp_path, module, arguments):
    places = {"NOWHERE": str(tmp_path / "nowhere"), "OUT": str(tmp_path / "out")}
    done = run(module, *(places.get(argument, argument) for argument in arguments))
    assert_one_line(done, module, "nowhere")
    assert not (tmp_path / "out").exists()


def test_a_typo_in_a_configuration_file(tmp_path):
    (tmp_path / "c.yaml").write_text("pretrain:\n  data: [x]\n  output: y\n  learning_rte: 1\n")
    done = run("trainer.pretrain", "--config", str(tmp_path / "c.yaml"))
    assert_one_line(done, "trainer.pretrain", "'learning_rte'", "did you mean learning_rate?")
