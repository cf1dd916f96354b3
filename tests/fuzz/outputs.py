"""Finished outputs of the stages, with one file damaged, given to the commands that read them.

Such a command ends with one line, or does what it does with the whole output. A stage that is run again
into the folder may also say that it is finished, and change nothing. A manifest that nothing lists is
believed if it makes sense: then ``pipelines.inspect`` must name it.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from tests.command_process import TINY, flags_of
from tests.fuzz.commands import run_line
from tests.fuzz.contents import contents
from tests.fuzz.target import (
    Draw,
    NamedError,
    SilentLossError,
    Target,
    folder_files,
    write_files,
)
from tests.golden.corpus import write_corpus

_DOCUMENTS = "--input {corpus}/documents-0.jsonl"
_TOKENIZE = f"pipelines.tokenize {_DOCUMENTS} --vocab {{vocab}} --seq_length 32 --num_shards 2"
_TRAIN = f"trainer.pretrain {' '.join(flags_of(**TINY | {'steps': 4, 'checkpoint_every': 2}))}"
_LABELLED = "{corpus}/labelled.jsonl"
_FINETUNE = "trainer.finetune --seq_length 16 --epochs 1 --batch_size 8"
_INTO, _AGAIN = " --output {out}", " --output {given}"
# How each is made, from those before it.
_MADE = {
    "vocab": f"pipelines.vocab {_DOCUMENTS} --vocab_size 400",
    "rows": f"{_TOKENIZE} --validation_fraction 0.1",
    "tfrecord": f"{_TOKENIZE} --format tfrecord --packing full",
    "labelled": f"pipelines.tokenize --input {_LABELLED} --vocab {{vocab}} --seq_length 16 "
    "--packing examples --label_field label --num_shards 2",
    "examples": "pipelines.mask --input {rows}",
    "run": f"{_TRAIN} --data {{rows}}",
    "preset": "trainer.export --run {run} --hf_output {hf}",
    "finetuned": f"{_FINETUNE} --preset {{preset}} --train {_LABELLED}",
    "evaluation": f"trainer.evaluate --preset {{finetuned}} --data {_LABELLED}",
}
_TRAINED = (f"{_TRAIN} --data {{given}}{_INTO}",)
_TUNED = (f"{_FINETUNE} --preset {{given}} --train {_LABELLED}{_INTO}",)
_READERS = {
    "vocab": (_TOKENIZE.replace("{vocab}", "{given}") + _INTO,),
    "rows": ("pipelines.mask --input {given}" + _INTO, *_TRAINED),
    "tfrecord": ("pipelines.mask --input {given}" + _INTO, *_TRAINED),
    "labelled": (f"{_FINETUNE} --preset {{preset}} --train {{given}}{_INTO}",),
    "examples": _TRAINED,
    "run": (
        "trainer.report --run {given} --output {out}/page.html",
        "trainer.explain --run {given} --step 2",
        "trainer.export --run {given} --hf_output {out}-hf" + _INTO,
    ),
    "preset": _TUNED,
    "hf": _TUNED,
    "finetuned": (
        "trainer.predict --preset {given} --texts a.b",
        f"trainer.evaluate --preset {{given}} --data {_LABELLED}{_INTO}",
        "trainer.export --run {given}" + _INTO,
        *_TUNED,
    ),
}
# What a run that was killed after its first checkpoint does not have.
_AT_THE_END = (
    *("manifest.json", "SHA256SUMS", "model.weights.h5", "sample.npz", "report.html", "vocab.txt"),
    *("tensorboard", "checkpoints/step-00000004"),
)
_PRINTS = ("trainer.predict", "trainer.explain", "pipelines.inspect")
_MAINS = {
    "pipelines.vocab": "pipelines.vocab.pipeline.learn_vocabulary",
    "pipelines.tokenize": "pipelines.tokenize.pipeline.tokenize",
    "pipelines.mask": "pipelines.mask.pipeline.mask",
}


def targets(work: Path) -> list[Target]:
    """Each output with the commands that read it, whose other inputs stay in ``work``."""
    places = {name: str(work / name) for name in ("corpus", "hf", *_MADE)}
    write_corpus(work / "corpus")
    for name, command in _MADE.items():
        _run(f"{command} --output {places[name]}", places, (0,))
    made = {}
    for name in ("hf", *_MADE):
        again = (f"{_MADE[name]}{_AGAIN}",) if name in _MADE else ()
        commands = (*_READERS.get(name, ()), "pipelines.inspect --data {given}", *again)
        made[name] = folder_files(work / name), commands
    killed = {n: c for n, c in made["run"][0].items() if not n.startswith(_AT_THE_END)}
    made["unfinished run"] = killed, (f"{_MADE['run']}{_AGAIN}",)
    return [output_target(name, *given, places) for name, given in made.items()]


def output_target(
    name: str, whole: Mapping[str, bytes], commands: tuple[str, ...], places: Mapping[str, str]
) -> Target:
    """The files of an output, one of them damaged, for one of the commands that read {given}."""
    return Target(name, whole, _Reader(whole, commands, places), swaps=True)


class _Reader:
    """Gives a damaged output to one of the commands, and compares with what comes of the whole one."""

    def __init__(
        self, whole: Mapping[str, bytes], commands: tuple[str, ...], places: Mapping[str, str]
    ):
        self._whole = whole
        self._commands = commands
        self._places = places
        self._expected: dict[str, dict[str, Any]] = {}

    def __call__(self, folder: Path, draw: Draw) -> None:
        command = draw.choice(self._commands)
        if command not in self._expected:
            damaged = folder_files(folder)
            _replace(folder, self._whole)
            self._expected[command] = self._result(command, folder)
            _replace(folder, damaged)
        before = _visible(folder)
        try:
            found = self._result(command, folder)
        except UserError:
            if _visible(folder) != before:
                raise SilentLossError(f"{command}: refused, but not left as it was") from None
            raise
        if _AGAIN in command and found["given"] == before:
            return
        if names := _differing(found, self._expected[command]):
            if _changed(folder, self._whole) == ["manifest.json"]:
                with suppress(UserError):
                    _run("pipelines.inspect --data {given}", {"given": str(folder)}, (0, 2))
                    raise SilentLossError("a changed manifest is not named by inspect")
                raise NamedError
            raise SilentLossError(f"{command.split()[0]} gives another {', '.join(names)}")

    def _result(self, command: str, folder: Path) -> dict[str, Any]:
        out = folder.parent / "out"
        shutil.rmtree(out, ignore_errors=True)
        printed = _run(command, {**self._places, "given": str(folder), "out": str(out)}, (0, 2))
        shown = printed if command.split()[0] in _PRINTS else ""
        given = _visible(folder) if _AGAIN in command else {}
        return {"output": shown, "given": given, "out": _visible(out)}


def _run(command: str, places: Mapping[str, str], right: tuple[int, ...]) -> str:
    """Runs a command in this process; what it prints. Raises UserError where it refuses."""
    import keras

    from trainer.pretraining.startup import without_tensorflow

    # As in a process of its own, layers are numbered from the first.
    keras.utils.clear_session(free_memory=False)  # freeing it took half of the time
    module, *arguments = command.format(**places).split()
    name = _MAINS.get(module, f"{module}.{module.split('.')[1]}")
    home, _, function = name.rpartition(".")
    main: Callable[..., object] = getattr(importlib.import_module(home), function)
    status, printed = run_line(module, arguments, without_tensorflow(main))
    if status not in right:
        raise RuntimeError(f"{command}: exit status {status}")
    if status:
        raise UserError("refused")
    return printed


def _visible(folder: Path) -> dict[str, Any]:
    """The contents of a folder without the lock, which stays as long as this process."""
    found = contents(folder) if folder.is_dir() else {}
    found.pop(".lock", None)
    return found


def _replace(folder: Path, given: Mapping[str, bytes]) -> None:
    shutil.rmtree(folder)
    write_files(folder, given)


def _changed(folder: Path, whole: Mapping[str, bytes]) -> list[str]:
    given = folder_files(folder)
    return [name for name in sorted({*given, *whole}) if given.get(name) != whole.get(name)]


def _differing(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Where two results differ."""
    names = ["output"] if found["output"] != expected["output"] else []
    for place in ("given", "out"):
        new, old = found[place], expected[place]
        names += [
            f"{place}/{name}" for name in sorted({*new, *old}) if new.get(name) != old.get(name)
        ]
    return names
