"""The loss of validation in a unit that vocabularies share."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import pytest

from pipelines.mask.config import MaskConfig
from trainer.data.batches import BatchMaker
from trainer.data.dataset import TRAIN, open_dataset
from trainer.data.order import RowOrder
from trainer.pretraining.cluster import Cluster
from trainer.pretraining.plan import plan_again
from trainer.pretraining.validation import bits_per_byte, describe_validation


def test_bits_a_byte(make_rows):
    dataset = open_dataset(str(make_rows()))

    def counted(tokens, size):
        counts = {"tokens_in": tokens, "bytes_in": size}
        return replace(dataset, manifest=replace(dataset.manifest, counts=counts))

    # Three bits a token, a token for four bytes; a vocabulary of pieces half as long is as good with
    # half the loss.
    for loss, tokens in ((3.0, 250), (1.5, 500)):
        found = bits_per_byte(loss * math.log(2), [counted(tokens, 1000)])
        assert found == {"validation_bits_per_byte": pytest.approx(0.75)}
    mixed = bits_per_byte(math.log(2), [counted(100, 1000), counted(500, 1000)])
    assert mixed["validation_bits_per_byte"] == pytest.approx(0.3)
    assert bits_per_byte(1.0, [counted(100, 1000), dataset]) == {}


def test_masks_and_the_commonest_target_are_those_of_the_batches(finished_run):
    maker = plan_again(str(finished_run)).batch_maker(Cluster())
    batches = [maker.validation_batch(k).arrays for k in range(maker.validation_steps)]
    targets = Counter(
        target
        for arrays in batches
        for target in arrays["mask_ids"][arrays["mask_weights"] > 0].tolist()
    )
    line = json.loads((finished_run / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["validation_masks"] == targets.total()
    assert line["validation_commonest"] == max(targets.values()) / targets.total()


@pytest.mark.parametrize(
    ("rows", "rate", "said"),
    [
        (0, 0.15, "no validation rows: too few"),
        (2, 0.15, "only 2 validation rows, about 9 masks: too few"),
        (300, 0.15, ""),
        (300, 0.01, "only 300 validation rows, about 96 masks: too few"),
    ],
)
def test_few_validation_rows_are_said_to_tell_little(make_rows, rows, rate, said):
    datasets = [open_dataset(str(make_rows(validation=rows)))]
    order = RowOrder([datasets[0].shard_rows(TRAIN)], seed=0, batch_size=8)
    maker = BatchMaker(datasets, order, MaskConfig())
    found = describe_validation(maker, rate)
    assert found.startswith(said)
    assert bool(found) == bool(said)
