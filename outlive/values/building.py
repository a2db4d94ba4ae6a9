"""Building: the objects of a structure's nodes, one after the other. See `structure` for what is promised of them."""

from __future__ import annotations

import base64
import binascii
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from outlive.collecting import without_collections
from outlive.errors import CorruptArray, OutliveError, PickleRefused
from outlive.values import arrays, classes, pickled, rows
from outlive.values.columns import CONTAINERS
from outlive.values.keys import are_keys, is_key
from outlive.values.libraries import CODECS
from outlive.values.parts import Form, Reading, once
from outlive.values.plans import Again, tried
from outlive.values.registry import codec_named, planner_of
from outlive.values.wire import Node, children, kind_of

Array = np.ndarray[Any, Any]
Read = Callable[[int, int], Array]
"""Gives the bytes at an offset: as an array of bytes."""

_MANY = 10_000  # containers: for fewer, the collector takes little time
MALFORMED = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, struct.error, binascii.Error,
)  # fmt: skip


class Build:
    """The objects of the nodes so far."""

    def __init__(
        self,
        buffers: list[tuple[int, int]],
        read: Read,
        containers: int,
        *,
        pickle: bool,
        private: bool,
        trusted: bool,
    ) -> None:
        self._buffers, self.read, self._pickle, self._private = buffers, read, pickle, private
        self._trusted = trusted
        self._most = self._containers = containers  # that columns may have; may have yet
        self._objects: dict[int, Any] = {}
        self._columns: dict[int, rows.Rows] = {}  # that are inside no other so far
        self._forms: dict[int, Form] = {}  # that no codec has read so far
        self._copied: dict[int, Any] = {}  # what has been copied, by address: alive, or another could get that
        self._in_columns: set[object] = set()  # buffers
        self.again: dict[int, Again] | None = None  # if it is a dict, it gets what makes a codec's value again

    def add(self, number: int, node: Node) -> None:
        kind, self._number = next(iter(node)), number  # `kind_of`, of which there are very many
        if kind == "column":
            self._add_column(number, node)
            return
        try:
            make = _MAKE[kind]
        except KeyError:
            raise CorruptArray(
                f"a stored value has {kind!r:.60}, which this version of outlive does not know: it is damaged, or newer"
            ) from None
        try:
            made = make(self, node)
            if kind == "form":
                self._forms[number] = made
            else:
                self._objects[number] = made
        except OutliveError:
            raise
        except _Raised as raised:
            raise raised.args[0] from None
        except MALFORMED as error:
            raise damaged(node, error) from error

    def _add_column(self, number: int, node: Node) -> None:
        try:
            of = [self._column(one) for one in children(node)]
            made = rows.FORMS[node["column"]](node, self._of_column, of)
            if made.form in CONTAINERS:
                self._containers -= made.count
                if self._containers < 0:
                    raise ValueError("it has more containers than bytes for them")
        except MALFORMED as error:
            raise damaged(node, error) from error
        self._columns[number] = made

    def _of_column(self, number: object) -> Array:
        """The buffer of a column: of one only, for all that it has may become objects."""
        if number in self._in_columns:
            raise ValueError("two of its columns have the same bytes")
        self._in_columns.add(number)
        return self.buffer(number)

    def _column(self, entry: Any) -> rows.Rows:
        (number,) = entry
        return self._columns.pop(number)

    def plain(self, node: Node) -> Any:
        column = self._column(node["plain"])
        if column.count != 1:
            raise ValueError("a tree has one root")
        if self._most - self._containers < _MANY:
            return column.get(0, 1)[0]
        return without_collections(lambda: column.get(0, 1)[0])

    def row(self, number: int, row: int, node: Node, path: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """The value of a row, or what is in it at the path, and the rest of the path.

        Raises
        ------
        KeyError, IndexError, TypeError
            There is no such item.
        CorruptArray
        """
        column = self._columns.get(number)
        if column is None or not 0 <= row < column.count:
            raise damaged(node, ValueError("it has no such row"))
        try:
            column, row, rest = rows.walk(column, row, path)
        except ValueError as error:
            raise damaged(node, error) from error
        try:
            return column.get(row, row + 1)[0], rest
        except MALFORMED as error:
            raise damaged(node, error) from error

    def get(self, entry: Any) -> Any:
        """The object of an entry."""
        if type(entry) is list:
            (number,) = entry
            return self._objects[number]  # only earlier ones are there
        if type(entry) is dict:
            raise TypeError("an object where an entry belongs")
        return entry

    def _part(self, entry: Any) -> Any:
        """The object of an entry, or its form, which is then read."""
        if type(entry) is list:
            (number,) = entry
            if number in self._forms:
                return self._forms.pop(number)
        return self.get(entry)

    def root(self, entry: Any) -> Any:
        """The object of an entry, once all is built. Raises CorruptArray if it is that of a column, or a form."""
        try:
            return self.get(entry)
        except KeyError:
            raise CorruptArray("a stored value is damaged: its root is no value") from None

    def buffer(self, number: object) -> Array:
        if type(number) is not int or number < 0:
            raise TypeError("no buffer")
        return self.read(*self._buffers[number])

    def copied(self, data: Array) -> Array:
        """Bytes that are about to be copied: once, or they would take more memory than the value."""
        if data.nbytes:
            address = data.__array_interface__["data"][0]
            if address in self._copied:
                raise ValueError("two of its parts have the same bytes")
            self._copied[address] = data
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
        _check_keys([key for key, _ in pairs])
        made = dict(pairs) if kind == "items" else OrderedDict(pairs)
        if kind == "ordered" and "attributes" in node:
            own = self.get(node["attributes"])
            if type(own) is not dict or not all(type(name) is str for name in own):
                raise TypeError("no attributes")
            vars(made).update(own)
        return _all_there(made, pairs)

    def set(self, node: Node) -> Any:
        kind = kind_of(node)
        items = [_key(self.get(entry)) for entry in _list(node[kind])]
        _check_keys(items)
        return _all_there(set(items) if kind == "set" else frozenset(items), items)

    def form(self, node: Node) -> Form:
        about = node["form"]
        if type(about) is not dict:
            raise TypeError("no object")
        return Form(about, [self._part(entry) for entry in _list(node["of"])])

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
        codec, state = codec_named(name, package), self._part(node["state"])
        if codec.private and not self._private:
            raise ValueError("it has a value that may be written to, and its trailer does not say so")
        try:
            with Reading(self._copied, trusted=self._trusted):
                if name in CODECS and type(state) is dict:  # each value of a library has a state of its own
                    once(state)
                value = codec.decode(state)
            if self.again is not None and self._trusted and (planner := planner_of(name)) is not None:
                again = tried(planner, state, value)
                if again is not None:
                    self.again[self._number] = again
            return value
        except (OutliveError, MemoryError, ImportError) as error:
            raise _Raised(error) from None
        except Exception as error:
            raise CorruptArray(f"the codec {name!r} cannot read a stored value: {error}") from error


class _Raised(Exception):
    """An error that goes to the caller as it is."""


def damaged(node: Node, error: Exception) -> CorruptArray:
    return CorruptArray(f"a stored value is damaged: its {kind_of(node)!r:.60} cannot be read ({error!s:.200})")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _key(value: Any) -> Any:
    if not is_key(value):
        raise TypeError(f"{pickled.about(value)} as a key")
    return value


def _check_keys(keys: list[Any]) -> None:
    if not are_keys(keys):
        raise ValueError("too many keys of one hash")


def _all_there(made: Any, of: list[Any]) -> Any:
    if len(made) != len(of):
        raise ValueError("the same key twice")
    return made


def _integer(text: object) -> int:
    if not isinstance(text, str):
        raise TypeError("no number")
    return int(text, 16)


def _number(text: object) -> float:
    if not isinstance(text, str):
        raise TypeError("no number")
    return float(struct.unpack("<d", bytes.fromhex(text))[0])


_MAKE: dict[str, Callable[[Build, Node], Any]] = {
    "array": Build.array,
    "scalar": lambda _, node: arrays.scalar_of(node),
    "strings": Build.strings,
    "masked": lambda build, node: arrays.masked_of(build.get(node["state"])),
    "int": lambda _, node: _integer(node["int"]),
    "float": lambda _, node: _number(node["float"]),
    "complex": lambda _, node: complex(*map(_number, _list(node["complex"]))),
    "str": lambda _, node: base64.b64decode(node["str"], validate=True).decode("utf-8", "surrogatepass"),
    **dict.fromkeys(("bytes", "bytearray"), Build.bytes),
    **dict.fromkeys(("list", "tuple"), Build.sequence),
    "dict": Build.dict,
    **dict.fromkeys(("items", "ordered"), Build.pairs),
    **dict.fromkeys(("set", "frozenset"), Build.set),
    **dict.fromkeys(("dataclass", "namedtuple", "enum"), Build.of_class),
    "pickle": Build.pickle,
    "plain": Build.plain,
    "form": Build.form,
    "codec": Build.codec,
}
