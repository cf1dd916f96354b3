"""The loss of validation in a unit that vocabularies share."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from trainer.data.dataset import open_dataset
from trainer.pretraining.validation import bits_per_byte


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
