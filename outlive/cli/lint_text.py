"""The report of `outlive lint` as text: each finding with the source that it is about, or on one line."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from outlive.cli.plain import echo, style
from outlive.units import count

if TYPE_CHECKING:
    from outlive.lint.finding import Finding
    from outlive.lint.run import Report

_TAB = "    "
_LONGEST = 200  # columns of a source line where no terminal sets a width
_LEAST = 40
_CUT = "..."
# by a terminal, in lines of a source: all but a tab and the end of a line
_ACTED_UPON = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")


def show(report: Report, *, concise: bool, to_stderr: bool) -> None:
    """Print a report. `concise`: a line for each finding, and nothing of its source."""
    stream = sys.stderr if to_stderr else sys.stdout
    for difference in report.diffs:  # in a pipe as it is, so that `patch` can read it
        stream.write(_ACTED_UPON.sub("\ufffd", difference) if stream.isatty() else difference)
    for done in report.fixed:
        where = style(f"{_printable(done.path)}:{done.line}:{done.column}", bold=True)
        echo(f"{where}: {style('fixed', fg='green')} {done.code} {done.name}", err=to_stderr)
    room = max(_LEAST, shutil.get_terminal_size().columns) if stream.isatty() else None
    sources = _Sources(report)
    for found in report.findings:
        lines = [_concise(found)] if concise else _full(found, sources, room)
        echo("\n".join(lines), err=to_stderr)
    for failure in report.failures:
        echo(style("error: ", "red", bold=True), nl=False, err=True)
        where = f":{failure.line}:{failure.column}" if failure.line else ""
        echo(_printable(f"{failure.path}{where}: {failure.message}"), err=True)
    if report.notebooks:
        echo(f"note: {count(report.notebooks, 'notebook')} not linted: jupyter nbconvert --to script", err=True)
    if not report.files and not report.failures:
        echo("note: no Python files there", err=True)
    echo(_summary(report), err=to_stderr)


def _summary(report: Report) -> str:
    said = f"{count(report.files, 'file')} linted: "
    said += count(len(report.findings), "finding") if report.findings else "no findings"
    if report.fixed:
        said += f", {len(report.fixed)} fixed"
    if report.failures:
        said += f", {count(len(report.failures), 'error')}"
    return said


def _concise(found: Finding) -> str:
    where, code, rest = _parts(found)
    return f"{where}: {code} {rest}{' (--fix does it)' if found.edit else ''}"


def _parts(found: Finding) -> tuple[str, str, str]:
    where = style(f"{_printable(found.path)}:{found.line}:{found.column}", bold=True)
    return where, style(found.code, "red", bold=True), f"{found.name}: {found.message}"


def _full(found: Finding, sources: _Sources, room: int | None) -> Iterator[str]:
    """A finding: what, the source line with carets below, why, and the fix. A blank line ends it."""
    where, code, rest = _parts(found)
    taken = len(f"{found.path}:{found.line}:{found.column}: {found.code} ")
    first, *more = _wrapped(rest, room, taken, "    ")
    yield f"{where}: {code} {first}"
    yield from more
    yield from _source(found, sources.line(found), room)
    mended = " (--fix does it)" if found.edit else ""
    for label, text in (("why", found.why), ("fix", found.fix + mended)):
        first, *more = _wrapped(text, room, 9, " " * 9)
        yield f"    {style(label, fg='cyan')}: {first}"
        yield from more
    yield ""


def _wrapped(text: str, room: int | None, taken: int, indent: str) -> list[str]:
    """The lines of a text whose first line begins at column `taken`; one line if no terminal sets a width."""
    if room is None:
        return [text]
    lines = textwrap.wrap(
        f"{'x' * min(taken, room - 1)} {text}",
        room,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines[0] = lines[0].lstrip("x").lstrip(" ")
    return lines


def _source(found: Finding, line: str | None, room: int | None) -> Iterator[str]:
    """The source line of a finding, and carets below what it is about."""
    if line is None or not 1 <= found.column <= len(line) + 1:
        return
    end = found.end_column if found.end_line == found.line else len(line) + 1
    before, about, after = line[: found.column - 1], line[found.column - 1 : end - 1], line[end - 1 :]
    before, about, after = _printable(before), _printable(about.rstrip() or " "), _printable(after)
    number = str(found.line)
    width = max(_LEAST // 2, (_LONGEST if room is None else room) - len(number) - 3)
    if _columns(before) > width // 2:  # so that there is room for what the finding is about
        before = _CUT + _last(before, width // 2 - len(_CUT))
    text = _first(before + about + after, width)
    carets = max(1, min(_columns(about), width - _columns(before)))
    bar = style("|", "blue")
    yield f"{' ' * len(number)} {bar}"
    yield f"{style(number, fg='blue')} {bar} {text}".rstrip()
    yield f"{' ' * len(number)} {bar} {' ' * _columns(before)}{style('^' * carets, fg='red', bold=True)}"


def _printable(text: str) -> str:
    """A part of a line, or a file's name, without control sequences for a terminal, tabs as spaces."""
    text = text.replace("\t", _TAB)
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _columns(text: str) -> int:
    """The columns of a terminal that a text takes."""
    return sum(_width(letter) for letter in text)


def _width(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _first(text: str, width: int) -> str:
    """A text, cut at its end if it is wider than `width`."""
    if _columns(text) <= width:
        return text
    taken = len(_CUT)
    for index, letter in enumerate(text):
        taken += _width(letter)
        if taken > width:
            return text[:index] + _CUT
    return text


def _last(text: str, width: int) -> str:
    """The last letters of a text, as many as fit."""
    taken = 0
    for index in range(len(text), 0, -1):
        taken += _width(text[index - 1])
        if taken > width:
            return text[index:]
    return text


class _Sources:
    """The lines of the files that a report is about. Findings come file by file, so one is kept at a time."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._path: str | None = None
        self._lines: list[str] = []

    def line(self, found: Finding) -> str | None:
        """The line of a finding; None if it cannot be read any more."""
        if found.path != self._path:
            self._path, self._lines = found.path, self._read(found.path)
        return self._lines[found.line - 1] if found.line <= len(self._lines) else None

    def _read(self, path: str) -> list[str]:
        from outlive.lint.run import STDIN
        from outlive.lint.text import Unreadable, decode

        try:
            data = self._report.output if path == STDIN else Path(path).read_bytes()
            return re.split(r"\r\n?|\n", decode(data).code)
        except (OSError, Unreadable):
            return []
