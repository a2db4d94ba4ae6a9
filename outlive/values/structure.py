"""Structure: a value is read from its packed bytes, whole or in part. Nothing in them is trusted.

Damaged or malicious bytes raise an error. They cannot have memory taken far beyond their own size: what is copied is
copied once, and a buffer is part of one copy only. Nothing is unpickled, and no module that a class names is imported,
unless pickle is allowed. Codecs of libraries promise less: see "Values" in docs/design.md.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from outlive.errors import CorruptArray, OutliveError, PickleRefused
from outlive.values import arrays, classes, pickled
from outlive.values.keys import is_key
from outlive.values.libraries import CODECS
from outlive.values.parts import once, reading
from outlive.values.registry import codec_named
from outlive.values.wire import PICKLED, PRIVATE, TRAILER_SIZE, Node, children, kind_of, parse, trailer

Array = np.ndarray[Any, Any]
Read = Callable[[int, int], Array]
"""Gives the bytes at an offset: as an array of bytes."""

_MALFORMED = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, struct.error, binascii.Error,
)  # fmt: skip


class Structure:
    """The structure of a packed value.

    Parameters
    ----------
    tail
        The last bytes of the value: at least `length(...)` of them.
    nbytes
        The size of the whole.

    Raises
    ------
    CorruptArray
    """

    def __init__(self, tail: bytes, nbytes: int) -> None:
        found = trailer(tail, nbytes)
        text = tail[len(tail) - TRAILER_SIZE - found.structure : len(tail) - TRAILER_SIZE]
        self._nodes, self.root, self._buffers = parse(text, found)
        self.pickled, self.private = bool(found.flags & PICKLED), bool(found.flags & PRIVATE)

    @staticmethod
    def length(tail: bytes, nbytes: int) -> int:
        """The bytes of structure and trailer, as the trailer at the end of `tail` says. Raises CorruptArray."""
        return trailer(tail, nbytes).structure + TRAILER_SIZE

    @classmethod
    def of(cls, data: Array) -> Structure:
        """The structure of these packed bytes. Raises CorruptArray."""
        nbytes = data.nbytes
        length = cls.length(data[-TRAILER_SIZE:].tobytes(), nbytes)
        return cls(data[nbytes - length :].tobytes(), nbytes)

    def value(self, entry: Any, read: Read, *, pickle: bool) -> Any:
        """The value of an entry, such as `root`. Only its own buffers are read.

        Raises
        ------
        CorruptArray
        PickleRefused
            It has a pickle, or a class of a module that is not imported, and pickle is not allowed.
        UnknownType
            It needs a codec or a class that is not there.
        """
        numbers = self._needed(entry)
        build = _Build(self._buffers, read, pickle=pickle, private=self.private)
        for number in numbers:
            build.add(number, self._nodes[number])
        return build.get(entry)

    def find(self, entry: Any, path: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """The entry at a path of keys, indices and fields, and the rest of the path from there, which is inside a leaf.

        Raises
        ------
        KeyError, IndexError, TypeError
            As the value itself would.
        """
        for done, key in enumerate(path):
            if not isinstance(entry, list):
                return entry, path[done:]
            inside = self._items(self._nodes[self._number(entry)], key)
            if inside is None:
                return entry, path[done:]
            entry = inside[0]
        return entry, ()

    def buffers(self, entry: Any) -> list[tuple[int, int]]:
        """Offset and size of each buffer that an entry needs, in order. Raises CorruptArray."""
        used: set[int] = set()
        for number in self._needed(entry):
            node = self._nodes[number]
            one = node[kind_of(node)]
            if kind_of(node) in {"array", "bytes", "bytearray"} and type(one) is int:
                used.add(one)
            elif kind_of(node) == "pickle" and isinstance(one, list):
                used.update(part for part in one if type(part) is int)
        return [self._buffers[number] for number in sorted(used) if 0 <= number < len(self._buffers)]

    def _items(self, node: Node, key: Any) -> list[Any] | None:
        """The entry of a node's item, in a list; None if the node is a leaf."""
        kind = kind_of(node)
        try:
            inside = list(children(node))
        except _MALFORMED as error:
            raise _damaged(node, error) from None
        if kind in {"dict", "dataclass"} or (kind == "namedtuple" and isinstance(key, str)):
            return [node["dict" if kind == "dict" else "fields"][key]]
        if kind in {"list", "tuple", "namedtuple"}:
            if not hasattr(type(key), "__index__"):
                raise TypeError(f"an index of a {kind} is an integer, not {key!r:.100}")
            return [inside[key]]
        if kind in {"items", "ordered"}:
            try:
                for name, entry in zip(inside[::2], inside[1::2], strict=False):
                    if self.value(name, _out_of_reach, pickle=False) == key:
                        return [entry]
            except (_OutOfReachError, PickleRefused):  # the caller reads the whole, as it may
                return None
            raise KeyError(key)
        return None

    def _number(self, entry: Any) -> int:
        if len(entry) == 1 and type(entry[0]) is int and 0 <= entry[0] < len(self._nodes):
            return int(entry[0])
        raise CorruptArray("a stored value is damaged: it speaks of a node that it does not have")

    def _needed(self, entry: Any) -> Iterable[int]:
        """The numbers of the nodes that an entry needs, in order."""
        if not isinstance(entry, list):
            return ()
        last = self._number(entry)
        if last == len(self._nodes) - 1:
            return range(last + 1)
        needed, rest = {last}, [last]
        while rest:
            node = self._nodes[rest.pop()]
            try:
                inside = {self._number(one) for one in children(node) if isinstance(one, list)} - needed
            except _MALFORMED as error:
                raise _damaged(node, error) from None
            needed |= inside
            rest += inside
        return sorted(needed)


