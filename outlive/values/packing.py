"""Packing: a value becomes a structure and buffers, which are not copied here. See `wire` for the form."""

from __future__ import annotations

import base64
import enum
import math
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from outlive.arrays.packed import DTYPE, Packed
from outlive.errors import PickleRefused, UnsupportedArray
from outlive.values import arrays, classes, pickled
from outlive.values.columns import Encoder, Identities, NotPlain, Shredder
from outlive.values.keys import are_keys
from outlive.values.parts import Form, Stack
from outlive.values.registry import codec_for
from outlive.values.scattered import Scattered
from outlive.values.wire import CONTAINER, PICKLED, PRIVATE, Node, end, kind_of

PAGE = 4096
_LINE = 64  # bytes: a cache line
_INLINE = 256  # bytes up to which `bytes` are in the structure
_WORD = 1 << 63
_DEEPEST = 100  # levels of a tree; what is nested deeper is pickled, whose stack is C's
_NUMPY = frozenset({"array", "scalar", "masked", "strings"})
_TREES = frozenset({list, tuple, dict})
_SMALL = 256  # objects of a tree that are nodes as well as columns
_TIMES, _VAIN = 8, 4096  # how often, in the end, each object may be looked at for columns in vain, and some more


class _Twice(Exception):
    """An object in a column occurs elsewhere."""


class _Cycle(Exception):
    """A value that holds itself."""


def pack(value: object, *, pickle: bool = True) -> Packed:
    """A value as bytes to be written; its codec is "tree", "numpy", "pickle", or the name of one that is registered.

    Parameters
    ----------
    pickle
        Whether what no codec knows is pickled.

    Raises
    ------
    UnsupportedArray
        It holds something that cannot be stored, or is nested too deeply. The message says where.
    PickleRefused
        It holds something that only pickle could store.
    """
    packer = _Packer(pickle=pickle)
    try:
        try:
            root = packer.entry(value)
        except _Twice:  # only nodes are objects that occur twice
            packer = _Packer(pickle=pickle, columns=False)
            root = packer.entry(value)
    except _Cycle:  # only pickle knows how to write those
        packer = _Packer(pickle=pickle)
        root = [packer.add(packer.pickled(value))]
    except RecursionError:
        raise UnsupportedArray(f"{pickled.about(value)} is nested too deeply to be stored") from None
    return packer.packed(root)


