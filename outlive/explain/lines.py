"""Lines of Ray's logs (with "repeated 3x across cluster"), and lines of files."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from outlive.explain.frames import FramedLine

LONGEST = 1 << 16  # bytes of a line: a longer line is read as several
_REPEATED = re.compile(r"(?<!\s)\s*\[repeated (\d{1,9})x across cluster\].*")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CleanLine:
    """A line's number (from 1), who wrote it, its text, and how often Ray says that it was written.

    `head` is what a logger put in front of it (time, level), without digits: the lines of one record have the same.
    """

    number: int
    writer: str
    text: str
    count: int = 1
    head: str = ""


def clean(line: FramedLine) -> CleanLine:
    """Take off Ray's remark on how often the line was written."""
    text, count = line.text, 1
    if "across cluster]" in text and (match := _REPEATED.search(text)):
        count, text = max(1, int(match[1])), text[: match.start()]
    return CleanLine(line.number, line.writer, text, count, line.head)


def of_file(file: BinaryIO, total: int, progress: Progress | None = None) -> Iterator[str]:
    """The lines of a file in any state: undecodable bytes are replaced, endless lines are cut.

    Parameters
    ----------
    total
        Its size in bytes, for `progress`; 0 if unknown.
    progress
        Called now and then with the bytes read so far and `total`.
    """
    done = reported = 0
    utf16: codecs.IncrementalDecoder | None = None
    rest = ""  # of a line of UTF-16: other characters too have the byte that ends a line
    while line := file.readline(LONGEST):
        done += len(line)
        if progress is not None and done - reported >= 1 << 20:
            progress(done, max(total, done))
            reported = done
        if done == len(line) and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            utf16 = codecs.getincrementaldecoder("utf-16")("replace")  # the encoding of PowerShell's `>`
        if utf16 is None:
            yield line.decode("utf-8", "replace")
        else:
            *whole, rest = (rest + utf16.decode(line).removeprefix("\ufeff")).split("\n")
            yield from whole
            if len(rest) >= LONGEST:
                yield rest
                rest = ""
    if rest:
        yield rest


def of_text(text: str) -> Iterable[str]:
    """The lines of a string; endless ones are cut."""
    return of_file(io.BytesIO(text.encode("utf-8", "surrogatepass")), 0)
