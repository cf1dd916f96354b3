from __future__ import annotations

import numpy as np

from trainer.finetuning.class_table import describe_classes
from trainer.finetuning.task import FinetunedTask, score_each_class


def report(classes: int, labels: list[int], said: list[int]) -> dict[str, object]:
    names = tuple(f"class {i}" for i in range(classes))
    task = FinetunedTask("classification", names, "text", "", "label", 8)
    outputs = np.eye(classes, dtype=np.float32)[said]
    return score_each_class(task, np.array(labels), outputs)


def test_few_classes_make_a_matrix() -> None:
    lines = describe_classes(report(3, [0, 0, 0, 1, 2], [0, 2, 2, 1, 2])).split("\n")
    assert [line.split() for line in lines[2:]] == [
        ["class", "0", "1", "0", "2", "0.5000"],
        ["class", "1", "0", "1", "0", "1.0000"],
        ["class", "2", "0", "0", "1", "0.5000"],
    ]


def test_of_many_classes_the_commonest_confusions_are_named() -> None:
    labels = [i for i in range(30) for _ in range(4)]
    said = list(labels)
    said[5 * 4 : 5 * 4 + 3] = [7, 7, 7]
    said[29 * 4] = 0
    shown = describe_classes(report(30, labels, said))
    rows = [line.split() for line in shown.split("\n")]
    assert ["class", "5", "0.4000"] in rows
    assert rows[-2:] == [["class", "5", "class", "7", "3"], ["class", "29", "class", "0", "1"]]
    assert "taken for" not in describe_classes(report(30, labels, labels))