class _Packer:
    """One value's nodes and buffers."""

    def __init__(self, *, pickle: bool, columns: bool = True) -> None:
        self._pickle, self._nodes, self._flags, self._columns = pickle, list[Node](), 0, columns
        self._in_columns: Identities | None = None  # lists, dicts and arrays
        self._containers = 0  # in columns
        self._not_plain: set[int] = set()  # no tree of plain data, by `id`
        self._vain = self._most = 0  # objects that were looked at for columns in vain: of all trees, and of the largest
        self._entries: dict[int, list[int]] = {}  # of what has been packed, by `id`
        self._alive: list[object] = []  # so that no `id` is given twice
        self._open: set[int] = set()  # what is being packed
        self._path: list[object] = []  # to where the packer is, for messages
        self._buffers: list[list[np.ndarray[Any, Any]]] = []  # each in parts
        self._known: dict[tuple[int, int], int] = {}  # buffers by address and size
        self._fields: dict[type, tuple[str, ...] | None] = {}  # of dataclasses

    def packed(self, root: Any) -> Packed:
        """The parts, with zeros between them."""
        parts: list[np.ndarray[Any, Any]] = []
        places, reached = [], 0
        for buffer in self._buffers:
            size = sum(part.nbytes for part in buffer)
            begin = _aligned(reached, PAGE if size >= PAGE else _LINE) if size else reached
            if begin > reached:
                parts.append(np.zeros(begin - reached, np.uint8))
            if size:
                parts += buffer
            places.append((begin, size))
            reached = begin + size
        weight = CONTAINER * self._containers - reached
        if weight > 0:
            parts.append(np.zeros(weight, np.uint8))
            reached += weight
        tail = pickled.as_bytes(end(self._nodes, root, places, reached, self._flags))
        return Packed(self._codec(root), reached + tail.nbytes, [*parts, tail])

    def _codec(self, root: Any) -> str:
        if not isinstance(root, list):
            return "tree"
        node = self._nodes[root[0]]
        kind = kind_of(node)
        return (
            str(node["codec"])
            if kind == "codec"
            else "numpy"
            if kind in _NUMPY
            else kind
            if kind == "pickle"
            else "tree"
        )

    # --- entries

    def entry(self, value: Any) -> Any:
        """The entry of a value: itself, or the number of its node."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return value if value.isascii() or _has_no_surrogate(value) else [self.add(_odd_text(value))]
        if kind is int:
            return value if -_WORD <= value < _WORD else [self.add({"int": hex(value)})]
        if kind is float:
            return value if math.isfinite(value) else [self.add({"float": _bits(value)})]
        known = self._entries.get(id(value))
        if known is not None:
            return known
        if id(value) in self._open:
            raise _Cycle
        if self._in_columns is not None and self._in_columns.has(np.array([id(value)])):
            raise _Twice
        columns = self._columns
        tree = self._shredded(value) if columns and kind in _TREES else None
        self._columns = columns and (tree is None or tree.count >= _SMALL)
        self._open.add(id(value))
        node = self._node(kind, value) if tree is None or not self._columns else self._plain(tree)
        self._columns = columns
        self._open.discard(id(value))
        self._alive.append(value)
        made = self._entries[id(value)] = [self.add(node)]
        return made

    def add(self, node: Node) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1

    def _child(self, key: object, value: Any) -> Any:
        kind = type(value)
        if value is None or kind is bool:
            return value
        self._path.append(key)
        entry = self.entry(value)
        self._path.pop()  # an error leaves the path as it is: it says where
        return entry

    def _where(self) -> str:
        path = "".join(f".{key}" if isinstance(key, _Field) else f"[{key!r:.60}]" for key in self._path)
        return f" (at value{path})" if path else ""

    # --- nodes

    def _node(self, kind: type, value: Any) -> Node:
        pack_exactly = _EXACT.get(kind)
        if len(self._open) > _DEEPEST:
            if not self._pickle:
                raise RecursionError
            return self.pickled(value)
        node = pack_exactly(self, value) if pack_exactly is not None else self._other(kind, value)
        return self.pickled(value) if node is None else node

    def _shredded(self, value: Any) -> Shredder | None:
        """A tree of plain data as columns; None if it is none, or to find out is not worth it any more."""
        if id(value) in self._not_plain or self._vain > _TIMES * (self._most + len(self._nodes)) + _VAIN:
            return None
        try:
            return Shredder(value, self._is_taken)
        except NotPlain as no:
            self._not_plain |= no.around
            self._vain, self._most = self._vain + no.count, max(self._most, no.count)
            return None

    def _is_taken(self, ids: np.ndarray[Any, Any]) -> bool:
        """Whether any of these objects is a node, or becomes one. They are in order."""
        if self._in_columns is not None and self._in_columns.has(ids):
            raise _Twice
        nodes = self._entries.keys() | self._open if ids.size > len(self._entries) else None
        if nodes is not None:
            return not nodes.isdisjoint(ids.tolist())
        return any(one in self._entries or one in self._open for one in ids.tolist())

    def _plain(self, tree: Shredder) -> Node:
        self._containers += tree.containers
        self._in_columns = Identities() if self._in_columns is None else self._in_columns
        self._in_columns.update(tree.ids)
        return {"plain": [Encoder(self.add, self._add_buffer).encode(tree.columns)]}

    def _add_buffer(self, memory: Any) -> int:
        self._buffers.append([pickled.as_bytes(memory)])
        return len(self._buffers) - 1

    def _other(self, kind: type, value: Any) -> Node | None:
        codec = codec_for(kind)
        if codec is not None:
            state = codec.encode(value)
            if codec.private:  # as a whole by pickle, too
                self._flags |= PRIVATE
            if state is NotImplemented:
                return None
            return {"codec": codec.name, "package": codec.package, "state": self.entry(state)}
        if isinstance(value, np.generic):
            return arrays.scalar_node(value)
        if isinstance(value, np.ndarray):
            return self._array(value)
        return self._of_class(kind, value)

    def _of_class(self, kind: type, value: Any) -> Node | None:
        if isinstance(value, enum.Enum):
            member, name = classes.member_name(value), self._name_of(kind)
            return None if member is None or name is None else {"enum": name, "member": member}
        if isinstance(value, tuple):
            if not classes.is_namedtuple(kind, len(value)) or getattr(value, "__dict__", None):
                return None
            return self._made("namedtuple", kind, dict(zip(kind._fields, value, strict=True)))  # type: ignore[attr-defined]
        if kind not in self._fields:
            self._fields[kind] = classes.fields_of(kind)
        names = self._fields[kind]
        state = None if names is None else classes.state_of(value, names)
        return None if state is None else self._made("dataclass", kind, state)

    def _made(self, node: str, kind: type, state: dict[str, Any]) -> Node | None:
        name = self._name_of(kind)
        if name is None:
            return None
        return {node: name, "fields": {field: self._child(_Field(field), one) for field, one in state.items()}}

    def _name_of(self, kind: type) -> str | None:
        return classes.name_of(kind, main=not self._pickle)

    def pickled(self, value: object) -> Node:
        pickled.refuse_ray(value)
        if not self._pickle:
            raise PickleRefused(
                f"{pickled.about(value)}{self._where()} can be stored only by pickle, which this store refuses: "
                "register a codec for its type (outlive.codecs.register), convert it, or open the store with pickle"
            )
        try:
            parts = pickled.dumps(value)
        except UnsupportedArray as error:
            raise UnsupportedArray(f"{error}{self._where()}") from error.__cause__
        self._flags |= PICKLED
        return {"pickle": [self._buffer(part) for part in parts], "type": pickled.about(value)}

    def _buffer(self, data: np.ndarray[Any, Any]) -> int:
        """The number of a buffer. Memory that occurs twice is one buffer."""
        if data.flags.forc:
            place = (data.__array_interface__["data"][0], data.nbytes)
            known = self._known.get(place)
            if known is not None:
                return known
            self._known[place] = len(self._buffers)
        self._buffers.append([_raw(data)])
        return len(self._buffers) - 1

    def _array(self, value: np.ndarray[Any, Any]) -> Node | None:
        plain = arrays.plain(value)
        if plain is None:
            state = arrays.masked_state(value) if arrays.is_masked(value) else None
            return None if state is None else {"masked": True, "state": self.entry(state)}
        if plain.dtype.char == "T":
            state = arrays.strings_state(plain)
            return None if state is None else {"strings": True, "state": self.entry(state)}
        dtype = arrays.describe(plain.dtype)
        return None if dtype is None else arrays.array_node(plain, dtype, self._buffer(plain))

    def _form(self, value: Form) -> Node:
        of = [self._own(part) or self._child(index, part) for index, part in enumerate(value.parts)]
        return {"form": value.about, "of": of}

    def _own(self, part: Any) -> list[int] | None:
        """The entry of an array, or a stack of some, whose buffer is no other's; None for any other part."""
        stack = part.arrays if type(part) is Stack else [part] if type(part) is np.ndarray else []
        dtype = arrays.describe(stack[0].dtype) if stack else None
        if dtype is None:
            return None
        alone = len(stack) == 1
        if alone:
            node = arrays.array_node(stack[0], dtype, len(self._buffers))
        else:
            shape = [sum(map(len, stack)), stack[0].shape[1]]
            node = {"array": len(self._buffers), "dtype": dtype, "shape": shape}
        self._buffers.append([_raw(one) if alone or one.flags.c_contiguous else one for one in stack])
        return [self.add(node)]

    def _scattered(self, value: Scattered) -> Node:
        self._buffers.append(value.parts())
        return {"array": len(self._buffers) - 1, "dtype": DTYPE, "shape": [len(value)]}

    def _bytes(self, value: bytes | bytearray) -> Node:
        kind = "bytes" if isinstance(value, bytes) else "bytearray"
        if len(value) <= _INLINE:
            return {kind: base64.b64encode(value).decode()}
        return {kind: self._buffer(pickled.as_bytes(value))}

    def _sequence(self, kind: str, value: Any) -> Node:
        return {kind: [self._child(index, one) for index, one in enumerate(value)]}

    def _dict(self, value: dict[Any, Any]) -> Node | None:
        if type(value) is dict and all(type(key) is str and (key.isascii() or _has_no_surrogate(key)) for key in value):
            return {"dict": {key: self._child(key, one) for key, one in value.items()}}
        if not are_keys(value):
            return None
        pairs = [[self._child(key, key), self._child(key, one)] for key, one in value.items()]
        if type(value) is not OrderedDict:
            return {"items": pairs}
        own = dict(vars(value))  # as PyTorch's state_dict has its `_metadata`
        return {"ordered": pairs, "attributes": self._child(_Field("__dict__"), own)} if own else {"ordered": pairs}

    def _set(self, value: Any) -> Node | None:
        if not are_keys(value):
            return None
        return self._sequence("set" if type(value) is set else "frozenset", value)


