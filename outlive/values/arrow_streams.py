"""Streams of Arrow's format are looked through as they are written, and before a library reads untrusted ones.

A library that reads one takes as much memory as its messages say, and calls the code of each extension type that a
program registered and the stream names. Some of these types run a pickle. So what outlive would not have written is
refused: such types, compressed bodies, and messages that promise more than their bytes hold.

Source: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from outlive.values.arrow_layouts import I16, I64, U8, Schema, metadata
from outlive.values.flatbuffers import Message, Table
from outlive.values.scattered import Scattered

_BEGIN = struct.Struct("<Ii")  # a mark, and the bytes of the metadata
_MARK, _VERSION = 0xFFFFFFFF, 4  # metadata of version V5
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_WORD = 8


def look_through(data: memoryview | Scattered, *, only_text: bool = False) -> int:
    """The number of batches in a stream of which a library may read all, once nothing in it is found to be wrong.

    Parameters
    ----------
    only_text
        Dictionaries may hold text only: a library that makes each row's value of any other takes any memory.

    Raises
    ------
    ValueError
        The stream is damaged, or has what outlive does not let a stream have. The message says what.
    """
    try:
        return _look_through(data, only_text=only_text)
    except struct.error:
        raise ValueError("an offset leads outside its message") from None


def _look_through(data: memoryview | Scattered, *, only_text: bool) -> int:
    messages = _messages(data)
    kind, header, _ = next(messages, (0, None, 0))
    if kind != _SCHEMA or header is None:
        raise ValueError("a stream without a schema")
    schema, batches, given = Schema(header, only_text=only_text), 0, set[int]()
    for kind, header, body in messages:
        if kind == _DICTIONARY:
            given.add(_check_dictionary(schema, header, body))
        elif kind == _BATCH and given == schema.dictionaries.keys():
            schema.batch.check(header, body)
            batches += 1
        else:
            raise ValueError("a message of another kind than expected")
    return batches


def _messages(data: memoryview | Scattered) -> Iterator[tuple[int, Table, int]]:
    """The kind and header of each message, and the bytes of its body."""
    if sys.byteorder != "little":  # what is stored is in the order of this machine
        raise ValueError("streams are read on machines with the usual byte order only")
    at = 0
    while True:
        mark, length = _BEGIN.unpack(data[at : at + _BEGIN.size])
        at += _BEGIN.size
        if mark != _MARK or length < 0 or length % _WORD or length > len(data) - at:
            raise ValueError("a message without a beginning")
        if not length:
            break
        message = Message(data[at : at + length].tobytes()).root()
        at += length
        metadata(message, 4)
        body, header = message.number(3, I64), message.table(2)
        if not 0 <= body <= len(data) - at or body % _WORD:
            raise ValueError("a message ends outside the stream")
        at += body
        if message.number(0, I16) != _VERSION or header is None:
            raise ValueError("a message of another version")
        yield message.number(1, U8), header, body
    if at != len(data):
        raise ValueError("it has bytes behind its end")


def _check_dictionary(schema: Schema, header: Table, body: int) -> int:
    number, batch = header.number(0, I64), header.table(1)
    if number not in schema.dictionaries or batch is None or header.number(2, U8):
        raise ValueError("a dictionary that its schema does not have, or a part of one")
    schema.dictionaries[number].check(batch, body)
    return number
