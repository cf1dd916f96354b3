"""The loss of guessing by frequency, and the word about a run that does not get below it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from pipelines.keyed_random import fold, purpose_key, uniform
from tests.command_process import TINY
from trainer.data.dataset import open_datasets, repeated_share
from trainer.pretraining.cluster import Cluster
from trainer.pretraining.logs.plateau import Plateau
from trainer.pretraining.plan import plan_again
from trainer.pretraining.validation import _frequency_loss, frequency_loss


def test_guessing_by_frequency_costs_the_entropy() -> None:
    # Half, a quarter and two eighths: 1.75 bits, and half a count for each but the first.
    found = _frequency_loss(np.array([4000, 0, 2000, 1000, 1000]))
    assert found == pytest.approx(1.75 * np.log(2) + 3 / 16000)
    assert _frequency_loss(np.array([7000, 0])) == 0
    # Too few to tell.
    assert _frequency_loss(np.array([4, 0, 2, 1, 1])) is None
    assert _frequency_loss(np.zeros(5, np.int64)) is None


def test_a_sample_tells_the_entropy_of_all() -> None:
    # Zipf's law, as words have it; the entropy of a sample alone is 0.07 nats too low.
    shares = 1 / np.arange(1, 3001)
    shares /= shares.sum()
    entropy = -(shares * np.log(shares)).sum()
    draws = uniform(fold(purpose_key(0, "words"), np.arange(30_000)))
    counts = np.bincount(np.searchsorted(shares.cumsum(), draws), minlength=len(shares))
    assert _frequency_loss(counts) == pytest.approx(entropy, abs=0.03)


def test_it_is_known_before_training_and_logged_with_each_validation(
    pretrain_here, make_rows, tmp_path
):
    options = TINY | {"steps": 10, "eval_every": 5, "mask_selection_rate": 0.4}
    said = pretrain_here(data=make_rows(validation=300), output=tmp_path / "run", **options)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    logged = {line["step"]: line.get("validation_frequency_loss") for line in lines}
    known = frequency_loss(plan_again(str(tmp_path / "run")).batch_maker(Cluster()), 100)
    assert {step for step, loss in logged.items() if loss is not None} == {5, 10}
    assert logged[5] == logged[10] == known
    assert 1 < known < np.log(120)
    before, _, after = said.partition(f"a loss of {known:.2f} is that of always guessing tokens")
    assert "step 1 of 10" in after
    assert "step 1 of 10" not in before
    assert f"(guessing by frequency: {known:.4f})" in after
    page = (tmp_path / "run" / "report.html").read_text()
    assert re.search(rf"step 5: .*guessing by frequency {known:.4g}", page)


def told(losses, guessing=6.7, steps=5000, warmup_steps=500, lines=()):
    """The steps, 100 apart, after which something is said."""
    plateau = Plateau(guessing, steps, warmup_steps, lines)
    begin = lines[-1]["step"] if lines else 0
    logged = [{"step": begin + 100 * i, "mean_loss": loss} for i, loss in enumerate(losses, 1)]
    return {line["step"]: said for line in logged if (said := plateau.see(line))}


def test_a_run_that_stands_still_is_told_once_what_helped() -> None:
    said = told([9.7, 7.5, *[6.7] * 40])
    assert list(said) == [1500]
    assert "a loss of 6.70 is still about that of guessing by frequency, 6.70" in said[1500]
    assert "--batch_size" in said[1500]
    # Which words occur in what kind of text is hardly more.
    assert list(told([6.15] * 40)) == [1500]
    # A long run may stand still for longer.
    assert list(told([6.7] * 40, steps=20_000)) == [2500]


def test_a_stuck_run_is_told_of_documents_that_repeat_others(make_rows) -> None:
    (dataset,) = open_datasets([str(make_rows())])
    counts = {"documents_out": 50, "documents_repeated": 20}
    other = replace(dataset, manifest=replace(dataset.manifest, counts=counts))
    shares = (repeated_share([dataset]), repeated_share([dataset, other]))
    few, many = (Plateau(6.7, 5000, 500, repeated=share) for share in shares)
    line = {"step": 4000, "mean_loss": 6.7}
    assert "repeat" not in few.see(line)
    assert "40% of the documents repeat others: tokenize with --deduplicate" in many.see(line)


def test_a_run_that_learns_is_told_nothing() -> None:
    assert not told([9.7, 7.5, *[6.7] * 11, *[5.9] * 40])
    assert not told([6.7] * 40, guessing=None)
    # It fell, and came back.
    assert list(told([6.7] * 5 + [5.9] * 15 + [6.7] * 30)) == [3000]


def test_a_resumed_run_has_stood_still_since_before() -> None:
    lines = [{"step": step, "mean_loss": 6.7} for step in range(100, 1300, 100)]
    assert list(told([6.7] * 5, lines=lines)) == [1500]
    more = [*lines, *({"step": step, "mean_loss": 6.7} for step in (1300, 1400, 1500))]
    assert not told([6.7] * 5, lines=more)
