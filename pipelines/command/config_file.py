"""The YAML file of ``--config``: sections named after stages, whose keys are the flags.

``${NAME}`` in a value stands for an environment variable. What is wrong with a file is a UserError that
names the file, the section or line, and the nearest valid name.
"""

from __future__ import annotations

import dataclasses
import os
import re
from datetime import date
from typing import Any

import yaml

from pipelines.command.options import PATHS
from pipelines.command.stages import STAGES
from pipelines.errors import UserError, nearest
from pipelines.storage import files

_MOST_BYTES = 1 << 20
_MOST_NODES = 10_000
# The sections a configuration file may have: the stages, and those of launch/ that read one.
SECTIONS = (*STAGES, "docstrings", "demo_task")


def section_as_flags(config_class: type, path: str | None, stage: str, section: str) -> list[str]:
    """A section of a configuration file, written as flags to stand before the user's own.

    ``section`` is the stage, or STAGE_ANYTHING for a section that must be there. Raises UserError for
    a file that cannot be read and for a key that is no field.
    """
    if stage_of(section) != stage and section != stage:
        raise UserError(f"--section {section}: this command reads {stage} or {stage}_…")
    if path is None:
        if section != stage:
            raise UserError(f"--section {section}: of which file? add --config FILE")
        return []
    metavars = {f.name: f.metadata.get("metavar") for f in dataclasses.fields(config_class)}
    names = list(metavars)
    flags: list[str] = []
    for name, value in _read_section(path, section).items():
        if name not in names:
            raise UserError(
                f"{path}: section {section}: unknown key {name!r}{nearest(str(name), names)}"
            )
        where = f"{path}: section {section}: {name}"
        for item in value if isinstance(value, list) else [value]:
            # YAML takes 0123 for 83, and no for false.
            if metavars[name] in PATHS and isinstance(item, int | float | date):
                raise UserError(f"{where}: {item} is no path; write it in quotes")
        flags += _as_flags(name, value, where)
    return flags


def stage_of(section: str) -> str | None:
    """``pretrain`` for ``pretrain`` and ``pretrain_128``; None where no stage has such sections."""
    stages = (s for s in SECTIONS if re.fullmatch(rf"{s}(_\w+)?", section, re.ASCII))
    return next(stages, None)


def dump_config(config: Any, stage: str) -> str:
    """The config as a YAML section that ``--config`` reads."""
    section = {stage: dataclasses.asdict(config)}
    return yaml.safe_dump(section, sort_keys=False, allow_unicode=True)


def _read_section(path: str, name: str) -> dict[str, Any]:
    try:
        text = files.read_bytes(path, _MOST_BYTES).decode()
        _check_size(text, path)
        content = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"--config: cannot read {path}: {error.strerror}") from None
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"--config: {path}{line}: not valid YAML") from None
    if not isinstance(content, dict):
        raise UserError(f"--config: {path}: expected sections named after stages, such as vocab:")
    for key, section in content.items():
        stage = stage_of(str(key))
        # A key that has lost its indentation, such as vocab_size, is no section.
        if stage is None or (key != stage and not isinstance(section, dict)):
            raise UserError(f"{path}: unknown section {key!r}{nearest(str(key), SECTIONS)}")
    if name not in content and name not in SECTIONS:
        raise UserError(f"{path}: no section {name!r}{nearest(name, list(map(str, content)))}")
    section = content.get(name) or {}
    if not isinstance(section, dict):
        raise UserError(f"{path}: section {name}: expected 'key: value' lines")
    return section


def _check_size(text: str, path: str) -> None:
    """Raises UserError where aliases, which may stand for aliases, stand for too much."""
    count = 0
    sizes: dict[str | None, int] = {}
    begun: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            begun.append((event.anchor, count))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = begun.pop()
            sizes[anchor] = count - before
        count += sizes.get(event.anchor, 1) if isinstance(event, yaml.AliasEvent) else 1
        if count > _MOST_NODES:
            raise UserError(
                f"--config: {path}: too much for a configuration; is it the right file?"
            )


def _as_flags(name: str, value: Any, where: str) -> list[str]:
    if value is None or value == []:
        return []
    if isinstance(value, dict):
        value = [f"{key}={_as_text(item, where)}" for key, item in value.items()]
    if isinstance(value, list):
        return [f"--{name}", *(_as_text(item, where) for item in value)]
    return [f"--{name}={_as_text(value, where)}"]


def _as_text(value: Any, where: str) -> str:
    """The value as on a command line, with environment variables, which must be set, filled in."""
    if isinstance(value, list | dict) or (isinstance(value, int) and value.bit_length() > 64):
        raise UserError(
            f"{where}: a list or mapping within another, or too long a number; write plain values"
        )

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UserError(f"{where}: environment variable {match[1]} is not set; export it first")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", variable, str(value))
