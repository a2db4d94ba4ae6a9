"""Rows: what `columns` wrote is read, a column or some rows of it at a time. Nothing in it is trusted.

A column has as many rows as its bytes say, and is inside one other column at most, so no row is made twice. Rows that
are containers may cost no bytes of their own: `Structure` has a limit to these.
"""

from __future__ import annotations

import math
import operator
from collections import deque
from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np

from outlive.values import arrays
from outlive.values.columns import FLAGS, KEYS, SMALLEST_ARRAY
from outlive.values.wire import Node

Array = np.ndarray[Any, Any]
Buffer = Callable[[object], Array]
"""Gives the bytes of a buffer that a node names. No two columns have the same."""

_DEEPEST = 128  # columns inside each other
_SHORT = 64  # items of a row that `zip` takes one by one


class Rows:
    """A column, to be read. Malformed data raise ValueError, TypeError, or another error of `building.MALFORMED`."""

    count: int  # rows
    depth = 0  # columns inside each other

    def __init__(self, node: Node, buffer: Buffer, of: list[Rows]) -> None:
        self.form, self.of = node["column"], of
        self.depth = 1 + max((one.depth for one in of), default=0)
        if self.depth > _DEEPEST:
            raise ValueError("columns are nested too deeply")
        self.open(node, buffer)

    def open(self, node: Node, buffer: Buffer) -> None:
        """Take what the node says; raise if it does not fit."""
        raise NotImplementedError

    def get(self, begin: int, end: int) -> list[Any]:
        """The values of these rows."""
        raise NotImplementedError

    def inside(self, row: int, key: Any) -> tuple[Rows, int] | None:
        """The column and row of an item of this row's value; None if it has none.

        Raises
        ------
        KeyError, IndexError, TypeError
            As the value itself would.
        """
        del row, key
        return None


class _Flags(Rows):
    def open(self, node: Node, buffer: Buffer) -> None:
        self._data = buffer(node["data"])
        self.count = self._data.size

    def get(self, begin: int, end: int) -> list[Any]:
        return list(map(FLAGS.__getitem__, self._data[begin:end].tobytes()))


class _Ints(Rows):
    def open(self, node: Node, buffer: Buffer) -> None:
        self._data = _numbers(node, "data", buffer)
        self.count = self._data.size

    def get(self, begin: int, end: int) -> list[Any]:
        return _list(self._data[begin:end])


class _Floats(Rows):
    def open(self, node: Node, buffer: Buffer) -> None:
        self._data = buffer(node["data"]).view("<f8")
        self.count = self._data.size

    def get(self, begin: int, end: int) -> list[Any]:
        return _list(self._data[begin:end])


class _Texts(Rows):
    """Text, bytes, and integers as text."""

    def open(self, node: Node, buffer: Buffer) -> None:
        self._data, self._ends = buffer(node["data"]), _Ends(_numbers(node, "ends", buffer))
        self.count = self._ends.count
        self._ends.fit(self._data.size)

    def get(self, begin: int, end: int) -> list[Any]:
        first, last = self._ends.of(begin, end)
        data, places = self._data[first:last].tobytes(), self._ends.slices(begin, end)
        if self.form == "bytes":
            return list(map(data.__getitem__, places))
        if data.isascii():
            texts = list(map(data.decode("ascii").__getitem__, places))
        else:
            texts = [data[place].decode("utf-8", "surrogatepass") for place in places]
        return [int(text, 16) for text in texts] if self.form == "long" else texts


class _Blocks(Rows):
    """Arrays of one dtype and shape."""

    def open(self, node: Node, buffer: Buffer) -> None:
        dtype, shape, data = arrays.dtype_of(node["dtype"]), arrays.lengths(node["shape"]), buffer(node["data"])
        size = math.prod(shape) * dtype.itemsize
        if not shape or size < SMALLEST_ARRAY or data.size % size:
            raise ValueError("its shape and dtype do not fit its bytes")
        self.count = data.size // size
        self._block: Array = np.ndarray((self.count, *shape), dtype, data)

    def get(self, begin: int, end: int) -> list[Any]:
        return list(self._block[begin:end])


