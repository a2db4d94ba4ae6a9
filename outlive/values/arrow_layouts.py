"""Layouts of Arrow's arrays, by their types: which buffers a record batch has, and how many bytes each needs at least.

Source: https://arrow.apache.org/docs/format/Columnar.html#buffer-listing-for-each-layout
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from outlive.values.flatbuffers import Number, Table

I16, I32, I64, U8 = (struct.Struct(f"<{form}").unpack_from for form in "hiqB")
_DEEPEST = 70  # levels of types in types: Arrow's own writer has 64
_LONGEST = 1 << 48  # items of an array
_EXTENSION = b"ARROW:extension:name"
_LISTS, _DIMENSIONS = 16, 64  # lists of one length; as many as NumPy has
_SERIALIZED = b"ARROW:extension:metadata"
HARMLESS = frozenset(f"arrow.{name}".encode() for name in ("bool8", "fixed_shape_tensor", "json", "uuid"))
"""Extension types that Arrow's library itself has. A type of any other name may be read by code of a program."""


class Layout:
    """The nodes and buffers that a record batch of a schema has, in their order."""

    def __init__(self) -> None:
        self._over: list[tuple[int, int]] = []  # for each node: the one that it is in, or -1; its items for each of it
        self._bits: list[tuple[int, int, int]] = []  # for each buffer: its node, bits for each item, further bits
        self._valid: list[tuple[int, int]] = []  # nodes that may have nulls, and which buffer says which
        self._views: list[int] = []  # buffers that are followed by any number of others

    def same_as(self, other: Layout) -> bool:
        return vars(self) == vars(other)

    # --- made of a schema

    def node(self, parent: int, times: int) -> int:
        self._over.append((parent, times))
        return len(self._over) - 1

    def validity(self, node: int) -> None:
        self._valid.append((node, len(self._bits)))
        self.buffer(node, 0)

    def buffer(self, node: int, bits: int, further: int = 0) -> None:
        self._bits.append((node, bits, further))

    def views(self, node: int) -> None:
        self.buffer(node, 128)
        self._views.append(len(self._bits))

    # --- compared with a batch

    def check(self, batch: Table, body: int) -> None:
        """Compare a record batch with this, whose buffers are in a body of so many bytes.

        Raises
        ------
        ValueError
        """
        if batch.table(3) is not None:
            raise ValueError("it is compressed")
        length = batch.number(0, I64)
        nodes = np.frombuffer(batch.vector(1, 16), "<i8").reshape(-1, 2)
        buffers = np.frombuffer(batch.vector(2, 16), "<i8").reshape(-1, 2)
        if len(nodes) != len(self._over):
            raise ValueError("a batch has other arrays than its schema")
        lengths, nulls = nodes.T
        if not 0 <= length < _LONGEST or (lengths < 0).any() or (lengths >= _LONGEST).any():
            raise ValueError("a batch of an impossible length")
        if (nulls < 0).any() or (nulls > lengths).any():
            raise ValueError("an array has more nulls than items")
        self._check_lengths(length, lengths)
        if len(buffers):
            begins, sizes = buffers.T
            inside = (begins >= 0).all() and (sizes >= 0).all() and (begins <= body).all()
            if not inside or (sizes > body - begins).any() or (begins[1:] < (begins + sizes)[:-1])[sizes[1:] > 0].any():
                raise ValueError("a buffer lies outside its message, or in another")
        self._check_sizes(lengths, nulls, buffers[:, 1], np.frombuffer(batch.vector(4, 8), "<i8"))

    def _check_lengths(self, length: int, lengths: Any) -> None:
        if self._over:
            over, times = np.array(self._over, np.int64).T
            at_least = np.where(over < 0, length, lengths[over]).astype(np.float64) * times
            if (lengths < at_least).any() or (lengths[over < 0] != length).any():
                raise ValueError("arrays of one batch have different lengths")

    def _check_sizes(self, lengths: Any, nulls: Any, sizes: Any, variadic: Any) -> None:
        if len(variadic) != len(self._views) or (variadic < 0).any() or (variadic > len(sizes)).any():
            raise ValueError("a batch has other buffers than its schema")
        if len(self._bits) + int(variadic.sum()) != len(sizes):
            raise ValueError("a batch has other buffers than its schema")
        if not self._bits:
            return
        nodes, bits, further = np.array(self._bits, np.int64).T
        items = lengths[nodes].astype(np.float64)  # whose products are exact up to 2**53, and not less beyond
        needed = items * bits + np.where(items > 0, further, 0)
        if self._valid:
            nodes, buffers = np.array(self._valid, np.int64).T
            needed[buffers] = np.where(nulls[nodes] > 0, lengths[nodes], 0)
        own = np.delete(sizes, _extra(self._views, variadic)) if len(variadic) else sizes
        if (own < np.ceil(needed / 8)).any():
            raise ValueError("a buffer is shorter than its array")


