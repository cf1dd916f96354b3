"""The YAML file of ``--config``: sections named after stages, whose keys are the flags.

``${NAME}`` in a value stands for an environment variable. What is wrong with a file is a UserError that
names the file, the section or line, and the nearest valid name.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any

import yaml

from pipelines.errors import UserError, nearest

# The sections a configuration file may have, in the order of the road.
STAGES = (
    "vocab",
    "tokenize",
    "mask",
    "pretrain",
    "export",
    "finetune",
    "evaluate",
    "predict",
    "explain",
    "report",
    "docstrings",
    "demo_task",
    "inspect",
)


def section_as_flags(config_class: type, path: str, section: str) -> list[str]:
    """A section of a configuration file, written as flags to stand before the user's own.

    Raises UserError for a file that cannot be read and for a key that is no field.
    """
    where = f"{path}: section {section}"
    names = [field.name for field in dataclasses.fields(config_class)]
    flags: list[str] = []
    for name, value in read_config_section(path, section).items():
        if name not in names:
            raise UserError(f"{where}: unknown key {name!r}{nearest(name, names)}")
        flags += _as_flags(f"--{name}", _expand(value, f"{where}: {name}"))
    return flags


def read_config_section(path: str, name: str) -> dict[str, Any]:
    """One section of a YAML configuration file; empty if the file has none for this stage.

    ``name`` is a stage, or STAGE_ANYTHING for a section that must be there.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except OSError as error:
        raise UserError(f"--config: cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"--config: {path}{place}: not valid YAML") from None
    if not isinstance(content, dict):
        raise UserError(f"--config: {path}: expected sections named after stages, such as vocab:")
    for key, section in content.items():
        stage = stage_of(str(key))
        # A key that has lost its indentation, such as vocab_size, is no section.
        if stage is None or (key != stage and not isinstance(section, dict)):
            raise UserError(f"{path}: unknown section {key!r}{nearest(str(key), STAGES)}")
    if name not in content and name not in STAGES:
        raise UserError(f"{path}: no section {name!r}{nearest(name, list(content))}")
    section = content.get(name) or {}
    if not isinstance(section, dict):
        raise UserError(f"{path}: section {name}: expected 'key: value' lines")
    return section


def stage_of(section: str) -> str | None:
    """``pretrain`` for ``pretrain`` and ``pretrain_128``; None where no stage has such sections."""
    found = (s for s in STAGES if re.fullmatch(rf"{s}(_\w+)?", section, re.ASCII))
    return next(found, None)


def _expand(value: Any, where: str) -> Any:
    """Replaces ${NAME} in strings by environment variables, which must be set."""
    if isinstance(value, list):
        return [_expand(item, where) for item in value]
    if isinstance(value, str):
        for name in re.findall(r"\$\{(\w+)\}", value):
            if name not in os.environ:
                raise UserError(f"{where}: environment variable {name} is not set; export it first")
        return re.sub(r"\$\{(\w+)\}", lambda found: os.environ[found[1]], value)
    return value


def _as_flags(flag: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [flag, *map(_as_text, value)]
    if isinstance(value, dict):
        return [flag, *(f"{key}={_as_text(item)}" for key, item in value.items())]
    return [f"{flag}={_as_text(value)}"]


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def dump_config(config: Any, stage: str) -> str:
    """The config as a YAML section that ``--config`` reads."""
    fields = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
    }
    return yaml.safe_dump({stage: fields}, sort_keys=False, allow_unicode=True)
