"""Frames: the text that loggers, log collectors, terminals and people put around each line. It is taken off here.

A line may stand in several frames (a pod's name, a time, a logger's header); they are taken off from left to right.
An unknown kind of frame is recognised by text that lines have in common in front of Ray's own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from outlive.explain.packed import unpack, without_colours
from outlive.explain.wrapped import joins

_AT_A_TIME = 400  # lines that are examined together
_DEEPEST = 8  # frames around one line
_MOST_LEARNED = 16  # frames of unknown kinds that are remembered at a time
_MOST_KINDS = 20
_FAR = 6  # lines before and after in which a frame of an unknown kind must appear again
_LONGEST = 160  # characters of a frame of an unknown kind

_LEVEL = r"(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|ERR|CRITICAL|CRIT|FATAL|SEVERE)"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,:]\d{1,9})?"
_TIME = (
    rf"(?:\d{{4}}[-/.]\d\d[-/.]\d\d[T ,_]{{1,2}}{_CLOCK}|\d\d[-/]\d\d {_CLOCK}|{_CLOCK}|"
    rf"(?:[A-Z][a-z][a-z],? )?{_MONTH} [ \d]\d {_CLOCK}(?: \d{{4}})?|\d\d?[/ ]{_MONTH}[/ ]\d{{4}}[: ]{_CLOCK})"
    r"(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)(?![\w:]))?"
)
_RAYS_HEADER = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z] \d+ \d+\]"
_SOURCE = r"[\w./\-]+\.(?:py|pyx|cc|h|cpp|cu|go|rs|java|scala):\d+"
_WRITER = (
    r"\((?:(?:[^()\n]|\([^()\n]{0,100}\)){1,200}?[ ,])?(?:pid=\d+(?:, ip=[^()\s]{1,60})?|raylet|autoscaler|gcs_server)"
    r"(?:, ip=[^()\s]{1,60})?\) ?"
)
_BEGIN = re.compile(
    rf"(?P<writer>{_WRITER})"
    rf"|(?!{_RAYS_HEADER})(?P<time>\[{_TIME}[^\[\]\n]{{0,100}}\]|[(<]?{_TIME}[)>]?(?=[\s|\],]|$))"
    rf"|(?P<glog>[IWEF]\d{{4}} {_CLOCK} +\d+ [^\s\]]{{1,80}}\] ?)"
    rf"|(?P<level>\[{_LEVEL}\]:?|{_LEVEL}(?=[\s:]|$):?)"
    r"|(?P<source>\[(?:pod|container|deployment|job)/[^\]\s]{1,200}\] ?"
    r"|\[(?:rank|default|worker|node|host|task|proc|gpu|local_rank)[\w.\-]{0,60}\]:? ?"
    r"|\[\d{1,5},\d{1,5}\]<std(?:out|err|diag)>:"
    r"|[\w.\-/]{0,100}[ \t]{0,40}\|(?: |$)(?!\|))"
    r"|(?P<mark>E {3}|(?:> ?){1,6}(?!>)|<\d{1,3}>(?:1 )?|\d{1,4}: |[\x00-\x08\x0e-\x1a]+)"
)
_GOES_ON = re.compile(
    rf"[ \t]{{0,10}}(?!{_RAYS_HEADER})(?:\[?{_LEVEL}\]?(?=[\s:|\]-]|$):?|(?:stdout|stderr) [FP]\b|--|[-|:](?=[ \t]|$)"
    rf"|(?P<source>[\w.\-]{{1,100}} (?:[\w.\-/()]{{1,60}}\[\d+\]|kernel|dockerd|containerd):)"
    rf"|\[(?!Timeout|Errno|OBJECT_|system:|repeated)[\w.:/@%\-<>]{{1,80}}\](?=[\s:\[]|$)|\{{[\w.:/\-]{{1,80}}\}}"
    rf"|{_SOURCE}(?::\w+)?[\]:]?(?=\s|$)|[\w.<>]{{1,80}}:[\w.<>]{{1,80}}:\d+(?= - | \| )|:[\w.]{{1,60}}:"
    rf"|{_TIME}(?=\s|\]|$)"
    r"|[\w.\-/]{1,60}(?= (?:-|\|) )|\[ *\d{1,9}\.\d{6}\]|\d{1,7}(?= [\w./]{1,60}\.(?:cc|h|py):\d))"
)
_ANCHOR = re.compile(
    r"ray\.exceptions\.(?:[A-Z]\w+|RayTaskError\(\w+\)): |Traceback \(most recent call last\):"
    r"|  File \"[^\"\n]{1,300}\", line \d"
    r"|The actor is dead because|The actor died unexpectedly|\t(?:class_name|actor_id): |The object's owner has exited"
    r"|Memory on the node \(IP|PID\tMEM\(GB\)\tCOMMAND|\{\"\w{1,30}\": |" + _WRITER + "|" + _RAYS_HEADER
)
_ANCHOR_WORDS = ("ray.exceptions.", "Traceback (", '  File "', "The actor ", "\tclass_name", "owner has exited",
                 "Memory on the node", "PID\tMEM", "pid=", "(raylet)", " E ", " W ", " C ", '{"')  # fmt: skip
_OWN = re.compile(r"ray::|Error|Exception|Removed")  # Ray's own words are not a frame
_DIGITS = re.compile(r"\d+")


@dataclass
class FramedLine:
    """A line on its way out of its frames.

    Attributes
    ----------
    number
        Of the line of the text that holds it, from 1.
    text
        What is left of it.
    writer
        Who wrote it: Ray's own prefixes, and names of pods, containers and hosts.
    head
        What else stood in front, without its digits: lines of one record have the same.
    frame
        All of what stood in front.
    """

    number: int
    text: str
    writer: str = ""
    head: str = ""
    frame: str = ""
    open: bool = True


@dataclass
class Unframer:
    """Takes the frames off lines.

    Attributes
    ----------
    kinds
        By a frame without its digits: its first example, and how many lines stood in such a one.
    """

    kinds: dict[str, tuple[str, int]] = field(default_factory=dict)
    _learned: list[re.Pattern[str]] = field(default_factory=list)

    def lines(self, raw: Iterable[tuple[int, str]]) -> Iterator[FramedLine]:
        """The lines without their frames. A line that holds several gives several."""
        waiting: list[FramedLine] = []
        for number, text in raw:
            waiting.append(FramedLine(number, text.rstrip("\r\n")))
            if len(waiting) == _AT_A_TIME:
                yield from self._unframed(waiting)
                waiting = []
        yield from self._unframed(waiting)

    def _unframed(self, lines: list[FramedLine]) -> list[FramedLine]:
        lines = _unwrapped(lines)
        for _ in range(_DEEPEST):
            lines = [inner for line in lines for inner in (_opened(line) if line.open else (line,))]
            self._learn(lines)
            for line in lines:
                self._take_learned(line)
            if not any(line.open for line in lines):
                whole = _unwrapped(lines)
                if len(whole) == len(lines):
                    break
                lines = whole
        for line in lines:
            if line.frame:
                self._note(line.frame)
        return lines

    def _note(self, frame: str) -> None:
        kind = _DIGITS.sub("0", frame)
        if kind in self.kinds or len(self.kinds) < _MOST_KINDS:
            example, count = self.kinds.get(kind, (frame[:200], 0))
            self.kinds[kind] = example, count + 1

    def _take_learned(self, line: FramedLine) -> None:
        for pattern in self._learned:
            if line.text and (match := pattern.match(line.text)):
                _take(line, match, "head")
                return

    def _learn(self, lines: list[FramedLine]) -> None:
        for at, line in enumerate(lines):
            if not any(word in line.text for word in _ANCHOR_WORDS):
                continue
            anchor = _ANCHOR.search(line.text, 1)
            if anchor is None or anchor.start() > _LONGEST:
                continue
            front = line.text[: anchor.start()]
            if not front.strip():
                _unindent(lines, at, front)
            elif not _ANCHOR.search(front) and not _OWN.search(front):
                self._learn_front(front, lines, at)

    def _learn_front(self, front: str, lines: list[FramedLine], at: int) -> None:
        shape = re.compile(_shape(front))
        if any(known.pattern == shape.pattern for known in self._learned):
            return
        near = [line for line in lines[max(0, at - _FAR) : at + _FAR + 1] if line.text.strip()]
        alike = sum(shape.match(line.text) is not None for line in near)
        if alike >= min(3, max(2, len(near))):
            self._learned = [*self._learned[-_MOST_LEARNED + 1 :], shape]


def _unwrapped(lines: list[FramedLine]) -> list[FramedLine]:
    """Join lines of one writer that were broken at a fixed width."""
    broken = set(joins([line.text for line in lines]))
    if not broken:
        return lines
    whole: list[FramedLine] = []
    for at, line in enumerate(lines):
        if at - 1 in broken and whole[-1].writer == line.writer:
            whole[-1].text, whole[-1].open = whole[-1].text + line.text, True
        else:
            whole.append(line)
    return whole


def _shape(front: str) -> str:
    """A pattern for `front` with any digits. Its last blanks may be missing if the line is empty."""
    body = front.rstrip()
    blanks = re.escape(front[len(body) :])
    shape = re.sub(r"(?:\\[ \t])+", "[ \\\\t]+", re.escape(_DIGITS.sub("0", body))).replace("0", r"\d+")
    shape = shape.replace("[ \\t]+", "[ \\t]*", 1) if body[:1].isspace() else shape
    return shape + (f"(?:{blanks}|[ \\t]*$)" if blanks else "")


def _opened(line: FramedLine) -> Iterator[FramedLine]:
    """Take all frames of known kinds off a line."""
    waiting = [line]
    while waiting:
        one = waiting.pop(0)
        one.text = without_colours(one.text)
        for _ in range(_DEEPEST):
            if not _peel(one):
                break
        if len(waiting) < 10_000 and (held := unpack(one.text)) is not None and held != [one.text]:
            waiting[:0] = [FramedLine(one.number, text, one.writer, one.head, one.frame) for text in held]
        else:
            one.open = False
            yield one


def _peel(line: FramedLine) -> bool:
    match = _BEGIN.match(line.text)
    if match is None or not match[0]:
        return False
    kind = match.lastgroup or "head"
    if kind not in {"time", "level"}:
        _take(line, match, kind)
        return True
    end, source = match.end(), ""
    while (more := _GOES_ON.match(line.text, end)) and more.end() > end:
        end, source = more.end(), more["source"] or source
    head = line.text[:end]
    end += line.text[end : end + 1] in {" ", "\t"}
    line.frame += line.text[:end]
    line.head += _DIGITS.sub("0", head)
    line.writer = f"{line.writer} {source}".strip()
    line.text = line.text[end:]
    return True


def _take(line: FramedLine, match: re.Match[str], kind: str) -> None:
    front = match[0]
    line.frame += front
    if kind in {"writer", "source"}:
        line.writer = f"{line.writer} {front.strip(' |')}".strip()
    elif kind != "mark":
        line.head += _DIGITS.sub("0", front.strip())
    line.text = line.text[match.end() :]
    line.open = True


def _unindent(lines: list[FramedLine], at: int, blanks: str) -> None:
    """Take common blanks off a line of Ray and the lines around it."""
    for step in (1, -1):
        here = at if step == 1 else at - 1
        while 0 <= here < len(lines) and (lines[here].text.startswith(blanks) or not lines[here].text.strip()):
            lines[here].text, lines[here].open = lines[here].text.removeprefix(blanks), True
            here += step
