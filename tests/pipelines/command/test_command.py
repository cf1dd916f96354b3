"""Flags, YAML, and one clear line for every mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import pytest
import yaml

from pipelines.command.config_file import dump_config, stage_of
from pipelines.command.field_flags import field_texts
from pipelines.command.run import RunOptions, parse_command, run_command
from pipelines.errors import UserError
from pipelines.mask.config import MaskStageConfig
from pipelines.tokenize.config import TokenizeConfig
from pipelines.vocab.config import VocabConfig

_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Do something."""

    input: tuple[str, ...]
    """Files."""

    seq_length: int = 512
    """Tokens."""

    rate: float = 0.15
    """Share."""

    lowercase: bool | None = None
    """Fold case."""

    kind: Literal["one", "two"] = "one"
    """Which."""


def parse(*arguments: str, beam: bool = False):
    return parse_command(Config, "vocab", "pipelines.vocab", arguments, beam=beam)


def test_flags():
    config, options = parse(
        *"--input a b --seq_length 128 --lowercase false --kind two --overwrite".split()
    )
    assert config == Config(input=("a", "b"), seq_length=128, lowercase=False, kind="two")
    assert options.overwrite
    assert not options.dry_run


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "vocab:\n  input: [x, 'y z']\n  seq_length: 64\n  lowercase: true\n  rate: 1e-3\n"
        "mask:\n  copies: 3\n"
    )
    config, _ = parse("--config", str(path), "--seq_length", "32")
    assert config == Config(input=("x", "y z"), seq_length=32, lowercase=True, rate=0.001)