def _extra(views: list[int], variadic: Any) -> Any:
    """The indices of the buffers that are beyond those of the schema."""
    begins = np.array(views, np.int64) + np.cumsum(variadic) - variadic
    counts = variadic.astype(np.int64)
    within = np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(begins, counts) + within


class Schema:
    """The layouts of a stream: of its batches, and of its dictionaries by id.

    Raises
    ------
    ValueError
        It is damaged, or has what outlive does not let a stream have.
    """

    def __init__(self, table: Table, *, only_text: bool = False) -> None:
        self._only_text = only_text  # in dictionaries
        self.dictionaries: dict[int, Layout] = {}
        self.batch = Layout()
        if table.number(0, I16) != 0:
            raise ValueError("its numbers have the other byte order")
        metadata(table, 2)
        for field in table.tables(1):
            self._field(self.batch, field, -1, 1, 0)

    def _field(self, layout: Layout, field: Table, parent: int, times: int, depth: int) -> None:
        if depth > _DEEPEST:
            raise ValueError("its types are nested too deeply")
        field.vector(0, 1)  # its name
        _check_extension(field)
        encoding = field.table(4)
        if encoding is None:
            self._array(layout, field, layout.node(parent, times), depth)
            return
        if self._only_text and field.number(2, U8) not in _TEXT:
            raise ValueError("it has a dictionary of other values than text")
        node = layout.node(parent, times)
        layout.validity(node)
        index = encoding.table(1)
        layout.buffer(node, 32 if index is None else _int(index))
        number, values = encoding.number(0, I64), Layout()
        self._array(values, field, values.node(-1, 1), depth)
        if not self.dictionaries.setdefault(number, values).same_as(values):
            raise ValueError("one dictionary is of two types")

    def _array(self, layout: Layout, field: Table, node: int, depth: int) -> None:
        kind, about = field.number(2, U8), field.table(3)
        if about is None or kind not in _KINDS:
            raise ValueError(f"its schema has a type of an unknown kind, {kind}")
        times = _KINDS[kind](layout, node, about)
        for child in field.tables(5):
            self._field(layout, child, node, times, depth + 1)


def metadata(table: Table, slot: int) -> list[tuple[bytes, bytes]]:
    return [(pair.vector(0, 1), pair.vector(1, 1)) for pair in table.tables(slot)]


def _check_extension(field: Table) -> None:
    pairs = metadata(field, 6)
    about = dict(pairs)
    name = about.get(_EXTENSION, b"")
    if name and len(about) != len(pairs):
        raise ValueError("metadata of an extension type that say something twice")
    if name and name not in HARMLESS:
        raise ValueError(f"it has values of an extension type, {name!r:.100}")
    if name == b"arrow.fixed_shape_tensor" and not _is_tensor(field, about.get(_SERIALIZED, b"")):
        raise ValueError("the metadata of its tensors are none")


def _is_tensor(field: Table, text: bytes) -> bool:
    """Whether the field has such tensors. Some versions of Arrow's library read these metadata without a look.

    Source: https://arrow.apache.org/docs/format/CanonicalExtensions.html#fixed-shape-tensor
    """
    about, storage = json.loads(text), field.table(3)
    if type(about) is not dict or not about.keys() <= {"shape", "dim_names", "permutation"}:
        return False
    shape = about.get("shape")
    if type(shape) is not list or len(shape) > _DIMENSIONS or not all(type(one) is int and one >= 0 for one in shape):
        return False
    if storage is None or field.number(2, U8) != _LISTS or storage.number(0, I32) != math.prod(shape):
        return False
    names, order = about.get("dim_names", [""] * len(shape)), about.get("permutation", list(range(len(shape))))
    return (
        type(names) is type(order) is list
        and len(names) == len(shape)
        and all(type(name) is str for name in names)
        and all(type(place) is int for place in order)
        and sorted(order) == list(range(len(shape)))
    )


