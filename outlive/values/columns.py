"""Columns: a tree of plain data, written by column as in Parquet, because Python takes long for each object by itself.

A column has the values at one place of the tree, one a row: the tree is the only row of the first. All that its lists
hold is one more column, and what its dicts hold under one key is another, and so on. So a tree of any size is a few
columns, each of which C's loops make. `rows` reads them.

| form | a row is | stored |
|---|---|---|
| flag | None or a boolean | a byte each |
| int, float | an `int` of up to 64 bits, a `float` | 32 or 64 bits each |
| long | a larger `int` | as text, in base 16 |
| text, bytes | `str`, `bytes` | the bytes of all, and where each ends |
| array | a small array; all have one dtype and shape | the bytes of all |
| list, tuple | | a column of what is in them, and where each ends: `ends`, or `each` has so many |
| record | a dict; all have the same keys, which are text | the keys, and a column for each |
| map | a dict | a column of keys, one of values, and where each ends |
| mixed | any of these | a column for each form, and which of them each row is of |
| shared | a container that occurs in several rows | a column in which it occurs once, and which of these each row is |
"""

from __future__ import annotations

import contextlib
import sys
from array import array
from collections.abc import Callable
from itertools import chain
from operator import attrgetter
from typing import Any, NoReturn

import numpy as np

from outlive.values import arrays
from outlive.values.wire import Node

Array = np.ndarray[Any, Any]

CONTAINERS = frozenset({"list", "tuple", "record", "map"})
FLAGS = (False, True, None)
SMALLEST_ARRAY, LARGEST_ARRAY = 32, 4096  # bytes of each in a column: smaller ones would take far more when read
_FORMS: dict[type, str] = {
    type(None): "flag", bool: "flag", int: "int", float: "float", str: "text", bytes: "bytes", list: "list",
    tuple: "tuple", dict: "dict", np.ndarray: "array",
}  # fmt: skip
KEYS = frozenset({"flag", "int", "float", "text", "bytes"})
"""Forms that may be keys of a map. No more than some 40 of them have the same hash."""
_DEEPEST = 32  # containers inside each other
_RECORDS = 32  # rows that are worth a column for each key
_WORD = 1 << 63
_LONGEST = 64 << 10  # bytes of one `bytes`: larger ones are not copied, but buffers of their own


class NotPlain(Exception):
    """A tree that columns cannot hold, or that occurs elsewhere in the value."""

    def __init__(self, count: int, around: set[int]) -> None:
        self.count = count  # objects that were looked at
        self.around = around  # containers that hold what is not plain, by `id`


class Column:
    """A column that is being made."""

    __slots__ = ("each", "form", "ids", "inside", "items", "keys", "level", "lookup", "number", "of", "once")

    def __init__(self, items: list[Any], inside: Column | None, *, deeper: int = 1, once: bool = False) -> None:
        self.items, self.inside, self.once = items, inside, once  # `once`: no object is in it twice
        self.ids: Array | None = None  # of the items, in order, once they are known
        self.level: int = deeper + (inside.level if inside else 0)
        self.form, self.of, self.number = "", list[Column](), 0
        self.lookup: Any = None  # a number for each row: a length, an index, or which of the forms
        self.each = 0
        self.keys: list[str] = []


