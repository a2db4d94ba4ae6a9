"""The wire: the format of all that is sent. All numbers are little-endian.

    connection   hello, challenge, proof, accepted; then any number of exchanges, one after the other
                 or, without TLS: hello, `FULL`; then the end
    exchange     request                           by the client; several may be on their way
                 question                          by the client, behind a request that has one
                 answer, its head, its bytes       by the server, in the order of the requests
                 checksums                         by the server
    checksums    one for each piece that is sent: PIECE bytes; the last has up to REST more, or fewer

An error is an answer with a status and no bytes. Anything else that arrives ends the connection.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

MAGIC = b"outlive\x03"  # the last byte is the version of this format
NONCE = 32  # bytes
PIECE = 1 << 20  # bytes
REST = 64 << 10  # bytes: a shorter rest is part of the piece before, so that an array of 1 MiB and its header are one
LONGEST_HEAD, LONGEST_QUESTION = 1 << 20, 1 << 20  # bytes
WHOLE = (1 << 64) - 1
"""The end of a request that reads to the end of the file."""

HELLO = struct.Struct(f"<8s{NONCE}s64s64s")  # MAGIC, nonce, the client's node, the server's node
CHALLENGE = struct.Struct(f"<{NONCE}s32s")  # nonce, proof
PROOF = struct.Struct("<32s")
ACCEPTED = b"\x01"
FULL = (b"outlive: too many connections").ljust(CHALLENGE.size, b"\0")
"""The answer of a server that has too many connections: as long as a challenge, and no proof."""

_REQUEST = struct.Struct("<BB6x16sQQQ")
_ANSWER = struct.Struct("<B3xIQ")
REQUEST_SIZE, ANSWER_SIZE = _REQUEST.size, _ANSWER.size

_READ, _ASK = 1, 2  # the kinds of requests
_COPIES = 1  # the only flag of a request

OK, GONE, FAILED = range(3)
"""The status of an answer: bytes follow; there is no such array; the server met an error."""


class Malformed(Exception):
    """The bytes that came are no frame of this format."""


class Request(NamedTuple):
    """A request for bytes `begin` to `end` of an array's file."""

    array_id: str  # 32 hexadecimal digits
    begin: int
    end: int  # or WHOLE
    epoch: int = 0  # if the array is not sealed yet: the epoch under which the server's shelf may seal it
    copies: bool = False
    """Whether the client makes a copy. The server then marks the file as *copied* before it sends the first byte."""

    def packed(self) -> bytes:
        return _REQUEST.pack(
            _READ, _COPIES * self.copies, bytes.fromhex(self.array_id), self.begin, self.end, self.epoch
        )


class Question(NamedTuple):
    """A request that the server's owner answers: as an answer's head, with no bytes of a file."""

    size: int  # bytes of the question, which follow

    def packed(self) -> bytes:
        return _REQUEST.pack(_ASK, 0, b"", 0, self.size, 0)


def request(frame: bytes) -> Request | Question:
    """Unpack a request from `REQUEST_SIZE` bytes. Raises Malformed."""
    kind, flags, array_id, begin, end, epoch = _REQUEST.unpack(frame)
    if kind == _ASK and end <= LONGEST_QUESTION:
        return Question(end)
    if kind != _READ or flags & ~_COPIES or begin > end:
        raise Malformed(f"a request of kind {kind}, with flags {flags}, from {begin} to {end}")
    return Request(array_id.hex(), begin, end, epoch, bool(flags & _COPIES))


def piece(left: int) -> int:
    """How many of the bytes that are left are the next piece."""
    return left if left < PIECE + REST else PIECE


def checksums(found: Sequence[int]) -> bytes:
    """Checksums as they are sent: four bytes each."""
    return struct.pack(f"<{len(found)}I", *found)


class Answer(NamedTuple):
    """The frame that comes before the head and the bytes."""

    status: int
    size: int = 0  # bytes of the file that follow the head
    head: int = 0  # bytes of the head

    def packed(self) -> bytes:
        return _ANSWER.pack(self.status, self.head, self.size)


def answer(frame: bytes) -> Answer:
    """Unpack an answer from `ANSWER_SIZE` bytes. Raises Malformed."""
    status, head, size = _ANSWER.unpack(frame)
    if status > FAILED or head > LONGEST_HEAD or (status != OK and size):
        raise Malformed(f"an answer of status {status}, with {head} bytes of a head, and {size} more")
    return Answer(status, size, head)
