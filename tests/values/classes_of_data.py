"""Classes whose values the tests store."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, NamedTuple

import numpy as np

SCAN = 1 << 20  # numbers of its image


@dataclasses.dataclass
class Scan:
    image: Any
    notes: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: int


@dataclasses.dataclass(slots=True, frozen=True)
class Slots:
    value: int
    other: str


@dataclasses.dataclass
class Checked:
    """Making one runs code, which must not run again."""

    value: int
    seen: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.seen = self.value + 1


class Pair(NamedTuple):
    left: Any
    right: Any


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class WithProperty:
    value: int

    def __post_init__(self) -> None:
        self.more = 1  # no field of it


@dataclasses.dataclass
class WithHook:
    value: int

    def __reduce__(self) -> Any:
        return type(self), (self.value,)


@dataclasses.dataclass
class OfList(list[int]):
    value: int


def scan() -> Any:
    return Scan({"image": np.arange(SCAN), "spacing": (1.0, 0.5)}, [Pair(Colour.RED, None), np.float64(3), 2**70])


def assert_scan(found: Any) -> None:
    assert type(found) is Scan and found.image["spacing"] == (1.0, 0.5) and found.notes[0] == Pair(Colour.RED, None)
    assert type(found.notes[1]) is np.float64 and found.notes[2] == 2**70
    image = found.image["image"]
    assert image[-1] == SCAN - 1 and not image.flags.writeable


class Word(np.str_):
    """A class of its own, though its values look like NumPy's."""


class Odd(tuple):  # type: ignore[type-arg]
    """A tuple that tells of other fields than it has."""

    __slots__ = ()
    _fields = ("a", "b")


class Unusual(enum.Enum):
    """An enum that says how it is pickled."""

    ONE = 1

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (Unusual, (1,))


class Loud(enum.Enum):
    """An enum whose hash is code of its own."""

    ONE = 1

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        return self is other


class Number(enum.IntEnum):
    ONE = 1


class Letter(str, enum.Enum):
    A = "a"