class Shredder:
    """Takes a tree apart into columns.

    Raises
    ------
    NotPlain
        From the constructor.
    """

    def __init__(self, value: Any, taken: Callable[[Array], bool]) -> None:
        self.columns = [Column([value], None, deeper=0)]
        self.count = self.containers = 0  # objects, and those that hold others
        self.ids = Identities()  # of what can be changed, and so has to come back as one object
        self._taken = taken
        try:
            for column in self.columns:  # it grows
                self._shred(column)
        except RuntimeError:  # a dict that another thread changes
            self._refuse(self.columns[0])

    def _refuse(self, column: Column) -> NoReturn:
        around, outer = set[int](), column.inside
        while outer is not None:
            if len(outer.items) == 1:
                around.add(id(outer.items[0]))
            outer = outer.inside
        raise NotPlain(self.count, around)

    def _add(self, parent: Column, items: list[Any], *, deeper: int = 1, once: bool = False) -> None:
        column = Column(items, parent, deeper=deeper, once=once)
        parent.of.append(column)
        self.columns.append(column)

    def _shred(self, column: Column) -> None:
        items = column.items
        self.count += len(items)
        kinds = set(map(type, items))
        if column.level > _DEEPEST or not kinds <= _FORMS.keys():
            self._refuse(column)
        forms = sorted({_FORMS[kind] for kind in kinds})
        if len(forms) > 1:
            self._mix(column, forms)
            return
        column.form = forms[0] if forms else "flag"
        if column.form in {"list", "tuple", "dict", "array"}:
            if column.once or self._is_once(column):
                self._contain(column)
        elif column.form == "bytes" and max(map(len, items)) > _LONGEST:
            self._refuse(column)

    def _mix(self, column: Column, forms: list[str]) -> None:
        codes = {kind: forms.index(form) for kind, form in _FORMS.items() if form in forms}
        column.form, column.lookup = "mixed", bytes(map(codes.__getitem__, map(type, column.items)))
        for form in forms:
            self._add(column, [one for one in column.items if _FORMS[type(one)] == form], deeper=0, once=column.once)

    def _is_once(self, column: Column) -> bool:
        """Whether no container is in two rows. If one is, the column becomes a shared one."""
        items = column.items
        ids = _ids(items)
        column.ids = np.sort(ids)
        if not (column.ids[1:] == column.ids[:-1]).any():
            return True
        ids, first, index = np.unique(ids, return_index=True, return_inverse=True)
        column.form, column.lookup = "shared", index
        self._add(column, list(map(items.__getitem__, first.tolist())), deeper=0, once=True)
        return False

    def _contain(self, column: Column) -> None:
        """A column of containers or arrays, none of which is in two rows."""
        if column.form != "tuple":
            ids = np.sort(_ids(column.items)) if column.ids is None else column.ids
            if self.ids.has(ids) or self._taken(ids):
                self._refuse(column)
            self.ids.add(ids)
        if column.form == "array":
            if not _is_block(column.items):
                self._refuse(column)
            return
        self.containers += len(column.items)
        lengths, inside = list(map(len, column.items)), list(chain.from_iterable(column.items))
        if sum(lengths) != len(inside):  # another thread changes it
            self._refuse(column)
        if column.form == "dict":
            self._dicts(column, lengths, inside)
            return
        self._lengths(column, lengths)
        self._add(column, inside)

    def _lengths(self, column: Column, lengths: list[int]) -> None:
        if lengths[0] and lengths.count(lengths[0]) == len(lengths):
            column.each = lengths[0]
        else:
            column.lookup = lengths

    def _dicts(self, column: Column, lengths: list[int], keys: list[Any]) -> None:
        dicts, kinds = column.items, set(map(type, keys))
        values = list(chain.from_iterable(map(dict.values, dicts)))
        if len(values) != len(keys):
            self._refuse(column)
        if len(dicts) >= _RECORDS and kinds == {str}:
            names = keys[: lengths[0]]
            if names and lengths.count(len(names)) == len(dicts) and keys == names * len(dicts) and _is_json(names):
                column.form, column.keys = "record", names
                for place in range(len(names)):
                    self._add(column, values[place :: len(names)])
                return
        if not {_FORMS.get(kind) for kind in kinds} <= KEYS:
            self._refuse(column)
        if int in kinds and not all(-_WORD <= key < _WORD for key in keys if type(key) is int):
            self._refuse(column)  # many of them may have the same hash
        column.form = "map"
        self._lengths(column, lengths)
        self._add(column, keys)
        self._add(column, values)


def _ids(items: list[Any]) -> Array:
    return np.fromiter(map(id, items), np.int64, len(items))


class Identities:
    """Many objects, by `id`: arrays of numbers that take C's loops a few nanoseconds each, where a set takes 100."""

    def __init__(self) -> None:
        self._runs: list[Array] = []  # each in order, and at least twice as long as the next

    def has(self, ids: Array) -> bool:
        """Whether any of these is there. They are in order."""
        return any(_meet(run, ids) if run.size > ids.size else _meet(ids, run) for run in self._runs)

    def add(self, ids: Array) -> None:
        """Add objects that are not there. They are in order."""
        self._runs.append(ids)
        while len(self._runs) > 1 and self._runs[-2].size < 2 * self._runs[-1].size:
            self._runs[-2:] = [np.sort(np.concatenate(self._runs[-2:]), kind="stable")]

    def update(self, others: Identities) -> None:
        for run in others._runs:
            self.add(run)


