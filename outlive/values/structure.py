"""Structure: a value is read from its packed bytes, whole or in part. Nothing in them is trusted.

Damaged or malicious bytes raise an error. They cannot have memory taken far beyond their own size: what is copied is
copied once, and a buffer is part of one copy only. Nothing is unpickled, and no module that a class names is imported,
unless pickle is allowed. For codecs of libraries see "Values" in docs/design.md.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple

import numpy as np

from outlive.errors import CorruptArray, PickleRefused
from outlive.values.building import MALFORMED, Build, Read, damaged
from outlive.values.plans import Plan
from outlive.values.wire import (
    CONTAINER,
    FOREIGN,
    PICKLED,
    PRIVATE,
    TRAILER_SIZE,
    buffers_of,
    children,
    flagged,
    kind_of,
    parse,
    structure_size,
    trailer,
)

Array = np.ndarray[Any, Any]
_SHORT, _MOST = 8 << 10, 32  # bytes of structures that are kept for the next read, and how many are
_PLANNED_AT, _NEVER = 2, -(1 << 62)  # readings


class Row(NamedTuple):
    """The entry of a row of a column. It is never stored."""

    number: int  # of the column's node
    row: int


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
        self._containers = nbytes // CONTAINER
        self.pickled, self.private = bool(found.flags & PICKLED), bool(found.flags & PRIVATE)
        self._foreign = bool(found.flags & FOREIGN)
        self._reads = [0, 0]  # of all of it, by readers that have to look at more, and by those that trust it
        self._plan: Plan | None = None

    @staticmethod
    def length(tail: bytes, nbytes: int) -> int:
        """The bytes of structure and trailer, as the trailer at the end of `tail` says. Raises CorruptArray."""
        return trailer(tail, nbytes).structure + TRAILER_SIZE

    @classmethod
    def of(cls, data: Array, tail: bytes = b"") -> Structure:
        """The structure of these packed bytes, of which `tail` may be the last ones. Raises CorruptArray."""
        nbytes = data.nbytes
        if len(tail) >= TRAILER_SIZE:  # not verified yet: the structure itself does
            length = structure_size(tail) + TRAILER_SIZE
            if length <= len(tail) and length <= _SHORT:
                return _known(tail[-length:], nbytes)
        memory = data.data
        length = cls.length(tail or bytes(memory[-TRAILER_SIZE:]), nbytes)
        tail = tail[len(tail) - length :] if length <= len(tail) else bytes(memory[nbytes - length :])
        return _known(tail, nbytes) if length <= _SHORT else cls(tail, nbytes)

    def has_pickle(self) -> bool:
        """Whether a part of it is a pickle, whatever its flags say."""
        return any(kind_of(node) == "pickle" for node in self._nodes)

    def classes(self) -> set[str]:
        """The classes that it names, as `classes.name_of` wrote them, or whatever is in their place."""
        kinds = ("dataclass", "namedtuple", "enum")
        return {str(node[kind]) for node in self._nodes if (kind := kind_of(node)) in kinds}

    def whole_state(self, codec: str) -> tuple[int, int] | None:
        """Offset and size of the one buffer that is the value's whole state, if `codec` made it and it has such."""
        if not isinstance(self.root, list) or len(self._buffers) != 1 or len(self._nodes) != 2:
            return None
        state, root = self._nodes
        is_whole = root.get("codec") == codec and root.get("state") == [0] and state.get("array") == 0
        return self._buffers[0] if is_whole else None

    def has_codec(self) -> bool:
        """Whether a codec has to read a part of it."""
        return any(kind_of(node) == "codec" for node in self._nodes)

    def value(
        self, entry: Any, read: Read, path: tuple[Any, ...] = (), *, pickle: bool, private: Read | None = None
    ) -> Any:
        """The value of an entry, such as `root`, or the part of it at `path`. Only its own buffers are read.

        Parameters
        ----------
        private
            Reads what values consist of that may be written to, by codecs and by pickle. By default `read` does.

        Raises
        ------
        KeyError, IndexError, TypeError
            It has no such part.
        CorruptArray
        PickleRefused
            It has a pickle, or a class of a module that is not imported, and pickle is not allowed.
        UnknownType
            It needs a codec or a class that is not there.
        """
        trusted = pickle and not self._foreign
        build = Build(self._buffers, read, self._containers, pickle=pickle, private=self.private, trusted=trusted)
        needed = self._needed(entry)
        if not path and entry is self.root and len(needed) == len(self._nodes) and self._is_to_plan(trusted=trusted):
            build.again = {}
        own = self._own(needed) if needed and self.private and private is not None else ()
        for number in needed:
            build.read = private if private is not None and number in own else read
            build.add(number, self._nodes[number])
        if isinstance(entry, Row):
            value, path = build.row(*entry, self._nodes[entry.number], path)
        else:
            value = build.root(entry)
        if build.again is not None:
            with contextlib.suppress(*MALFORMED):  # what was read is never refused because there is no plan
                self._plan = Plan(self._nodes, self._buffers, build.again)
        for key in path:
            value = value[key]
        return value

    def _is_to_plan(self, *, trusted: bool) -> bool:
        """Whether all of it is read once more, and no plan was tried. To plan takes as long as to read."""
        self._reads[trusted] += 1
        if self._reads[trusted] < _PLANNED_AT:
            return False
        self._reads[trusted] = _NEVER
        return True

    def whole(self, data: Array, *, pickle: bool, private: Callable[[], Read | None]) -> Any:
        """The value of all its bytes: as `value`, or by the plan that an earlier reading has left.

        A plan does not see whether a codec's bytes are valid. A reader who refuses pickle has to, and uses none there.
        """
        plan = self._plan
        if plan is not None and (pickle or not plan.has_codec) and (not self.private or data.flags.writeable):
            with contextlib.suppress(*MALFORMED):  # the other way finds what is damaged, and says so
                return plan.follow(data)
        return self.value(
            self.root, lambda offset, size: data[offset : offset + size], pickle=pickle, private=private()
        )

    def find(self, entry: Any, path: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """The entry at a path of keys, indices and fields, and the rest of the path, for `value` to go.

        Raises
        ------
        KeyError, IndexError, TypeError
            As the value itself would.
        """
        for done, key in enumerate(path):
            if not isinstance(entry, list | Row):
                return entry, path[done:]
            entry = self._row_of(entry)
            inside = self._inside_row(entry, key) if isinstance(entry, Row) else self._inside_node(entry, key)
            if inside is None:
                return entry, path[done:]
            entry = inside[0]
        return entry, ()

    def buffers(self, entry: Any) -> list[tuple[int, int]]:
        """Offset and size of each buffer that an entry needs, in order. Raises CorruptArray."""
        used: set[int] = set()
        for number in self._needed(entry):
            used.update(buffers_of(self._nodes[number]))
        return [self._buffers[number] for number in sorted(used) if 0 <= number < len(self._buffers)]

    def _inside_node(self, entry: list[Any], key: Any) -> list[Any] | None:
        """The entry of a node's item, in a list; None if the node is a leaf."""
        node = self._nodes[self._number(entry)]
        kind = kind_of(node)
        try:
            inside = list(children(node))
        except MALFORMED as error:
            raise damaged(node, error) from None
        if kind in {"dict", "dataclass"} or (kind == "namedtuple" and isinstance(key, str)):
            return [node["dict" if kind == "dict" else "fields"][key]]
        if kind in {"list", "tuple", "namedtuple"}:
            if not hasattr(type(key), "__index__"):
                raise TypeError(f"an index of a {kind} is an integer, not {key!r:.100}")
            return [inside[key]]
        if kind in {"items", "ordered"}:
            try:
                for name, one in zip(inside[::2], inside[1::2], strict=False):
                    if self.value(name, _out_of_reach, pickle=False) == key:
                        return [one]
            except (_OutOfReachError, PickleRefused):  # the caller reads the whole, as it may
                return None
            raise KeyError(key)
        return None

    def _row_of(self, entry: Any) -> Any:
        """The row of a tree of plain data; of all else the entry itself."""
        if isinstance(entry, list):
            node = self._nodes[self._number(entry)]
            if kind_of(node) == "plain" and isinstance(node["plain"], list):
                return Row(self._number(node["plain"]), 0)
        return entry

    def _inside_row(self, entry: Row, key: Any) -> list[Any] | None:
        """The row of an item of a row, in a list; None if only the buffers say which."""
        node = self._nodes[entry.number]
        form, each = node.get("column"), node.get("each")
        if form not in ("record", "list", "tuple"):
            return None
        try:
            of = [self._number(one) for one in children(node)]
            keys = dict(zip(node["keys"], of, strict=True)) if form == "record" else {}
        except MALFORMED as error:
            raise damaged(node, error) from None
        if form == "record":
            return [Row(keys[key], entry.row)]
        if of and type(each) is int and each > 0:
            if not hasattr(type(key), "__index__"):
                raise TypeError(f"an index of a {form} is an integer, not {key!r:.100}")
            return [Row(of[0], entry.row * each + range(each)[key])]
        return None

    def _number(self, entry: Any) -> int:
        if len(entry) == 1 and type(entry[0]) is int and 0 <= entry[0] < len(self._nodes):
            return int(entry[0])
        raise CorruptArray("a stored value is damaged: it speaks of a node that it does not have")

    def _own(self, needed: Sequence[int]) -> Container[int]:
        """Those of these nodes, in order, that codecs and pickle read. The last needs all others."""
        if kind_of(self._nodes[needed[-1]]) in {"codec", "pickle"}:
            return needed
        own: set[int] = set()
        for number in reversed(needed):  # a node comes after those that it refers to
            node = self._nodes[number]
            if number in own or kind_of(node) in {"codec", "pickle"}:
                own.add(number)
                try:
                    own.update(self._number(one) for one in children(node) if isinstance(one, list))
                except MALFORMED as error:
                    raise damaged(node, error) from None
        return own

    def _needed(self, entry: Any) -> Sequence[int]:
        """The numbers of the nodes that an entry needs, in order."""
        if not isinstance(entry, (list, Row)):  # a union would be made each time
            return ()
        last = entry.number if isinstance(entry, Row) else self._number(entry)
        if last == len(self._nodes) - 1:
            return range(last + 1)
        needed, rest = {last}, [last]
        while rest:
            node = self._nodes[rest.pop()]
            try:
                inside = {self._number(one) for one in children(node) if isinstance(one, list)} - needed
            except MALFORMED as error:
                raise damaged(node, error) from None
            needed |= inside
            rest += inside
        return sorted(needed)


@functools.lru_cache(_MOST)
def _known(tail: bytes, nbytes: int) -> Structure:
    """A short structure. A program that reads a value again and again has it parsed once: nothing changes it."""
    return Structure(tail, nbytes)


def mark_foreign(data: Array) -> None:
    """Mark packed bytes, in place, as come from outside the cluster: all that they hold is checked at each reading.

    Whoever wrote them could not have a pickle run, and so must not have a library read other memory either.

    Raises
    ------
    CorruptArray
    """
    if Structure.of(data).has_codec():  # all else is checked anyway
        length = Structure.length(data[-TRAILER_SIZE:].tobytes(), data.nbytes)
        data[-length:] = np.frombuffer(flagged(data[-length:].tobytes(), FOREIGN), np.uint8)


class _OutOfReachError(Exception):
    """A key is no part of the structure, but a buffer."""


def _out_of_reach(_: int, __: int) -> Array:
    raise _OutOfReachError


def unpack(data: Array, *, pickle: bool = True) -> Any:
    """The value of these packed bytes. Its arrays are views of them, and can be written to if they can.

    Raises
    ------
    CorruptArray, PickleRefused, UnknownType
        See `Structure.value`.
    """
    return Structure.of(data).whole(data.view(np.ndarray), pickle=pickle, private=lambda: None)
