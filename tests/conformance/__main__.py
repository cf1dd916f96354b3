"""Runs KerasHub's own tests of the classes that are offered here too, with ours in their place.

python -m tests.conformance --keras_hub PATH_OF_A_CHECKOUT

Prints each test that fails with its reason, and how many passed. Exit status 1 if one fails without a
known reason, or passes although one is given. Further arguments go to pytest (``--tb=short -k …``).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.exceptions import REASONS

_FILES = (
    "layers/modeling/masked_lm_head",
    "layers/modeling/position_embedding",
    "layers/modeling/token_and_position_embedding",
    "layers/modeling/transformer_encoder",
    "layers/preprocessing/masked_lm_mask_generator",
    "layers/preprocessing/multi_segment_packer",
    "layers/preprocessing/start_end_packer",
    "models/bert/bert_backbone",
    "models/bert/bert_masked_lm",
    "models/bert/bert_masked_lm_preprocessor",
    "models/bert/bert_text_classifier",
    "models/bert/bert_text_classifier_preprocessor",
    "models/bert/bert_tokenizer",
    "tokenizers/word_piece_tokenizer",
    "tokenizers/word_piece_tokenizer_trainer",
)


def our_classes() -> dict[str, Any]:
    """What takes the place of the names that test modules import."""
    from trainer import layers, models, tokenizers

    ours = {
        name: getattr(room, name) for room in (layers, models, tokenizers) for name in dir(room)
    }
    for name in ("MultiSegmentPacker", "StartEndPacker"):
        ours[name] = _without_switch(ours[name])
    return ours


def _without_switch(cls: Any) -> Callable[..., Any]:
    """The class, without the private argument that chooses between their two implementations."""

    def make(*args: Any, _allow_python_workflow: bool = True, **kwargs: Any) -> Any:
        return cls(*args, **kwargs)

    return make


class Exchange:
    """A pytest plugin that exchanges the classes once all is imported, and keeps the outcomes."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        ours = our_classes()
        # Those of the tests, and that of the base class that calls what they ask for.
        modules = {base.__module__ for item in items for base in item.cls.__mro__}
        for module in (sys.modules[name] for name in modules if name.startswith("keras_hub.")):
            for name in vars(module).keys() & ours.keys():
                setattr(module, name, ours[name])

    def pytest_runtest_logreport(self, report: Any) -> None:
        test = ".".join(report.nodeid.split("::")[1:])
        if report.when == "call" or not report.passed:
            self.outcomes[test] = report.outcome


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument(
        "--keras_hub", type=Path, required=True, metavar="PATH", help="its checkout"
    )
    options, rest = parser.parse_known_args()
    os.environ.setdefault("KERAS_BACKEND", "jax")
    checkout = options.keras_hub.resolve()
    exchange = Exchange()
    # --run_large: also those that save a model. What is larger downloads presets.
    arguments = ["--run_large", "--tb=no", "-q", "-p", "no:cacheprovider", "-W", "ignore", *rest]
    arguments += [f"--rootdir={checkout}", "-c", f"{checkout}/pyproject.toml"]
    pytest.main(
        [*arguments, *(f"{checkout}/keras_hub/src/{file}_test.py" for file in _FILES)], [exchange]
    )
    return report(exchange.outcomes)


def report(outcomes: dict[str, str]) -> int:
    """Prints the failures and the counts; 1 where they are not those that are known, else 0."""
    failed = [test for test, outcome in outcomes.items() if outcome == "failed"]
    for test in failed:
        print(f"{test}: {REASONS.get(test, 'WITHOUT A KNOWN REASON')}")
    passed = [test for test in REASONS if outcomes.get(test) == "passed"]
    for test in passed:
        print(f"{test}: passes, but has a reason not to: {REASONS[test]}")
    counts = Counter(outcomes.values())
    print(f"{counts['passed']} of {counts['passed'] + counts['failed']} passed", end="; ")
    print(f"{counts['skipped']} skipped: they need the network, another backend, or test nothing")
    return int(bool(passed or set(failed) - REASONS.keys() or not outcomes))


if __name__ == "__main__":
    sys.exit(main())
