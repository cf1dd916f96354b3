"""Command lines and configuration files of all commands, up to where the work would begin."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.command.run import RunOptions, run_command
from tests.fuzz.target import Draw, Target, complain_about

# Module of the config, its name, and whether Beam's options and --overwrite are known.
_COMMANDS: dict[str, tuple[str, str, dict[str, bool]]] = {
    "pipelines.vocab": ("pipelines.vocab.config", "VocabConfig", {"beam": True}),
    "pipelines.tokenize": ("pipelines.tokenize.config", "TokenizeConfig", {"beam": True}),
    "pipelines.mask": ("pipelines.mask.config", "MaskStageConfig", {"beam": True}),
    "pipelines.inspect": ("pipelines.inspect", "InspectConfig", {"publishes": False}),
    "trainer.pretrain": ("trainer.pretraining.config", "PretrainConfig", {}),
    "trainer.export": ("trainer.export", "ExportConfig", {}),
    "trainer.finetune": ("trainer.finetuning.config", "FinetuneConfig", {}),
    "trainer.evaluate": ("trainer.evaluate", "EvaluateConfig", {}),
    "trainer.predict": ("trainer.predict", "PredictConfig", {}),
    "trainer.explain": ("trainer.explain", "ExplainConfig", {"publishes": False}),
    "trainer.report": ("trainer.report", "ReportConfig", {"publishes": False}),
}
_WORDS = (
    *(
        "",
        " ",
        "-",
        "--",
        "---",
        "--=",
        "=",
        "-1",
        "0",
        "1e999",
        "nan",
        "9" * 400,
        "true",
        "a=b",
        "@file",
        "--help",
    ),
    *(
        "\0",
        "\ud800",
        "\x1b[2J",
        "a\nb",
        "é",
        "%s",
        "%(prog)s",
        "{}",
        "~",
        "../x",
        "gs://",
        "gs://b/x",
        "x://y",
    ),
    *(
        "--config",
        "--section",
        "--overwrite",
        "--dry_run",
        "--print_config",
        "--runner",
        "--runner=NoSuch",
    ),
    *(
        "--direct_num_workers=-3",
        "--project",
        "--price",
        "--price=nan",
        "--overwrite=false",
        "/dev/null",
        ".",
    ),
)
_YAML = """{stage}:
  input: [a.txt, "b*.txt"]
  data: runs/rows
  output: runs/x
  seed: 7
  lowercase: true
  reserved_tokens: ["[PAD]", "[UNK]"]
  strip_accents: null
{stage}_long: &long
  seed: ${{HOME}}
  output: ~/y
"""


def targets() -> list[Target]:
    """A file and a line for each command."""
    made = []
    for module in _COMMANDS:
        stage = module.split(".")[1]
        text = _YAML.format(stage=stage).encode()
        made.append(Target(f"YAML of {stage}", {"c.yaml": text}, _read_yaml(module), share=0.3))
        made.append(
            Target(f"command line of {stage}", {"words.json": b"[]"}, _read_line(module), share=0.3)
        )
    return made


def run_quietly(main: Callable[[Any, RunOptions], object], config: Any, **options: Any) -> None:
    """Runs what a command runs, without its output, which must not steer a terminal."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        main(config, RunOptions(**options))
    complain_about(said.getvalue().replace("\n", "").replace("\r", ""))


def run_line(
    module: str, arguments: list[str], main: Callable[..., object] | None = None
) -> tuple[int, str]:
    """The exit status of a command line in this process, whose errors must be one line, and its output.

    ``main``: what the command does, by default nothing.
    """
    config_module, name, options = _COMMANDS[module]
    config_class = getattr(importlib.import_module(config_module), name)
    shown, said, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(said):
        try:
            run_command(
                config_class,
                main or (lambda config, run_options: None),
                stage=module.split(".")[1],
                module=module,
                argv=arguments,
                **options,
            )
        except SystemExit as end:
            status = int(end.code or 0)
    text = said.getvalue()
    if status not in (0, 2, 75):
        raise RuntimeError(f"exit status {status}: {text.strip()[-300:]}")
    if status == 2:
        line = text.strip("\n").split("\n")[-1]
        if not line.startswith(f"{module}: ") or "Traceback" in text:
            raise RuntimeError(f"not one line: {text[-300:]}")
        complain_about(line)
    return status, shown.getvalue()


def _read_yaml(module: str) -> Callable[[Path, Draw], object]:
    def read(folder: Path, draw: Draw) -> None:
        stage = module.split(".")[1]
        section = draw.choice(([], [], ["--section", f"{stage}_long"]))
        shown = draw.choice(([], ["--print_config"]))
        run_line(module, ["--config", str(folder / "c.yaml"), *section, *shown])

    return read


def _read_line(module: str) -> Callable[[Path, Draw], object]:
    config_module, name, _ = _COMMANDS[module]

    def read(folder: Path, draw: Draw) -> None:
        fields = dataclasses.fields(getattr(importlib.import_module(config_module), name))
        given: list[str] = []
        for field in fields:
            if field.default is dataclasses.MISSING and draw.random() < 0.9:
                given += [f"--{field.name}", draw.choice(("x", "3", str(folder)))]
        for _ in range(draw.randint(0, 4)):
            flag = f"--{draw.choice(fields).name}"
            value = draw.choice((*_WORDS, "x", "1", "0.5", json.dumps([1, {}]), str(folder)))
            given += draw.choice(
                ([flag], [f"{flag}={value}"], [flag, value], [value], [flag[:-1], value])
            )
        draw.random() < 0.2 and draw.shuffle(given)
        run_line(module, _as_arguments(given), _check)

    return read


def _as_arguments(words: list[str]) -> list[str]:
    """Words as the system hands them over: none holds a zero byte."""
    return [
        os.fsdecode(word.encode("utf-8", "surrogatepass")) for word in words if "\0" not in word
    ]


def _check(config: Any, options: RunOptions) -> None:
    """What a command looks at first."""
    from trainer.pretraining.check_config import check_config
    from trainer.pretraining.config import PretrainConfig

    if isinstance(config, PretrainConfig):
        check_config(config)
    elif hasattr(config, "check"):
        config.check()
    if hasattr(config, "match_input"):
        config.match_input()
