"""The form of a packed value.

    | buffers | structure: JSON | trailer, 32 bytes |

A buffer begins at a page if it has a page or more, and else at 64 bytes. The structure is

    {"buffers": [[offset, bytes], ...], "nodes": [node, ...], "root": entry}

A node is an object with one member that names its kind, as `{"list": [entry, ...]}`, and for some kinds others. An
entry is null, a boolean, a number, a string, or `[n]`: node n. A node has only entries of nodes before it. So reading
needs no recursion, there are no cycles, and what occurs twice in a value is one node.

A large tree of plain data is a node `{"plain": [n]}`, whose value is the only row of the column that is node n. Columns
are nodes too, but no values: see `columns`. Nor is `{"form": {...}, "of": [entry, ...]}`: the state of a codec, or a
part of one, as JSON that is read as it is, and the parts that it speaks of. It is read once.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from outlive.errors import CorruptArray

MAGIC = b"value\0\0\x01"  # the last byte is the version of this form
_TRAILER = struct.Struct("<QQII8s")  # bytes of the structure, and of all; checksum; flags; MAGIC
TRAILER_SIZE = _TRAILER.size
PICKLED, PRIVATE, FOREIGN = 1, 2, 4
"""Flags: it has a pickle; it may be written to, so each reading needs a private map; it came from outside."""

Node = dict[str, Any]


class Trailer(NamedTuple):
    """The end of a packed value."""

    structure: int  # bytes
    nbytes: int  # of the whole
    checksum: int
    flags: int


def end(nodes: list[Node], root: Any, buffers: list[tuple[int, int]], begin: int, flags: int) -> bytes:
    """Structure and trailer, which begin at the offset `begin`."""
    structure = {"buffers": buffers, "nodes": nodes, "root": root}
    text = json.dumps(structure, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return text + _TRAILER.pack(len(text), begin + len(text) + TRAILER_SIZE, checksum(text, flags), flags, MAGIC)


def checksum(text: bytes, flags: int) -> int:
    """The CRC-32 of a structure and the flags."""
    return zlib.crc32(flags.to_bytes(4, "little"), zlib.crc32(text))


def trailer(tail: bytes, nbytes: int) -> Trailer:
    """The trailer at the end of a packed value of `nbytes`.

    Raises
    ------
    CorruptArray
    """
    if len(tail) < TRAILER_SIZE or nbytes < TRAILER_SIZE:
        raise CorruptArray("a stored value is damaged: it has no trailer; run `outlive check`")
    structure, total, checksum, flags, magic = _TRAILER.unpack(tail[-TRAILER_SIZE:])
    if magic != MAGIC and magic.startswith(MAGIC[:-1]):
        raise CorruptArray("a stored value has a newer form than this version of outlive knows: upgrade outlive")
    if magic != MAGIC or total != nbytes or structure > nbytes - TRAILER_SIZE:
        raise CorruptArray("a stored value is damaged: its trailer does not fit it; run `outlive check`")
    return Trailer(structure, total, checksum, flags)


def structure_size(tail: bytes) -> int:
    """The bytes of the structure, as the trailer at the end of `tail` has it, right or wrong."""
    size: int = _TRAILER.unpack_from(tail, len(tail) - TRAILER_SIZE)[0]
    return size


def flagged(tail: bytes, flags: int) -> bytes:
    """Structure and trailer with these flags, too. Raises CorruptArray."""
    structure, nbytes, _, before, magic = _TRAILER.unpack(tail[-TRAILER_SIZE:])
    text = tail[:-TRAILER_SIZE]
    parse(text, trailer(tail, nbytes))
    flags |= before
    return text + _TRAILER.pack(structure, nbytes, checksum(text, flags), flags, magic)


def parse(text: bytes, found: Trailer) -> tuple[list[Node], Any, list[tuple[int, int]]]:
    """Nodes, root and buffers of a structure. The buffers lie one behind the other, before the structure.

    Raises
    ------
    CorruptArray
    """
    if checksum(text, found.flags) != found.checksum:
        raise CorruptArray("a stored value is damaged: its structure changed; run `outlive check`")
    try:
        structure = _DECODER.decode(text.decode())
        nodes, root, buffers = structure["nodes"], structure["root"], structure["buffers"]
        if not (isinstance(nodes, list) and all(isinstance(node, dict) and node for node in nodes)):
            raise TypeError("its nodes are no objects")
        if isinstance(root, dict):
            raise TypeError("its root is no entry")
        reached = 0
        for offset, size in buffers:
            if type(offset) is not int or type(size) is not int or offset < reached or size < 0:
                raise TypeError("its buffers overlap")
            reached = offset + size
        if reached > found.nbytes - TRAILER_SIZE - found.structure:
            raise ValueError("its buffers are larger than it is")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptArray(f"a stored value is damaged: its structure cannot be read ({error})") from None
    return nodes, root, [(offset, size) for offset, size in buffers]


def _no_constant(name: str) -> None:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_no_constant)  # to make one takes longer than most structures


_CHILDREN: dict[str, Callable[[Any], Iterable[Any]]] = {
    **dict.fromkeys(("list", "tuple", "set", "frozenset"), iter),
    "dict": dict.values,
    **dict.fromkeys(("items", "ordered"), lambda pairs: (entry for pair in pairs for entry in pair)),
}


CONTAINER = 8
"""Bytes that a packed value has at least for each container in a column. So no few bytes are very many objects."""


def kind_of(node: Node) -> str:
    """The kind of a node: its first member."""
    return next(iter(node))


def children(node: Node) -> Iterable[Any]:
    """The entries of a node."""
    kind = kind_of(node)
    if kind in _CHILDREN:
        inside = _CHILDREN[kind](node[kind])
        return (*inside, node["attributes"]) if kind == "ordered" and "attributes" in node else inside
    if kind in {"dataclass", "namedtuple"}:
        return dict.values(node["fields"])
    if kind in {"codec", "strings", "masked"}:
        return (node["state"],)
    if kind in {"column", "form"}:
        return list(node.get("of", ()))
    if kind == "plain":
        return (node["plain"],)
    return ()


def buffers_of(node: Node) -> list[int]:
    """The numbers of the buffers of a node."""
    kind = kind_of(node)
    if kind in {"array", "bytes", "bytearray"}:
        parts: Any = (node[kind],)
    elif kind == "pickle":
        parts = node[kind] if isinstance(node[kind], list) else ()
    else:
        parts = map(node.get, ("data", "ends", "index", "codes")) if kind == "column" else ()
    return [part for part in parts if type(part) is int]
