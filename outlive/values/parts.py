"""The parts of a codec's state, which are looked at before a library has them.

A part that is stored once may stand in any number of places of a structure. A library that makes something of each
place takes any amount of memory for few bytes. So a codec says by `once` which parts it makes something of.
"""

from __future__ import annotations

import dataclasses
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from outlive.values.keys import LONGEST_KEY


class Form(NamedTuple):
    """A state of a codec, or a part of one, that is one node.

    Its arrays, and those in a `Stack`, are stored for it alone. So no other value sees what is written to them after
    reading.
    """

    about: dict[str, Any]
    """Plain JSON. Whoever reads it must not change it, or hand a list or dict of it on."""
    parts: list[Any]
    """Arrays, stacks, forms, or any values."""


class Stack(NamedTuple):
    """Arrays of two dimensions and one dtype, that are stored as one: the rows of the first, then those of the next."""

    arrays: list[np.ndarray[Any, Any]]


class Reading:
    """The codecs that decode in this block (`with`) read one value.

    Parameters
    ----------
    taken
        Keeps what they took, by address: alive, or another part could get the address.
    trusted
        Whether it could have a pickle run as well.
    """

    __slots__ = ("_before", "taken", "trusted")

    def __init__(self, taken: dict[int, Any], *, trusted: bool) -> None:
        self.taken, self.trusted = taken, trusted

    def __enter__(self) -> None:
        self._before = _reading.set(self)

    def __exit__(self, *_: object) -> None:
        _reading.reset(self._before)


_reading: ContextVar[Reading | None] = ContextVar("reading", default=None)


def is_trusted() -> bool:
    """Whether the value that is read could have a pickle run as well. Then its writer needs no wrong offset."""
    now = _reading.get()
    return now is not None and now.trusted


def once(*parts: Any) -> None:
    """Have each part used here, and nowhere else in the value. Arrays are told by their bytes.

    Raises
    ------
    ValueError
        One was used before.
    """
    now = _reading.get()
    if now is None:
        return
    taken = now.taken
    for part in parts:
        place = address(part) if isinstance(part, np.ndarray) else id(part)
        if isinstance(part, np.ndarray) and not part.nbytes:
            if part.size:
                raise ValueError("items without bytes")
            continue
        if place in taken:
            raise ValueError("two of its parts have the same bytes")
        taken[place] = part


def distinct(parts: list[Any]) -> list[Any]:
    """The list, once it is known that no part stands in it twice: `[[3], [3], ...]` is short, and what it makes is not.

    Raises
    ------
    TypeError, ValueError
    """
    if type(parts) is not list:
        raise TypeError("no list")
    once(parts)
    differ(parts)
    return parts


def differ(parts: list[Any]) -> None:
    """Raise ValueError if a part stands twice in the list, which may be made for this."""
    if len(set(map(id, parts))) != len(parts):
        raise ValueError("the same part twice")


def address(array: np.ndarray[Any, Any]) -> int:
    return int(array.__array_interface__["data"][0])


def array(part: Any, kinds: str, ndim: int = 1) -> np.ndarray[Any, Any]:
    """The part, once it is known to be an array of these dimensions, whose dtype is of one of these kinds.

    Raises
    ------
    TypeError
        It is not: NumPy would make one of a list of lists, which may be large for its bytes, or stretch a number.
    """
    if not isinstance(part, np.ndarray) or part.ndim != ndim or part.dtype.kind not in kinds:
        raise TypeError("an array of another kind than expected")
    return part


def label(name: Any) -> Any:
    """A name as libraries hash them, once it is known that this ends: tuples of the same tuples may take for ever.

    Raises
    ------
    TypeError
    """
    rest, seen = [name], 0
    while rest:
        one = rest.pop()
        seen += 1
        if seen > LONGEST_KEY or dataclasses.is_dataclass(one):
            raise TypeError("a label of too many parts")
        if isinstance(one, tuple | frozenset):
            rest += one
    return name


def stream(part: Any) -> memoryview:
    """The bytes of a stream, which is read only once.

    Raises
    ------
    TypeError, ValueError
    """
    if not isinstance(part, np.ndarray) or part.ndim != 1 or part.dtype != np.uint8 or not part.flags.c_contiguous:
        raise TypeError("its stream is no bytes")
    once(part)
    return part.data