class _Sequences(Rows):
    """Lists and tuples."""

    def open(self, node: Node, buffer: Buffer) -> None:
        (self._items,) = self.of
        self._ends = _ends(node, buffer, self._items.count)
        self.count = self._ends.count

    def get(self, begin: int, end: int) -> list[Any]:
        items = self._items.get(*self._ends.of(begin, end))
        if 0 < self._ends.each <= _SHORT:
            of_each = zip(*[iter(items)] * self._ends.each, strict=False)  # a tuple for each row
            return list(of_each) if self.form == "tuple" else list(map(list, of_each))
        cut = list(map(items.__getitem__, self._ends.slices(begin, end)))
        return list(map(tuple, cut)) if self.form == "tuple" else cut

    def inside(self, row: int, key: Any) -> tuple[Rows, int]:
        if not hasattr(type(key), "__index__"):
            raise TypeError(f"an index of a {self.form} is an integer, not {key!r:.100}")
        first, last = self._ends.of(row, row + 1)
        return self._items, range(first, last)[operator.index(key)]


class _Records(Rows):
    """Dicts that have the same keys."""

    def open(self, node: Node, buffer: Buffer) -> None:
        del buffer
        self._keys: list[str] = node["keys"]
        counts = {one.count for one in self.of}
        if type(self._keys) is not list or not all(type(key) is str for key in self._keys):
            raise TypeError("its keys are no list of text")
        if len({*self._keys}) != len(self.of):
            raise TypeError("its keys are not one for each column")
        if len(self._keys) != len(self.of) or len(counts) != 1:
            raise ValueError("its columns differ in length")
        (self.count,) = counts

    def get(self, begin: int, end: int) -> list[Any]:
        made = list(map(dict.copy, repeat(dict.fromkeys(self._keys), end - begin)))
        for key, values in zip(self._keys, self.of, strict=True):
            deque(map(operator.setitem, made, repeat(key), values.get(begin, end)), 0)
        return made

    def inside(self, row: int, key: Any) -> tuple[Rows, int]:
        return dict(zip(self._keys, self.of, strict=True))[key], row


class _Maps(Rows):
    """Dicts of any keys."""

    def open(self, node: Node, buffer: Buffer) -> None:
        self._keys, self._values = self.of
        forms = {one.form for one in self._keys.of} if self._keys.form == "mixed" else {self._keys.form}
        if not forms <= KEYS:
            raise TypeError("its keys are no plain data")
        if self._keys.count != self._values.count:
            raise ValueError("its columns differ in length")
        self._ends = _ends(node, buffer, self._keys.count)
        self.count = self._ends.count

    def get(self, begin: int, end: int) -> list[Any]:
        first, last = self._ends.of(begin, end)
        keys, values = self._keys.get(first, last), self._values.get(first, last)
        made = [dict(zip(keys[place], values[place], strict=True)) for place in self._ends.slices(begin, end)]
        if sum(map(len, made)) != len(keys):
            raise ValueError("the same key twice")
        return made

    def inside(self, row: int, key: Any) -> tuple[Rows, int]:
        first, last = self._ends.of(row, row + 1)
        return self._values, dict(zip(self._keys.get(first, last), range(first, last), strict=True))[key]


class _Mixed(Rows):
    def open(self, node: Node, buffer: Buffer) -> None:
        self._codes = buffer(node["codes"])
        self.count = self._codes.size
        counts = np.bincount(self._codes, minlength=len(self.of)).tolist()
        if counts != [one.count for one in self.of]:
            raise ValueError("its columns do not fit its rows")

    def _before(self, row: int) -> list[int]:
        return list(np.bincount(self._codes[:row], minlength=len(self.of)).tolist())

    def get(self, begin: int, end: int) -> list[Any]:
        first = self._before(begin)
        codes = self._codes[begin:end]
        counts = np.bincount(codes, minlength=len(self.of)).tolist()
        parts = [iter(one.get(at, at + n)) for one, at, n in zip(self.of, first, counts, strict=True)]
        return list(map(next, map(parts.__getitem__, codes.tobytes())))

    def inside(self, row: int, key: Any) -> tuple[Rows, int] | None:
        code = int(self._codes[row])
        return self.of[code].inside(int(np.count_nonzero(self._codes[:row] == code)), key)