class _Build:
    """The objects of the nodes so far."""

    def __init__(self, buffers: list[tuple[int, int]], read: Read, *, pickle: bool, private: bool) -> None:
        self._buffers, self._read, self._pickle, self._private = buffers, read, pickle, private
        self._objects: dict[int, Any] = {}
        self._copied: set[int] = set()  # addresses of what has been copied

    def add(self, number: int, node: Node) -> None:
        kind = kind_of(node)
        try:
            make = _MAKE[kind]
        except KeyError:
            raise CorruptArray(
                f"a stored value has {kind!r:.60}, which this version of outlive does not know: it is damaged, or newer"
            ) from None
        try:
            self._objects[number] = make(self, node)
        except OutliveError:
            raise
        except _Raised as raised:
            raise raised.args[0] from None
        except _MALFORMED as error:
            raise _damaged(node, error) from error

    def get(self, entry: Any) -> Any:
        """The object of an entry."""
        if type(entry) is list:
            (number,) = entry
            return self._objects[number]  # only earlier ones are there
        if type(entry) is dict:
            raise TypeError("an object where an entry belongs")
        return entry

    def buffer(self, number: object) -> Array:
        if type(number) is not int or number < 0:
            raise TypeError("no buffer")
        return self._read(*self._buffers[number])

    def copied(self, data: Array) -> Array:
        """Bytes that are about to be copied: once, or they would take more memory than the value."""
        if data.nbytes:
            address = data.__array_interface__["data"][0]
            if address in self._copied:
                raise ValueError("two of its parts have the same bytes")
            self._copied.add(address)
        return data

    def array(self, node: Node) -> Any:
        return arrays.array_of(node, self.buffer(node["array"]))

    def bytes(self, node: Node) -> Any:
        kind = kind_of(node)
        content = node[kind]
        if isinstance(content, str):
            data = base64.b64decode(content, validate=True)
        else:
            data = self.copied(self.buffer(content)).tobytes()
        return data if kind == "bytes" else bytearray(data)

    def sequence(self, node: Node) -> Any:
        kind = kind_of(node)
        items = [self.get(entry) if type(entry) is not str else entry for entry in _list(node[kind])]
        return items if kind == "list" else tuple(items)

    def dict(self, node: Node) -> Any:
        return {key: self.get(entry) for key, entry in dict.items(node["dict"])}

    def pairs(self, node: Node) -> Any:
        kind = kind_of(node)
        pairs = [(_key(self.get(key)), self.get(entry)) for key, entry in _list(node[kind])]
        made = dict(pairs) if kind == "items" else OrderedDict(pairs)
        return _all_there(made, pairs)

    def set(self, node: Node) -> Any:
        kind = kind_of(node)
        items = [_key(self.get(entry)) for entry in _list(node[kind])]
        return _all_there(set(items) if kind == "set" else frozenset(items), items)

    def strings(self, node: Node) -> Any:
        state = self.get(node["state"])
        self.copied(state["text"])
        self.copied(state["ends"])
        return arrays.strings_of(state)

    def of_class(self, node: Node) -> Any:
        kind = kind_of(node)
        found = classes.class_named(node[kind], load=self._pickle)
        if kind == "enum":
            return classes.member_of(found, node["member"])
        state = {field: self.get(entry) for field, entry in dict.items(node["fields"])}
        return classes.dataclass_of(found, state) if kind == "dataclass" else classes.namedtuple_of(found, state)

    def pickle(self, node: Node) -> Any:
        kind = node.get("type")
        if not self._pickle:
            raise PickleRefused(
                f"this value has {kind!s:.200}, stored by pickle, which this store refuses, as reading it may run any "
                "code: open the store with pickle=True if you trust all who write to it"
            )
        parts = [self.buffer(number) for number in _list(node["pickle"])]
        if not parts:
            raise ValueError("a pickle without a beginning")
        try:
            return pickled.loads(parts)
        except Exception as error:  # noqa: BLE001 - any that the value's classes may raise
            raise _Raised(error) from None

    def codec(self, node: Node) -> Any:
        name, package = node["codec"], node.get("package")
        if not isinstance(name, str) or not isinstance(package, str):
            raise TypeError("a codec without a name")
        codec, state = codec_named(name, package), self.get(node["state"])
        if codec.private and not self._private:
            raise ValueError("it has a value that may be written to, and its trailer does not say so")
        try:
            with reading(self._copied):
                if name in CODECS and type(state) is dict:  # each value of a library has a state of its own
                    once(state)
                return codec.decode(state)
        except (OutliveError, MemoryError, ImportError) as error:
            raise _Raised(error) from None
        except Exception as error:
            raise CorruptArray(f"the codec {name!r} cannot read a stored value: {error}") from error


