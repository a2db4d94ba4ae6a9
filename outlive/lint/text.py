"""The text of a file, decoded as Python does. No parser is needed: that is loaded only for files that mention Ray."""

from __future__ import annotations

import io
import re
import tokenize
from dataclasses import dataclass

_NAMES = re.compile(rb"\b(?:ray|outlive|RAY_\w+)\b")


class Unreadable(ValueError):
    """This file cannot be linted as Python source. The message says why, and where."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line, self.column = line, column


@dataclass(frozen=True)
class Text:
    """Decoded source, and how to encode it again."""

    code: str
    encoding: str

    def encoded(self, code: str) -> bytes:
        """`code` in the encoding of this file.

        Raises
        ------
        UnicodeEncodeError
            It has characters that the encoding lacks.
        """
        return code.encode(self.encoding)


def decode(data: bytes) -> Text:
    """The text of a source file (PEP 263), newlines as they are.

    Raises
    ------
    Unreadable
        The file is binary, or not in the encoding that it declares.
    """
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise Unreadable("not Python source: it has null bytes", line)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return Text(data.decode(encoding), encoding)
    except (SyntaxError, UnicodeError, LookupError) as error:
        raise Unreadable(f"cannot be decoded: {error}") from None


def concerns_ray(data: bytes) -> bool:
    """Whether the source has the name of Ray or outlive. No rule holds in other sources, so they are not parsed."""
    hinted = any(name in data for name in (b"ray", b"outlive", b"RAY_"))  # much faster than the pattern
    return hinted and _NAMES.search(data) is not None
