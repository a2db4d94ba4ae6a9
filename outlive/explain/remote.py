"""Tracebacks of tasks, as Ray brings them to the caller: `ray::make() (pid=7, ip=...)`, frames, and the exception.

Ray leaves out its own frames. So the first remaining frame and the last line say where the exception was raised: in the
task's own code, or while Ray carried its result. The tracebacks of causes ("direct cause of") are not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from outlive.explain.lines import CleanLine
from outlive.explain.literals import compiled
from outlive.explain.model import Entry, Line, Occurrence

_MOST_WRITERS = 1_000  # writers whose unfinished tracebacks are remembered at a time
_BEGINS = re.compile(r"(?:^|[\s:])ray::[^\s(].{0,300}?\(pid=\d+")
_FRAME = re.compile(r'\s*File "')
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?:: |:?$)")
_LOOKED_AT = 2  # lines after the exception: an empty line in a log collector's record does not look blank
_GOES_ON = ("The above exception was the direct cause", "During handling of the above exception")


@dataclass
class _Traceback:
    """A traceback that is being read: its lines so far, without the frames in the middle."""

    first: Line
    count: int
    frame: Line | None = None
    last_frame: Line | None = None
    exception: Line | None = None
    after: int = 0  # lines that followed the exception

    def occurrence(self, entry: Entry) -> Occurrence:
        lines = [self.first, self.frame, self.last_frame, self.exception]
        return Occurrence(entry.name, [line for line in dict.fromkeys(lines) if line is not None], self.count)


class RemoteTracebacks:
    """Takes the lines of a text, and finds the tracebacks of tasks that an entry explains. It keeps writers apart."""

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self._entries = [(entry, *entry.remote) for entry in entries if entry.remote]
        self._open: dict[str, _Traceback] = {}

    def take(self, line: CleanLine) -> tuple[Entry, Occurrence] | None:
        """Take a line. Returns the traceback that ended before it: only later lines show that it has ended."""
        found = self._open.get(line.writer)
        begins = "ray::" in line.text and _BEGINS.search(line.text) is not None
        ended = None
        if found is not None and found.exception is not None:
            found.after += bool(line.text.strip())
            if line.text.startswith(_GOES_ON):
                del self._open[line.writer]
            elif begins or found.after > _LOOKED_AT:
                ended = self._known(self._open.pop(line.writer))
        elif found is not None and not begins:
            self._go_on(found, line)
        if begins:
            self._begin(line)
        return ended

    def rest(self) -> Iterator[tuple[Entry, Occurrence]]:
        """The tracebacks that ended with the text."""
        for found in self._open.values():
            if found.exception is not None and (known := self._known(found)):
                yield known
        self._open.clear()

    def _begin(self, line: CleanLine) -> None:
        if len(self._open) >= _MOST_WRITERS:
            del self._open[next(iter(self._open))]
        self._open[line.writer] = _Traceback(_kept(line), line.count)

    def _go_on(self, found: _Traceback, line: CleanLine) -> None:
        if _FRAME.match(line.text):
            found.last_frame = _kept(line)
            found.frame = found.frame or found.last_frame
        elif line.text[:1].isspace() or not line.text.strip():
            return  # source code, or marks below it
        elif found.frame is not None and _EXCEPTION.match(line.text):
            found.exception = _kept(line)
        else:
            del self._open[line.writer]

    def _known(self, found: _Traceback) -> tuple[Entry, Occurrence] | None:
        assert found.frame is not None and found.exception is not None
        for entry, frame, exception in self._entries:
            if compiled(frame).search(found.frame.text) and compiled(exception).search(found.exception.text):
                return entry, found.occurrence(entry)
        return None


def _kept(line: CleanLine) -> Line:
    return Line(line.number, line.text, line.writer)
