"""A labelled task from anybody's text, so that fine-tuning can be tried on it at once.

Records with a label give that task. Text without labels gives "does the second passage continue
the first?": half of the pairs are neighbours in one document, half come from two documents, and a
model that has read such text before training has a head start. Documents are chosen, paired and
split by keys of their content, so the result does not depend on file names or order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.command.options import CHOOSE, option
from pipelines.command.run import RunOptions, run_command, show
from pipelines.documents.bad_record import BadRecord
from pipelines.documents.blocks import content_id, read_blocks
from pipelines.documents.config import CorpusConfig, describe_inputs, paths_read
from pipelines.documents.fields import FORMATS, read_fields
from pipelines.documents.formats import resolve_format
from pipelines.documents.line_ranges import FileRange
from pipelines.errors import UserError
from pipelines.keyed_random import below, fold, purpose_key, uniform
from pipelines.stage import StageRun
from pipelines.storage import files
from pipelines.summary import print_summary

_PASSAGE_WORDS = 48
_PAIRS_PER_DOCUMENT = 8
_MINIMUM_EXAMPLES = 20
CONTINUES, OTHER = "continues", "other"


@dataclass(frozen=True, kw_only=True)
class DemoTaskConfig(CorpusConfig):
    """Make train.jsonl and validation.jsonl for fine-tuning from any text.

    Example: --input corpus/*.txt --output runs/task
    """

    output: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """The folder to write."""

    label_field: str | None = option(None, group="the task", metavar="NAME")
    """The field with the label; null, empty and -1 count as unlabelled. Default: label, where there
    is one."""

    max_examples: int = option(8000, group="the task")
    """At most so many examples, chosen by content."""

    validation_fraction: float = option(0.15, group="the task", metavar="RATE")
    """Share of the documents held out, chosen by content."""

    seed: int = option(0, group="the task")
    """Decides the choice, the pairs and the split."""


Example = dict[str, Any]


def labelled_records(paths: list[str], config: DemoTaskConfig) -> Iterator[Example]:
    """The records that have both a text and a label. Raises UserError for a table without the field
    that was asked for."""
    name = config.label_field or "label"
    wanted = {"text_field": config.text_field, "label_field": name}
    for path in paths:
        kind = resolve_format(path, config.input_format)
        if kind not in FORMATS.values():
            continue
        try:
            for _, record in read_fields(FileRange(path), kind, wanted):
                if isinstance(record, BadRecord):
                    continue  # the other stages report it
                text, label = record.get(config.text_field), record.get(name)
                if isinstance(label, float) and label % 1 == 0:
                    label = int(label)  # as whoever wrote the table meant it
                usable = isinstance(label, str | int) and str(label).strip() not in ("", "-1")
                if isinstance(text, str) and text.strip() and usable:
                    yield {"text": text, "label": label}
        except UserError:
            if config.label_field:
                raise


def choose(ids: NDArray[np.uint64], limit: int, seed: int) -> NDArray[np.int64]:
    """Indices int64 of at most ``limit`` of the distinct ids, in keyed random order."""
    order = np.argsort(fold(purpose_key(seed, "demo task"), ids), kind="stable")
    _, first = np.unique(ids[order], return_index=True)
    return order[np.sort(first)][:limit]


def cut_passages(text: str) -> list[tuple[str, str]]:
    """Up to ``_PAIRS_PER_DOCUMENT`` pairs of neighbouring passages, none of them overlapping."""
    longest = 2 * _PASSAGE_WORDS
    words = text.split(maxsplit=longest * _PAIRS_PER_DOCUMENT)[: longest * _PAIRS_PER_DOCUMENT]
    pairs = []
    for start in range(0, len(words), longest):
        window = words[start : start + longest]
        half = len(window) // 2
        if half >= _PASSAGE_WORDS // 4:
            pairs.append((" ".join(window[:half]), " ".join(window[half:])))
    return pairs


def pair_passages(texts: list[str], seed: int) -> tuple[list[Example], list[int]]:
    """Pairs of passages, half of which continue, and the index of the text each begins in."""
    owners: list[int] = []
    passages: list[tuple[str, str]] = []
    for index, text in enumerate(texts):
        cut = cut_passages(text)
        passages += cut
        owners += [index] * len(cut)
    ids = np.array([content_id("\n".join(pair).encode()) for pair in passages], np.uint64)
    other = uniform(fold(purpose_key(seed, "demo pair"), ids)) < 0.5
    # Another text's passage: far enough away that it cannot be the same document's.
    room = max(1, len(ids) - 2 * _PAIRS_PER_DOCUMENT)
    shift = _PAIRS_PER_DOCUMENT + below(fold(purpose_key(seed, "demo partner"), ids), room)
    pairs = []
    for place, (first, second) in enumerate(passages):
        if other[place]:
            second = passages[(place + int(shift[place])) % len(passages)][1]
        label = OTHER if other[place] else CONTINUES
        pairs.append({"text": first, "text_pair": second, "label": label})
    return pairs, owners


def make_task(config: DemoTaskConfig, options: RunOptions) -> None:
    """Writes the task. Raises UserError if the text is not enough for one."""
    if not 0 < config.validation_fraction < 1:
        raise UserError(f"--validation_fraction {config.validation_fraction}: between 0 and 1")
    found = config.match_input()
    run = StageRun(
        "demo_task",
        config,
        {"files": describe_inputs(found)},
        {"input": paths_read(config, found)},
        ("train.jsonl", "validation.jsonl"),
    )
    if options.dry_run:
        show(f"would write {files.join(config.output, 'train.jsonl')} and validation.jsonl")
        return
    if run.is_finished(overwrite=options.overwrite):
        return
    examples, ids, kind = _examples([info.path for info in found], config)
    held_out = uniform(fold(purpose_key(config.seed, "demo split"), ids))
    parts: dict[str, list[Example]] = {"train": [], "validation": []}
    for example, draw in zip(examples, held_out.tolist(), strict=True):
        parts["validation" if draw < config.validation_fraction else "train"].append(example)
    for name, part in parts.items():
        lines = [json.dumps(example, ensure_ascii=False) + "\n" for example in part]
        files.publish_bytes(files.join(config.output, f"{name}.jsonl"), "".join(lines).encode())
    labels = sorted({str(example["label"]) for example in examples})
    counts = {name: len(part) for name, part in parts.items()}
    run.publish(counts, {"kind": kind, "labels": labels})
    print_summary({"task": kind, "classes": len(labels)}, counts, {"output": config.output})


def _examples(
    paths: list[str], config: DemoTaskConfig
) -> tuple[list[Example], NDArray[np.uint64], str]:
    """The chosen examples, the id of each one's document, and what the task asks."""
    labelled: list[Example] = []
    ids = np.zeros(0, np.uint64)
    for example in labelled_records(paths, config):
        labelled.append(example)
        if len(labelled) >= 4 * config.max_examples:
            labelled, ids = _keep(labelled, ids, config)
    labelled, ids = _keep(labelled, ids, config)
    classes = {str(example["label"]) for example in labelled}
    if len(classes) > 1:
        return labelled, ids, f"the field {config.label_field or 'label'!r}"
    if config.label_field:
        raise UserError(
            f"--label_field {config.label_field}: {len(classes)} classes in {', '.join(config.input)}; "
            "name the field that tells at least two apart"
        )

    texts: list[Example] = []
    ids = np.zeros(0, np.uint64)
    for path in paths:
        for block in read_blocks(FileRange(path), config):
            texts += [{"text": text} for text in block.texts()]
            texts, ids = _keep(texts, ids, config)
    pairs, owners = pair_passages([example["text"] for example in texts], config.seed)
    if len(pairs) < _MINIMUM_EXAMPLES:
        raise UserError(
            f"only {len(pairs)} passages of {_PASSAGE_WORDS // 2} words or more in "
            f"{', '.join(config.input)}, too few for a task ({_MINIMUM_EXAMPLES}); "
            "give more text, or choose --document_boundary"
        )
    pairs, owners = pairs[: config.max_examples], owners[: config.max_examples]
    return pairs, ids[owners], "does the second passage continue the first?"


def _keep(
    examples: list[Example], ids: NDArray[np.uint64], config: DemoTaskConfig
) -> tuple[list[Example], NDArray[np.uint64]]:
    """The examples with the smallest keys, so that memory stays bounded; ``ids`` of the first."""
    new = [content_id(example["text"].encode()) for example in examples[len(ids) :]]
    ids = np.concatenate([ids, np.array(new, np.uint64)])
    chosen = choose(ids, config.max_examples, config.seed)
    return [examples[i] for i in chosen.tolist()], ids[chosen]


if __name__ == "__main__":
    run_command(
        DemoTaskConfig, make_task, stage="demo_task", module="launch.quickstart_corpus.demo_task"
    )