class _Shared(Rows):
    """Objects that occur in several rows."""

    def open(self, node: Node, buffer: Buffer) -> None:
        (self._objects,) = self.of
        self._index = _numbers(node, "index", buffer)
        self.count = self._index.size
        if self.count and (self._index.min() < 0 or self._index.max() >= self._objects.count):
            raise ValueError("a row that is not there")

    def get(self, begin: int, end: int) -> list[Any]:
        index = self._index[begin:end]
        if not index.size:
            return []
        first = int(index.min())
        objects = self._objects.get(first, int(index.max()) + 1)
        return list(map(objects.__getitem__, (index - first).tolist()))

    def inside(self, row: int, key: Any) -> tuple[Rows, int] | None:
        return self._objects.inside(int(self._index[row]), key)


class _Ends:
    """Where the items of each row end, in the column of all items."""

    each = 0

    def __init__(self, ends: Array) -> None:
        self._ends, self.count = ends, ends.size

    def fit(self, items: int) -> None:
        """Raise ValueError if there are not that many items."""
        ends = self._ends
        if (int(ends[-1]) if ends.size else 0) != items or (
            ends.size and (ends[0] < 0 or (ends[1:] < ends[:-1]).any())
        ):
            raise ValueError("its rows do not fit its items")

    def of(self, begin: int, end: int) -> tuple[int, int]:
        """The items of these rows."""
        return int(self._ends[begin - 1]) if begin else 0, int(self._ends[end - 1]) if end else 0

    def slices(self, begin: int, end: int) -> list[slice]:
        """Those of each row, from the first on."""
        ends = (self._ends[begin:end] - self.of(begin, end)[0]).tolist()
        return list(map(slice, [0, *ends], ends))


class _Each(_Ends):
    """Each row has the same number of items."""

    def __init__(self, each: int, items: int) -> None:
        self.each, self.count = each, items // each

    def of(self, begin: int, end: int) -> tuple[int, int]:
        return begin * self.each, end * self.each

    def slices(self, begin: int, end: int) -> list[slice]:
        return [slice(at, at + self.each) for at in range(0, (end - begin) * self.each, self.each)]


def _ends(node: Node, buffer: Buffer, items: int) -> _Ends:
    if "each" in node:
        each = node["each"]
        if type(each) is not int or each < 1 or items % each:
            raise ValueError("its rows do not fit its items")
        return _Each(each, items)
    ends = _Ends(_numbers(node, "ends", buffer))
    ends.fit(items)
    return ends


def _numbers(node: Node, name: str, buffer: Buffer) -> Array:
    return buffer(node[name]).view("<i8" if node.get("bits") == 64 else "<i4")


def _list(numbers: Array) -> list[Any]:
    return list(numbers.tolist())


FORMS: dict[str, type[Rows]] = {
    "flag": _Flags, "int": _Ints, "float": _Floats, **dict.fromkeys(("text", "bytes", "long"), _Texts),
    "array": _Blocks, **dict.fromkeys(("list", "tuple"), _Sequences), "record": _Records, "map": _Maps,
    "mixed": _Mixed, "shared": _Shared,
}  # fmt: skip


def walk(rows: Rows, row: int, path: tuple[Any, ...]) -> tuple[Rows, int, tuple[Any, ...]]:
    """The column and row that are at a path of keys and indices, and the rest of the path, which is inside a leaf.

    Raises
    ------
    KeyError, IndexError, TypeError
        As the value itself would.
    """
    for done, key in enumerate(path):
        found = rows.inside(row, key)
        if found is None:
            return rows, row, path[done:]
        rows, row = found
    return rows, row, ()
