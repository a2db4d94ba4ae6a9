"""The wire: what is sent, byte by byte. All numbers are little-endian.

    connection   hello, challenge, proof, accepted; then any number of exchanges, one after the other
                 or, without TLS, `FULL` instead of a challenge, and then the end
    exchange     request                           by who asks; several may be on their way
                 answer, its head, its bytes       by who serves, in the order of the requests
                 checksums
    checksums    one for each PIECE bytes of the file, and for what is left of them at the end

An error is an answer with a status and no bytes. Whatever else is sent ends the connection.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

MAGIC = b"outlive\x01"  # its last byte: the version of what is sent
NONCE = 32  # bytes
PIECE = 1 << 20  # bytes
LONGEST_HEAD = 1 << 20  # bytes
WHOLE = (1 << 64) - 1
"""The end of a request for all that follows its beginning."""

HELLO = struct.Struct(f"<8s{NONCE}s64s64s")  # MAGIC, nonce, who asks, who shall answer
CHALLENGE = struct.Struct(f"<{NONCE}s32s")  # nonce, proof
PROOF = struct.Struct("<32s")
ACCEPTED = b"\x01"
FULL = (b"outlive: too many connections").ljust(CHALLENGE.size, b"\0")
"""What a server says that has no place for one more connection: as long as a challenge, and no proof."""

_REQUEST = struct.Struct("<BB6x16sQQQ")
_ANSWER = struct.Struct("<B3xIQ")
REQUEST_SIZE, ANSWER_SIZE = _REQUEST.size, _ANSWER.size

_READ = 1  # the kind of a request
_COPIES = 1  # its flag

OK, GONE, FAILED = range(3)
"""The status of an answer: bytes follow; there is no such array; whoever serves met an error."""


class Malformed(Exception):
    """What came is no frame."""


class Request(NamedTuple):
    """For bytes `begin` to `end` of the file of an array."""

    array_id: str  # 32 hexadecimal digits
    begin: int
    end: int  # or WHOLE
    epoch: int = 0  # of the listing under which the array may be sealed first
    copies: bool = False
    """Whether a copy of the array is made of it: it is marked so before the first byte leaves."""

    def packed(self) -> bytes:
        return _REQUEST.pack(
            _READ, _COPIES * self.copies, bytes.fromhex(self.array_id), self.begin, self.end, self.epoch
        )


def request(frame: bytes) -> Request:
    """The request that a frame of `REQUEST_SIZE` bytes is. Raises Malformed."""
    kind, flags, array_id, begin, end, epoch = _REQUEST.unpack(frame)
    if kind != _READ or flags & ~_COPIES or begin > end:
        raise Malformed(f"a request of kind {kind}, with flags {flags}, from {begin} to {end}")
    return Request(array_id.hex(), begin, end, epoch, bool(flags & _COPIES))


def checksums(found: Sequence[int]) -> bytes:
    """As they are sent: four bytes each."""
    return struct.pack(f"<{len(found)}I", *found)


class Answer(NamedTuple):
    """What comes before the bytes."""

    status: int
    size: int = 0  # bytes of the file that follow
    head: int = 0  # bytes of the head, which comes first

    def packed(self) -> bytes:
        return _ANSWER.pack(self.status, self.head, self.size)


def answer(frame: bytes) -> Answer:
    """The answer that a frame of `ANSWER_SIZE` bytes is. Raises Malformed."""
    status, head, size = _ANSWER.unpack(frame)
    if status > FAILED or head > LONGEST_HEAD or (status != OK and size):
        raise Malformed(f"an answer of status {status}, with {head} bytes of a head, and {size} more")
    return Answer(status, size, head)
