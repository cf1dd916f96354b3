"""Values of options that cannot work."""

from __future__ import annotations

import pytest

from pipelines.errors import UserError
from trainer.models.sizes import count_weights, dimensions_of
from trainer.pretraining.check_config import check_config
from trainer.pretraining.config import PretrainConfig


def test_a_model_that_no_memory_holds() -> None:
    check_config(PretrainConfig(data=("a",), output="b"))
    for options in ({"hidden_dim": 1_000_000_000, "num_heads": 1}, {"num_layers": 10**9}):
        with pytest.raises(
            UserError, match="--hidden_dim .* weights or more, for which this machine"
        ):
            check_config(PretrainConfig(data=("a",), output="b", **options))


def test_weights_are_counted_without_building_the_model() -> None:
    dimensions = dimensions_of("bert_tiny") | {
        "vocabulary_size": 30522,
        "max_sequence_length": 512,
    }
    # 4,385,920 in all; biases, norms and segments make the difference.
    assert 4_380_000 < count_weights(dimensions) < 4_385_920
