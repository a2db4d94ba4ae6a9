"""The wire of calls. All numbers are little-endian.

    connection   hello, challenge, proof, accepted: those of `outlive.transfer`; then requests and their answers
    request      HEAD, then [method, arguments] as msgpack
    answer       HEAD, then a value as msgpack, or the text of an error

MessagePack is plain data, and cannot run code. It carries `bytes` as they are, which JSON does not. Anything else that
arrives ends the connection.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]

HEAD = struct.Struct("<IIB3x")  # bytes that follow, the number of the call, its kind
LONGEST_REQUEST, LONGEST_ANSWER = 1 << 20, 16 << 20  # bytes
LINE = 16  # bytes of a connection's name
NAME = "\0line"
"""The method of the first call on a connection, which gives it its name."""

ASKED, DONE, NOT_HERE, RAISED, NOT_NOW = range(5)
"""The kind of a frame: a request; its answer; the server has no answer, and has to be asked in another way; the text of
the error that the call raised; the server may not answer, and perhaps another does."""


class Malformed(Exception):
    """The bytes that came are no frame of this format."""


class TooLong(Exception):
    """The content is too long for a frame, or a frame cannot carry it."""


class Frame(NamedTuple):
    """A frame of any kind."""

    number: int
    kind: int
    body: bytes


def request(number: int, method: str, args: Sequence[Any]) -> bytes:
    """Pack a request. Raises TooLong."""
    return _frame(number, ASKED, [method, args], LONGEST_REQUEST)


def answer(number: int, value: Any) -> bytes:
    """Pack an answer. Raises TooLong."""
    return _frame(number, DONE, value, LONGEST_ANSWER)


def no_answer(number: int, kind: int = NOT_HERE) -> bytes:
    """Pack the answer that the caller has to ask in another way: NOT_HERE or NOT_NOW."""
    return HEAD.pack(0, number, kind)


def raised(number: int, text: str) -> bytes:
    """Pack the text of the error that a call raised. Raises TooLong."""
    return _frame(number, RAISED, text, LONGEST_ANSWER)


def asked(body: bytes) -> tuple[str, list[Any]]:
    """Method and arguments of a request. Raises Malformed."""
    found = value(body)
    if not (isinstance(found, list) and len(found) == 2 and isinstance(found[0], str) and isinstance(found[1], list)):
        raise Malformed("a request without a method")
    return found[0], found[1]


def value(body: bytes) -> Any:
    """The value of an answer. Raises Malformed."""
    try:
        return msgpack.unpackb(body, unicode_errors="surrogatepass")
    except (ValueError, TypeError, RecursionError, OverflowError, msgpack.UnpackException) as error:
        raise Malformed(f"{len(body)} bytes that are no MessagePack: {type(error).__name__}") from error


class Frames:
    """Puts frames together from the bytes that arrive.

    Parameters
    ----------
    kinds
        The kinds of frames that may come.
    longest
        The most bytes of a frame's body.
    """

    def __init__(self, kinds: Sequence[int], longest: int) -> None:
        self._kinds, self._longest, self._rest = frozenset(kinds), longest, bytearray()

    def take(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises Malformed.

        This is no generator: a caller would leave it before its end, and Python swallows what a signal handler raises
        while it drops a generator.
        """
        rest = self._rest
        rest += data
        frames, begin = list[Frame](), 0
        while len(rest) - begin >= HEAD.size:
            size, number, kind = HEAD.unpack_from(rest, begin)
            if kind not in self._kinds or size > self._longest:
                raise Malformed(f"a frame of kind {kind} and {size} bytes")
            end = begin + HEAD.size + size
            if len(rest) < end:
                break
            frames.append(Frame(number, kind, bytes(rest[begin + HEAD.size : end])))
            begin = end
        del rest[:begin]
        return frames


def _frame(number: int, kind: int, content: Any, longest: int) -> bytes:
    try:
        body: bytes = msgpack.packb(content, unicode_errors="surrogatepass")
    except (TypeError, ValueError, OverflowError) as error:
        raise TooLong(f"{type(content).__name__}: {error}") from error
    if len(body) > longest:
        raise TooLong(f"{len(body)} bytes")
    return HEAD.pack(len(body), number, kind) + body
