"""FlatBuffers, as far as Arrow's messages need it: nothing is read outside the bytes that are given.

The parts of a message may lie in one another's place, and a few bytes so be any number of parts. So each part is paid
for from the bytes of the message.

Source: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

OFFSET = struct.Struct("<I").unpack_from
_BACK, _SIZE = struct.Struct("<i").unpack_from, struct.Struct("<H").unpack_from
_TABLE = 12  # bytes that a table takes at least, with its own place in a vector
_SLOTS = 8  # as many as Arrow's tables have
Number = Callable[[bytes, int], tuple[Any, ...]]
"""Reads a number at an offset, as `struct.Struct("<i").unpack_from` does."""


class Message:
    """The bytes of one message.

    Its methods, and those of its tables, raise ValueError or struct.error for what is not in these bytes.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._left = len(data)
        self._places: dict[int, tuple[int, ...]] = {}

    def root(self) -> Table:
        return Table(self, OFFSET(self.data, 0)[0])

    def places(self, begin: int) -> tuple[int, ...]:
        """Where the fields of a table are in it. Most tables of a kind have this in common."""
        places = self._places.get(begin)
        if places is None:
            if begin < 0:  # for `struct`, that would be a place from the end
                raise ValueError("an offset leads outside its message")
            count = min(max(_SIZE(self.data, begin)[0] // 2 - 2, 0), _SLOTS)
            places = self._places[begin] = struct.unpack_from(f"<{count}H", self.data, begin + 4)
        return places

    def pay(self, nbytes: int) -> None:
        self._left -= nbytes
        if self._left < 0:
            raise ValueError("a message has parts in one another's place")


class Table:
    """A table: its fields are found by their slots, and may be absent."""

    __slots__ = ("_at", "_message", "_places")

    def __init__(self, message: Message, at: int) -> None:
        self._message, self._at = message, at
        self._places = message.places(at - _BACK(message.data, at)[0])

    def _place(self, slot: int) -> int:
        """Where a field is; 0 if it is absent."""
        places = self._places
        return self._at + places[slot] if slot < len(places) and places[slot] else 0

    def number(self, slot: int, read: Number, default: int = 0) -> int:
        place = self._place(slot)
        return int(read(self._message.data, place)[0]) if place else default

    def table(self, slot: int) -> Table | None:
        place = self._place(slot)
        return Table(self._message, place + OFFSET(self._message.data, place)[0]) if place else None

    def vector(self, slot: int, item: int) -> bytes:
        """The bytes of a vector whose items have so many bytes each. An absent one is empty."""
        begin, end = self._vector(slot, item)
        self._message.pay(end - begin)
        return self._message.data[begin:end]

    def tables(self, slot: int) -> list[Table]:
        """The tables of a vector of tables."""
        begin, end = self._vector(slot, 4)
        self._message.pay((end - begin) // 4 * _TABLE)
        data = self._message.data
        return [Table(self._message, at + OFFSET(data, at)[0]) for at in range(begin, end, 4)]

    def _vector(self, slot: int, item: int) -> tuple[int, int]:
        place = self._place(slot)
        if not place:
            return 0, 0
        data = self._message.data
        begin = place + OFFSET(data, place)[0]
        end = begin + 4 + item * OFFSET(data, begin)[0]
        if end > len(data):
            raise ValueError("a vector ends outside its message")
        return begin + 4, end