# --- types: each adds its buffers, and says how many items of its children one of its own has at least


def _fixed(bits: Callable[[Table], int]) -> Callable[[Layout, int, Table], int]:
    def add(layout: Layout, node: int, about: Table) -> int:
        layout.validity(node)
        layout.buffer(node, bits(about))
        return 0

    return add


def _offsets(bits: int, *, data: bool) -> Callable[[Layout, int, Table], int]:
    def add(layout: Layout, node: int, _: Table) -> int:
        layout.validity(node)
        layout.buffer(node, bits, bits)
        if data:
            layout.buffer(node, 0)
        return 0

    return add


def _list_views(bits: int) -> Callable[[Layout, int, Table], int]:
    def add(layout: Layout, node: int, _: Table) -> int:
        layout.validity(node)
        layout.buffer(node, bits)
        layout.buffer(node, bits)
        return 0

    return add


def _views(layout: Layout, node: int, _: Table) -> int:
    layout.validity(node)
    layout.views(node)
    return 0


def _struct(layout: Layout, node: int, _: Table) -> int:
    layout.validity(node)
    return 1


def _fixed_list(layout: Layout, node: int, about: Table) -> int:
    layout.validity(node)
    return _positive(about.number(0, I32))


def _union(layout: Layout, node: int, about: Table) -> int:
    layout.buffer(node, 8)
    about.vector(1, 4)  # the numbers of its types
    if about.number(0, I16) == 0:
        return 1
    layout.buffer(node, 32)
    return 0


def _timestamp(layout: Layout, node: int, about: Table) -> int:
    layout.validity(node)
    layout.buffer(node, 64)
    about.vector(1, 1)  # the name of its time zone
    return 0


def _nothing(_: Layout, __: int, ___: Table) -> int:
    return 0


def _positive(number: int) -> int:
    if number < 0:
        raise ValueError("a type has a negative size")
    return number


def _int(about: Table) -> int:
    bits = about.number(0, I32)
    if bits not in {8, 16, 32, 64, 128}:
        raise ValueError(f"integers of {bits} bits")
    return bits


def _of(widths: dict[int, int], slot: int, read: Number, default: int) -> Callable[[Table], int]:
    def bits(about: Table) -> int:
        unit = about.number(slot, read, default)
        if unit not in widths:
            raise ValueError(f"a type of an unknown unit, {unit}")
        return widths[unit]

    return bits


def _same(*widths: int) -> dict[int, int]:
    return {width: width for width in widths}


_TEXT = frozenset({5, 20, 24})  # Utf8, LargeUtf8, Utf8View
_KINDS: dict[int, Callable[[Layout, int, Table], int]] = {
    1: _nothing,  # Null
    2: _fixed(_int),
    3: _fixed(_of({0: 16, 1: 32, 2: 64}, 0, I16, 0)),  # FloatingPoint
    4: _offsets(32, data=True),  # Binary
    5: _offsets(32, data=True),  # Utf8
    6: _fixed(lambda _: 1),  # Bool
    7: _fixed(_of(_same(32, 64, 128, 256), 2, I32, 128)),  # Decimal
    8: _fixed(_of({0: 32, 1: 64}, 0, I16, 1)),  # Date
    9: _fixed(_of(_same(32, 64), 1, I32, 32)),  # Time
    10: _timestamp,
    11: _fixed(_of({0: 32, 1: 64, 2: 128}, 0, I16, 0)),  # Interval
    12: _offsets(32, data=False),  # List
    13: _struct,
    14: _union,
    15: _fixed(lambda about: 8 * _positive(about.number(0, I32))),  # FixedSizeBinary
    16: _fixed_list,
    17: _offsets(32, data=False),  # Map
    18: _fixed(lambda _: 64),  # Duration
    19: _offsets(64, data=True),  # LargeBinary
    20: _offsets(64, data=True),  # LargeUtf8
    21: _offsets(64, data=False),  # LargeList
    22: _nothing,  # RunEndEncoded
    23: _views,  # BinaryView
    24: _views,  # Utf8View
    25: _list_views(32),
    26: _list_views(64),  # LargeListView
}
"""The kinds of types of https://github.com/apache/arrow/blob/main/format/Schema.fbs, by their numbers."""
