# SPDX-License-Identifier: GPL-2.0-or-later
"""What `frozen` makes is what `dataclasses` would have made."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from pylvs.model import Counters, Timeouts
from pylvs.values import fields_of, frozen, replace


@frozen
class Point:
    """A value with a default, a method, and a field that is set at the end."""

    x: int
    y: int = 2
    sum: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sum", self.x + self.y)

    def moved(self, by: int) -> Point:
        return replace(self, x=self.x + by)


@dataclasses.dataclass(frozen=True, slots=True)
class Twin:
    x: int
    y: int = 2
    sum: int = 3


def test_it_looks_the_same() -> None:
    """Its text, its fields, its place in a pattern."""
    assert repr(Point(1)) == repr(Twin(1)).replace("Twin", "Point")
    assert [field.name for field in dataclasses.fields(Point)] == ["x", "y", "sum"]  # type: ignore[arg-type]
    match Point(1, 5):
        case Point(x, y):
            assert (x, y) == (1, 5)


def test_equality() -> None:
    """By all fields, within one class."""
    assert Point(1) == Point(1, 2)
    assert hash(Point(1)) == hash(Point(1, 2))
    assert Point(1) != Point(2)
    assert Point(1) != Twin(1)
    assert Counters() != Timeouts(0, 0, 0)


def test_nothing_changes_it() -> None:
    """Neither a field nor an attribute that it has not."""
    point = Point(1)
    for name in ("x", "z"):
        with pytest.raises(AttributeError, match=f"its '{name}' cannot be changed"):
            setattr(point, name, 5)
        with pytest.raises(AttributeError):
            delattr(point, name)


@pytest.mark.parametrize("arguments", [(), (1, 2, 3, 4)])
def test_wrong_arguments(arguments: tuple[int, ...]) -> None:
    """A TypeError, as from any function."""
    with pytest.raises(TypeError, match="argument"):
        Point(*arguments)


def test_replacing_and_copying() -> None:
    """By our own function, by that of `dataclasses`, by copy and by pickle."""
    assert Point(1).moved(4) == Point(5) == dataclasses.replace(Point(1), x=5)
    assert copy.deepcopy(Point(1)) == copy.copy(Point(1)) == Point(1)
    assert pickle.loads(pickle.dumps(Timeouts(1, 2, 3))) == Timeouts(1, 2, 3)


def test_as_a_mapping() -> None:
    """One level by ours, all of them by `dataclasses.asdict`."""
    assert fields_of(Point(1)) == {"x": 1, "y": 2, "sum": 3}
    assert dataclasses.asdict(Timeouts(1, 2, 3)) == {"tcp": 1, "tcp_fin": 2, "udp": 3}