def _meet(many: Array, few: Array) -> bool:
    places = np.searchsorted(many, few)
    return bool((many[np.minimum(places, many.size - 1)] == few).any()) if many.size else False


def _is_json(texts: list[str]) -> bool:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_block(items: list[Array]) -> bool:
    """Whether these arrays can be a block of memory, of which each is a row."""
    first = items[0]
    dtype = first.dtype
    return (
        dtype.isbuiltin == 1
        and arrays.describe(dtype) is not None
        and first.ndim > 0
        and SMALLEST_ARRAY <= first.nbytes <= LARGEST_ARRAY
        and set(map(attrgetter("dtype", "shape"), items)) == {(dtype, first.shape)}
        and (first.ndim == 1 or all(item.flags.c_contiguous for item in items))
    )


class Encoder:
    """Makes nodes of columns.

    Parameters
    ----------
    add, buffer
        Give the number of a node, and of the buffer of these bytes.
    """

    def __init__(self, add: Callable[[Node], int], buffer: Callable[[Any], int]) -> None:
        self._add, self._buffer = add, buffer

    def encode(self, columns: list[Column]) -> int:
        """The number of the first column's node."""
        for column in reversed(columns):  # a node comes after those that it refers to
            node = self._node(column)
            if column.of:
                node["of"] = [[one.number] for one in column.of]
            column.number = self._add(node)
            column.items = []
        return columns[0].number

    def _node(self, column: Column) -> Node:
        form, items = column.form, column.items
        node: Node = {"column": form}
        if form == "flag":
            node["data"] = self._buffer(bytes(map({False: 0, True: 1, None: 2}.__getitem__, items)))
        elif form == "int":
            return self._ints(items)
        elif form == "float":
            node["data"] = self._buffer(_little(array("d", items)))
        elif form in {"text", "bytes"}:
            self._texts(node, items)
        elif form == "array":
            self._block(node, items)
        elif form == "mixed":
            node["codes"] = self._buffer(column.lookup)
        elif form == "shared":
            self._places(node, "index", column.lookup, len(items))
        elif form == "record":
            node["keys"] = column.keys
        elif column.each:
            node["each"] = column.each
        else:
            self._ends(node, column.lookup)
        return node

    def _ints(self, items: list[int]) -> Node:
        node: Node = {"column": "int"}
        for code, bits in (("i", 32), ("q", 64)):
            with contextlib.suppress(OverflowError):
                node["data"] = self._buffer(_little(array(code, items)))
                return node if bits == 32 else {**node, "bits": bits}
        node["column"] = "long"
        self._texts(node, list(map(hex, items)))
        return node

    def _ends(self, node: Node, lengths: list[int]) -> None:
        ends = np.cumsum(np.array(lengths, np.int64))
        self._places(node, "ends", ends, int(ends[-1]) if lengths else 0)

    def _places(self, node: Node, name: str, places: Array, largest: int) -> None:
        if largest >= 1 << 31:
            node["bits"] = 64
        node[name] = self._buffer(places.astype("<i8" if "bits" in node else "<i4").view(np.uint8))

    def _texts(self, node: Node, items: list[Any]) -> None:
        if node["column"] == "bytes":
            data, lengths = b"".join(items), list(map(len, items))
        else:
            text = "".join(items)
            data = text.encode("utf-8", "surrogatepass")
            encoded = items if len(data) == len(text) else [one.encode("utf-8", "surrogatepass") for one in items]
            lengths = list(map(len, encoded))
        node["data"] = self._buffer(data)
        self._ends(node, lengths)

    def _block(self, node: Node, items: list[Array]) -> None:
        first = items[0]
        block = np.empty(first.size * len(items), first.dtype)
        np.concatenate(items if first.ndim == 1 else list(map(np.ravel, items)), out=block)
        node["dtype"], node["shape"] = arrays.describe(first.dtype), list(first.shape)
        node["data"] = self._buffer(block.view(np.uint8))


def _little(numbers: array[Any]) -> array[Any]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
