"""What config fields say of themselves."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pipelines.command.options import CHOOSE, deciding_fields, option


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A config with every kind of field."""

    folder: str = option(group=CHOOSE, decides=False, metavar="DIR")
    spoons: int = option(3, group="sweetness")
    spices: tuple[str, ...] = ("salt",)
    note: str | None = option(None, decides=False)


def test_deciding_fields_are_all_but_those_that_say_otherwise() -> None:
    assert deciding_fields(Recipe(folder="a", note="hot")) == {"spoons": 3, "spices": ("salt",)}
    assert list(deciding_fields(Recipe(folder="b"))) == ["spoons", "spices"]


def test_a_field_without_default_must_be_given() -> None:
    with pytest.raises(TypeError, match="folder"):
        Recipe(spoons=2)


def test_a_younger_option_decides_unless_it_is_at_its_default() -> None:
    @dataclass(frozen=True)
    class Younger(Recipe):
        limit: int = option(10, decides="unless default")

    assert deciding_fields(Younger(folder="a")) == deciding_fields(Recipe(folder="a"))
    assert deciding_fields(Younger(folder="a", limit=9))["limit"] == 9