def test_a_further_section_of_the_same_stage(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("vocab:\n  input: [x]\nvocab_small:\n  input: [y]\n  seq_length: 64\n")
    config, _ = parse("--config", str(path), "--section", "vocab_small", "--rate", "1")
    assert config == Config(input=("y",), seq_length=64, rate=1.0)
    assert parse("--config", str(path))[0] == Config(input=("x",))
    with pytest.raises(UserError, match="no section 'vocab_smal'; did you mean vocab_small"):
        parse("--config", str(path), "--section", "vocab_smal")


def test_what_is_printed_can_be_read_again(tmp_path):
    config = Config(input=("a", "b"), lowercase=False, rate=0.2)
    path = tmp_path / "c.yaml"
    path.write_text(dump_config(config, "vocab"))
    assert parse("--config", str(path))[0] == config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--input a --seq_lenght 3", r"unknown option --seq_lenght; did you mean --seq_length\?"),
        ("--input a --seq_length x", "--seq_length: invalid int value: 'x'"),
        ("--input a --seq_length=--", "--seq_length=--: -- is no value"),
        ("--input a --kind three", "invalid choice: 'three'.*'one', 'two'"),
        ("--seq_length 3", "required: --input"),
        ("--config", "argument --config: expected one argument"),
        ("--input a --section vocab_small", "--section vocab_small: of which file"),
        ("--config c.yaml --section mask_small", "this command reads vocab or vocab_…"),
        ("--config missing.yaml", "cannot read missing.yaml: No such file"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        parse(*arguments.split())
    assert "\n" not in str(caught.value)


def test_beam_options_pass_and_misspelt_ones_do_not():
    pytest.importorskip("apache_beam")
    arguments = ("--input", "a", "--runner", "DataflowRunner", "--project=p", "--streaming")
    assert parse(*arguments, beam=True)[1].beam_args == arguments[2:]
    with pytest.raises(UserError, match=r"--runer; did you mean --runner\?"):
        parse("--input", "a", "--runer", "DataflowRunner", beam=True)
    with pytest.raises(UserError, match="unknown option --runner"):
        parse("--input", "a", "--runner", "DataflowRunner")


# Each alias stands for nine of the one before it.
ALIASES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vocab:\n  inptu: a\n", r"section vocab: unknown key 'inptu'; did you mean input\?"),
        ("vocabs:\n  input: a\n", r"unknown section 'vocabs'; did you mean vocab\?"),
        ("vocab_size: 16000\n", "unknown section 'vocab_size'; did you mean vocab"),
        ("- a\n", "expected sections named after stages"),
        ("vocab: 3\n", "section vocab: expected 'key: value' lines"),
        ("vocab:\n  a: [1\nb: 2\n", "c.yaml, line 3: not valid YAML"),
        ("vocab:\n  input: ['${NO_SUCH_VARIABLE}/x']\n", "NO_SUCH_VARIABLE is not set"),
        ("vocab:\n  input: [a]\n  kind: three\n", "invalid choice: 'three'"),
        ("vocab:\n  3: a\n", "section vocab: unknown key 3"),
        ("vocab:\n  ~: a\n", "section vocab: unknown key None"),
        ("~: 1\n3: 2\n", "unknown section None"),
        (f"vocab:\n  input: [{'9' * 5000}]\n", "not valid YAML"),
        (f"vocab:\n  seq_length: 0x{'f' * 5000}\n", "seq_length: a list .* too long a number"),
        ("vocab:\n  input: [[a], b]\n", "input: a list or mapping within another"),
        ("vocab: &a\n  input: *a\n", "input: a list or mapping within another"),
        ("vocab: &a\n  <<: *a\n", "required: --input"),
        ("vocab: " + "[" * 1000, "not valid YAML"),
        ("vocab:\n  input: 2001-99-99\n", "not valid YAML"),
        (ALIASES, "too much for a configuration"),
        (ALIASES.replace("[", "{<<: [").replace("]", "]}"), "too much for a configuration"),
        (" " * 2_000_000, "has more than 1,048,576 bytes"),
    ],
)
def test_mistakes_in_the_file_are_one_line(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        parse("--config", str(path))
    assert "\n" not in str(caught.value)


def test_variables_in_the_file_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_DATA", "/data")
    path = tmp_path / "c.yaml"
    path.write_text("vocab:\n  input: ['${SOME_DATA}/x', y]\n")
    assert parse("--config", str(path))[0].input == ("/data/x", "y")


def test_paths_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    path = tmp_path / "c.yaml"
    path.write_text("vocab:\n  input: [x]\n  output: ~/y\n")
    assert parse_command(VocabConfig, "vocab", "x", ["--config", str(path)])[0].output == (
        "/home/somebody/y"
    )
    for text, says in (("[x]\n  output: 0123", "output: 83"), ("[no]", "input: False")):
        path.write_text(f"vocab:\n  input: {text}\n")
        with pytest.raises(UserError, match=f"{says} is no path; write it in quotes"):
            parse_command(VocabConfig, "vocab", "x", ["--config", str(path)])
    with pytest.raises(UserError, match="--output: is empty; give the name"):
        parse_command(VocabConfig, "vocab", "x", ["--input", "x", "--output", ""])


def all_configs() -> list[type]:
    from launch.quickstart_corpus.demo_task import DemoTaskConfig
    from launch.quickstart_corpus.docstring_task import DocstringsConfig
    from trainer.evaluate import EvaluateConfig
    from trainer.export import ExportConfig
    from trainer.finetune import FinetuneConfig
    from trainer.predict import PredictConfig
    from trainer.pretraining.config import PretrainConfig

    return [
        *(VocabConfig, TokenizeConfig, MaskStageConfig, PretrainConfig, ExportConfig),
        *(FinetuneConfig, EvaluateConfig, PredictConfig, DocstringsConfig, DemoTaskConfig),
    ]


def test_every_field_is_documented(capsys):
    for config in all_configs():
        with pytest.raises(SystemExit) as stopped:
            parse_command(config, "vocab", "x", ["--help"])
        assert stopped.value.code == 0
        text = capsys.readouterr().out
        for field in fields(config):
            assert field_texts(config)[field.name]
            assert f"  --{field.name} " in text


def test_help_shows_first_what_must_be_chosen(capsys):
    with pytest.raises(SystemExit):
        parse_command(TokenizeConfig, "tokenize", "pipelines.tokenize", ["--help"], beam=True)
    text = capsys.readouterr().out
    assert text.startswith(
        "usage: python -m pipelines.tokenize --input FILE [FILE ...] --vocab PATH --output DIR "
        "[options]\n"
    )
    headings = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert headings[0] == "what you must choose"
    assert headings[-2:] == ["any command", "example"]
    assert "--lowercase [true|false]\n" in text
    assert text.count("(required)") == 3


# The fields that users and other programs rely on.
FIELDS = {
    "vocab": "input input_format text_field output vocab_size algorithm lowercase strip_accents "
    "reserved_tokens suffix_indicator",
    "tokenize": "input input_format text_field vocab lowercase strip_accents output seq_length "
    "packing num_shards format validation_fraction deduplicate seed",
    "mask": "input output copies mask_selection_rate mask_selection_length mask_token_rate "
    "random_token_rate strategy seed format",
    "pretrain": "data output model steps batch_size learning_rate warmup_steps optimizer dtype seed "
    "checkpoint_every eval_every grad_accumulation",
    "export": "run output hf_output",
    "finetune": "preset train validation task text_field text_pair_field label_field output epochs "
    "batch_size learning_rate seq_length seed",
    "evaluate": "preset data output",
    "predict": "preset data output",
}


def test_promised_fields_exist():
    configs = dict(zip(FIELDS, all_configs(), strict=False))
    for stage, names in FIELDS.items():
        have = {field.name for field in fields(configs[stage])}
        assert set(names.split()) <= have, stage


@pytest.mark.parametrize("path", sorted((_ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_config_file_is_valid(path, monkeypatch):
    monkeypatch.setenv("BERTMILL_DATA", "data")
    monkeypatch.setenv("QUICKSTART", "runs/quickstart")
    monkeypatch.setenv("CORPUS", "corpus/*.txt")
    monkeypatch.setenv("RUNS", "runs")
    configs = dict(zip(FIELDS, all_configs(), strict=False))
    required = ["--input", "x", "--output", "x", "--train", "x"]
    for section in yaml.safe_load(path.read_text()):
        stage = stage_of(section)
        names = {field.name for field in fields(configs[stage])}
        missing = [
            word
            for flag, value in zip(required[::2], required[1::2], strict=True)
            for word in (flag, value)
            if flag[2:] in names
        ]
        arguments = ["--config", str(path), "--section", section, *missing]
        parse_command(configs[stage], stage, stage, arguments)


def test_the_command_exits_with_2_and_one_line():
    done = subprocess.run(
        [sys.executable, "-m", *"pipelines.inspect --data no/such".split()],
        cwd=_ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("pipelines.inspect: --data: no/such does not exist")
    assert done.stderr.count("\n") == 1


def test_print_config(capsys):
    arguments = "--input a --output b --copies 2 --print_config".split()
    run_command(MaskStageConfig, never, stage="mask", module="pipelines.mask", argv=arguments)
    assert yaml.safe_load(capsys.readouterr().out)["mask"]["copies"] == 2


def never(config: MaskStageConfig, options: RunOptions) -> None:
    raise AssertionError("it only prints")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("two\nlines"), 2, "pipelines.mask: two lines\n"),
        (
            PermissionError(13, "Permission denied", "a/b"),
            2,
            "pipelines.mask: a/b: Permission denied",
        ),
        (RuntimeError("x: No space left on device"), 2, "pipelines.mask: the disk is full; free"),
        (KeyError("x"), 1, "this is a fault of bertmill; please report it with the lines above\n"),
    ],
)
def test_only_faults_of_ours_end_with_a_traceback(capsys, error, status, said):
    def fail(config: MaskStageConfig, options: RunOptions) -> None:
        raise error

    arguments = "--input a --output b".split()
    with pytest.raises(SystemExit) as stopped:
        run_command(MaskStageConfig, fail, stage="mask", module="pipelines.mask", argv=arguments)
    assert stopped.value.code == status
    printed = capsys.readouterr().err
    assert said in printed
    assert ("Traceback" in printed) == (status == 1)
    assert status == 1 or printed.count("\n") == 1


@pytest.mark.parametrize(
    ("beam_args", "message"),
    [
        ("--runner NoSuch", "Beam cannot run with --runner NoSuch: .*NoSuch"),
        ("--runner no_such.Runner", "Beam cannot run with --runner no_such.Runner: "),
        ("--direct_num_workers=-3", "--direct_num_workers -3: must be at least 1"),
        ("--runner DataflowRunner --project p", "Beam cannot run with .*DataflowRunner.*: "),
    ],
)
def test_what_beam_cannot_run_with_is_one_line(capsys, beam_args, message):
    pytest.importorskip("apache_beam")
    arguments = [*"--input a --output b".split(), *beam_args.split()]
    with pytest.raises(SystemExit) as stopped:
        run_command(
            MaskStageConfig,
            never,
            stage="mask",
            module="pipelines.mask",
            beam=True,
            argv=arguments,
        )
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert re.search(f"pipelines.mask: {message}", printed)
    assert printed.count("\n") == 1
