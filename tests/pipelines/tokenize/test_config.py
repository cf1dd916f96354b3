"""Options that cannot work are told with their value."""

from __future__ import annotations

import pytest

from pipelines.errors import UserError
from pipelines.tokenize.config import TokenizeConfig


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("seq_length", 7, "must be between 8 and 65535"),
        ("seq_length", 65536, "must be between 8 and 65535"),
        ("num_shards", 0, "must be between 1 and 99999"),
        ("validation_fraction", 1.0, "must be at least 0 and below 1"),
        ("short_seq_prob", 1.5, "must be between 0 and 1"),
        ("min_tokens", 0, "must be at least 1"),
    ],
)
def test_options_that_cannot_work_are_named(name, value, message):
    fields = {"input": ("in",), "vocab": "vocab", "output": "out", name: value}
    with pytest.raises(UserError, match=f"^--{name} {value}: {message}$"):
        TokenizeConfig(**fields).check()