_EXACT: dict[type, Callable[[_Packer, Any], Node | None]] = {
    list: lambda packer, value: packer._sequence("list", value),  # noqa: SLF001
    tuple: lambda packer, value: packer._sequence("tuple", value),  # noqa: SLF001
    dict: _Packer._dict,  # noqa: SLF001
    OrderedDict: _Packer._dict,  # noqa: SLF001
    set: _Packer._set,  # noqa: SLF001
    frozenset: _Packer._set,  # noqa: SLF001
    bytes: _Packer._bytes,  # noqa: SLF001
    bytearray: _Packer._bytes,  # noqa: SLF001
    complex: lambda _, value: {"complex": [_bits(value.real), _bits(value.imag)]},
    np.ndarray: _Packer._array,  # noqa: SLF001
    Scattered: _Packer._scattered,  # noqa: SLF001
    Form: _Packer._form,  # noqa: SLF001
}


class _Field(str):
    """The name of a field, in a path."""

    __slots__ = ()


def _raw(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array's bytes, in the order of its memory; one with gaps as it is."""
    if not data.flags.forc:
        return data
    return data.ravel(order="K").view(np.uint8) if data.nbytes else np.empty(0, np.uint8)


def _aligned(offset: int, to: int) -> int:
    return -(-offset // to) * to


def _has_no_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _odd_text(text: str) -> Node:
    return {"str": base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()}


def _bits(number: float) -> str:
    return struct.pack("<d", number).hex()