class _Raised(Exception):
    """An error that goes to the caller as it is."""


def _damaged(node: Node, error: Exception) -> CorruptArray:
    return CorruptArray(f"a stored value is damaged: its {kind_of(node)!r:.60} cannot be read ({error!s:.200})")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _key(value: Any) -> Any:
    if not is_key(value):
        raise TypeError(f"{pickled.about(value)} as a key")
    return value


def _all_there(made: Any, of: list[Any]) -> Any:
    if len(made) != len(of):
        raise ValueError("the same key twice")
    return made


class _OutOfReachError(Exception):
    """A key is no part of the structure, but a buffer."""


def _out_of_reach(_: int, __: int) -> Array:
    raise _OutOfReachError


def _integer(text: object) -> int:
    if not isinstance(text, str):
        raise TypeError("no number")
    return int(text, 16)


def _number(text: object) -> float:
    if not isinstance(text, str):
        raise TypeError("no number")
    return float(struct.unpack("<d", bytes.fromhex(text))[0])


_MAKE: dict[str, Callable[[_Build, Node], Any]] = {
    "array": _Build.array,
    "scalar": lambda _, node: arrays.scalar_of(node),
    "strings": _Build.strings,
    "masked": lambda build, node: arrays.masked_of(build.get(node["state"])),
    "int": lambda _, node: _integer(node["int"]),
    "float": lambda _, node: _number(node["float"]),
    "complex": lambda _, node: complex(*map(_number, _list(node["complex"]))),
    "str": lambda _, node: base64.b64decode(node["str"], validate=True).decode("utf-8", "surrogatepass"),
    **dict.fromkeys(("bytes", "bytearray"), _Build.bytes),
    **dict.fromkeys(("list", "tuple"), _Build.sequence),
    "dict": _Build.dict,
    **dict.fromkeys(("items", "ordered"), _Build.pairs),
    **dict.fromkeys(("set", "frozenset"), _Build.set),
    **dict.fromkeys(("dataclass", "namedtuple", "enum"), _Build.of_class),
    "pickle": _Build.pickle,
    "codec": _Build.codec,
}


def unpack(data: Array, *, pickle: bool = True) -> Any:
    """The value of these packed bytes. Its arrays are views of them, and can be written to if they can.

    Raises
    ------
    CorruptArray, PickleRefused, UnknownType
        See `Structure.value`.
    """
    structure, plain = Structure.of(data), data.view(np.ndarray)
    return structure.value(structure.root, lambda offset, size: plain[offset : offset + size], pickle=pickle)
