"""Finds Ray's errors in a text, in one pass with bounded work and memory per line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from outlive.explain.evidence import SIGNALS
from outlive.explain.fixed_text import without_fixed_text
from outlive.explain.frames import Unframer
from outlive.explain.ids import decode
from outlive.explain.judge import judge
from outlive.explain.knowledge import ENTRIES
from outlive.explain.lines import CleanLine, clean
from outlive.explain.literals import compiled, required_words
from outlive.explain.mentions import mentions, subject_ids
from outlive.explain.model import Entry, Explanation, Frame, Line, Occurrence, Reading, Scene, Unknown
from outlive.explain.remote import RemoteTracebacks

_MOST_LINES = 60  # lines of one error's message that are kept
_MOST_KEPT = 20  # occurrences of one kind, and lines of one signal, that are kept; all are counted
_MOST_IDS = 10_000
_LONGEST = 2000  # characters that are kept of a line with a sign, or of an unknown line
_MOST_WRITERS = 1_000  # writers whose unfinished messages are remembered at a time
_SHOWN_IDS = 5

CLASSES = frozenset(name for entry in ENTRIES for name in entry.classes)
_NAMES = "|".join(sorted(CLASSES, key=len, reverse=True))
_AT_START = re.compile(
    rf"\s*(?P<module>(?:\w+\.){{0,8}})(?:RayTaskError\((?P<wrapped>[A-Za-z_]\w*)\)|(?P<name>{_NAMES}))(?=:|\(|\s*$)"
)
_WITHIN = re.compile(
    rf"(?<![\w.])(?P<before>(?:except|raise|import|class|isinstance\()\s*)?(?P<module>ray\.exceptions\.)?"
    rf"(?:RayTaskError\((?P<wrapped>{_NAMES})\)|(?P<name>{_NAMES}))(?P<after>: |\(['\"\u2018\u2019\u201c]|\()"
)
_UNKNOWN = re.compile(
    r"^\s*ray\.exceptions\.(?P<name>[A-Za-z_]\w*)(?=:|\(|\s*$)|"
    r"(?<![\w.])(?<!raise )(?<!except )ray\.exceptions\.(?P<within>[A-Z]\w*)(?=: )"
)
_ENDS = re.compile(
    r"Traceback \(most recent call last\)|During handling of the above|The above exception was the direct cause|"
    r"\[?\d{4}-\d\d-\d\d[ T]|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b|={5,}|-{5,}|"
    r"[A-Za-z_][\w.]*(?:Error|Exception): (?!.*ray\.exceptions)"
)
_FRAME = re.compile(r'\s*File "(?P<path>.{1,1000})", line \d+')
_RAYS_OWN = re.compile(
    r"[/\\]ray[/\\](?:_private|cloudpickle|exceptions|actor|remote_function|util|data|serve|train|tune)|_raylet\.pyx|^python/ray/"
)
_LINE_ENTRIES = tuple((entry, entry.line, required_words(entry.line)) for entry in ENTRIES if entry.line)
_REFINING = tuple(pattern for entry in ENTRIES for pattern, _ in entry.refined)
_WORDS_OF_LINES = tuple({word for _, _, words in _LINE_ENTRIES for word in words})
_WORDS_OF_NAMES = ("Error", "Exception", "Removed", "Exceeded", "NotAvailable", "ActorExit")
_NOT_ONLY_RAYS = frozenset({"AuthenticationError", "RpcError"})  # other libraries have classes of these names
_NUMBERS = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]+\b|\d+")
_ERROR_LINE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [ECF] \d+ \d+\]")  # of Ray's C++ processes
# Errors whose message is Ray's alone: sentences that begin so, each to its full stop, and fields that are indented
_OF_SENTENCES = frozenset(
    {
        *("ActorDiedError", "ActorUnavailableError", "NodeDiedError", "RayActorError", "WorkerCrashedError"),
        *("ObjectFetchTimedOutError", "ObjectFreedError", "ObjectLostError", "ObjectReconstructionFailedError"),
        *("ObjectStoreFullError", "OutOfDiskError", "OwnerDiedError", "ReferenceCountingAssertionError"),
    }
)
_SENTENCE = re.compile(
    r"(?:The|This|All copies|Check|Consider|Fetch for|Failed to|If|Memory on|Please|Some|There|Tip:|To|Worker|You)\b"
    r"|\[OBJECT_|\(\d\) |\(\w+ pid=|[{}]"  # an empty line in a log collector's record does not look blank
)
_FULL_STOP = re.compile(r"(?:[.!)\]]|^\s+\w+: .*)\s*$")
_STATUS = re.compile(r"(?:status = |: )(?P<name>CreationTaskError): ")  # of the GCS


class Reader:
    """Takes the lines of a text one after the other, and explains the errors in them.

    Memory is bounded by the number of kinds of errors, not by the length of the text.
    """

    def __init__(self) -> None:
        self._lines = 0
        self._unframer = Unframer()
        self._open: dict[str, _Block] = {}
        self._remote = RemoteTracebacks(ENTRIES)
        self._groups: dict[str, _Group] = {}
        self._unexplained: Counter[str] = Counter()
        self._unknown: dict[str, Unknown] = {}
        self._signals: list[Line] = []
        self._wanted: dict[str, list[str]] = {}  # entries by a word that a line must contain
        self._found: Counter[str] = Counter()
        for pattern in dict.fromkeys((*SIGNALS, *_REFINING)):
            for word in required_words(pattern):
                self._wanted.setdefault(word, []).append(pattern)

    def read(self, lines: Iterable[str]) -> None:
        """Take lines."""
        for line in self._unframer.lines(self._numbered(lines)):
            self._take(clean(line))

    def _numbered(self, lines: Iterable[str]) -> Iterator[tuple[int, str]]:
        for line in lines:
            self._lines += 1
            yield self._lines, line

    def reading(self) -> Reading:
        """The errors found so far, explained."""
        for block in self._open.values():
            self._close(block)
        self._open.clear()
        for entry, occurrence in self._remote.rest():
            self._group(entry).add(occurrence)
        groups = sorted(self._groups.values(), key=lambda group: not group.is_exception)  # then Ray's log lines
        explanations = tuple(group.explain(tuple(self._signals)) for group in groups)
        frames = sorted(self._unframer.kinds.values(), key=lambda kind: -kind[1])
        return Reading(
            explanations,
            dict(self._unexplained),
            self._lines,
            tuple(Frame(example, count) for example, count in frames),
            tuple(self._unknown.values()),
        )

    def _take(self, line: CleanLine) -> None:
        block = self._open.get(line.writer)
        source_code = block is not None and block.after_frame and line.text.startswith("    ")  # pyx frames have none
        text = without_fixed_text(line.text)
        if known := self._remote.take(line):
            self._group(known[0]).add(known[1])
        telling = (block is None or not block.in_ray) and self._keep_signal(line, text)
        if not source_code and self._begins_error(line, text, block):
            return
        if block is not None:
            if block.is_ended_by(line) or (
                not source_code
                and not block.expects_more(line.text)
                and (_ENDS.match(line.text) or block.is_complete_before(line.text))
            ):
                self._close(self._open.pop(line.writer))
                block = None
            else:
                block.goes_on(line)
                block.add(Line(line.number, text, line.writer))
        if block is None or block.occurrence is None:
            if not self._tell_line(line, text) and not telling and _ERROR_LINE.search(line.text):
                self._note_unknown(line)
            self._note_frame(line)

    def _begins_error(self, line: CleanLine, text: str, block: _Block | None) -> bool:
        """Take an exception in this line. Returns whether there is one."""
        if not any(word in text for word in _WORDS_OF_NAMES):
            return False
        found = _AT_START.match(text)
        if found is None:
            found = _WITHIN.search(text)
            if found is not None and (found["before"] or (found["after"] == "(" and not found["wrapped"])):
                found = None
            if found is not None and found["after"] == ": " and not found["module"]:
                found = None
        if found is None:
            status = _STATUS.search(text)
            if status is not None:
                self._begin(line, text, block, status["name"], wrapped=False)
            else:
                self._note_unknown_class(line)
            return status is not None
        name = found["wrapped"] or found["name"]
        if not _is_of_ray(name, found["module"] or "", text, wrapped=bool(found["wrapped"])):
            return False
        self._begin(line, text, block, name, wrapped=bool(found["wrapped"]))
        return True

    def _begin(self, line: CleanLine, text: str, block: _Block | None, name: str, *, wrapped: bool) -> None:
        """Take the exception in this line: a new one, or the one at the end of its traceback."""
        first = Line(line.number, text, line.writer)
        if block is not None and block.occurrence is not None and block.is_about(name, wrapped=wrapped):
            block.reached(first)
            return
        if block is not None:
            self._close(self._open.pop(line.writer))
        self._open_block(line.writer, _Block(Occurrence(name, [first], line.count), wrapped=wrapped, head=line.head))

    def _note_unknown_class(self, line: CleanLine) -> None:
        found = _UNKNOWN.search(line.text)
        name = (found["name"] or found["within"]) if found else None
        if name is not None and name not in CLASSES and name not in {"RayTaskError", "RayError"}:
            self._unexplained[name] += 1
            self._note_unknown(line)

    def _note_unknown(self, line: CleanLine) -> None:
        """Count it, and keep the first of its kind verbatim."""
        kind = _NUMBERS.sub("0", line.text[:300])
        if (known := self._unknown.get(kind)) is not None:
            self._unknown[kind] = replace(known, count=known.count + line.count)
        elif len(self._unknown) < _MOST_KEPT:
            self._unknown[kind] = Unknown(line.text[:_LONGEST], line.number, line.count)

    def _open_block(self, writer: str, block: _Block) -> None:
        if len(self._open) >= _MOST_WRITERS:
            self._close(self._open.pop(next(iter(self._open))))
        self._open[writer] = block

    def _note_frame(self, line: CleanLine) -> None:
        """Remember that the next line of this writer is source code: exceptions named there were not raised."""
        frame = _FRAME.match(line.text)
        block = self._open.get(line.writer)
        if frame and block is None:
            self._open_block(line.writer, _Block(None, wrapped=False, frame=frame, head=line.head))
        elif block is not None and block.occurrence is None and not frame:
            del self._open[line.writer]

    def _tell_line(self, line: CleanLine, text: str) -> bool:
        if not any(word in text for word in _WORDS_OF_LINES):
            return False
        for entry, pattern, words in _LINE_ENTRIES:
            if any(word in text for word in words) and compiled(pattern).search(text):
                found = re.search(entry.counts, text) if entry.counts else None
                count = line.count * int(found[1]) if found else line.count
                self._group(entry).add(Occurrence(entry.name, [Line(line.number, text, line.writer)], count))
                return True
        return False

    def _keep_signal(self, line: CleanLine, text: str) -> bool:
        found = {
            pattern
            for word, patterns in self._wanted.items()
            if word in text
            for pattern in patterns
            if self._found[pattern] < _MOST_KEPT and compiled(pattern).search(text)
        }
        self._found.update(found)
        if found:
            self._signals.append(Line(line.number, text[:_LONGEST], line.writer))
        return bool(found)

    def _close(self, block: _Block) -> None:
        if block.occurrence is None:
            return
        entry = entry_for(block.occurrence)
        if entry is None:
            self._unexplained[block.occurrence.name] += block.occurrence.count
        else:
            self._group(entry).add(block.occurrence)

    def _group(self, entry: Entry) -> _Group:
        return self._groups.setdefault(entry.name, _Group(entry))


class _Block:
    """The message of one error while it is being read."""

    def __init__(
        self, occurrence: Occurrence | None, *, wrapped: bool, frame: re.Match[str] | None = None, head: str = ""
    ) -> None:
        self.occurrence = occurrence
        self._head = head
        self._bare = False  # whether lines without a head followed
        self._note_frame(frame)
        self._at_full_stop = occurrence is not None and _FULL_STOP.search(occurrence.lines[0].text) is not None
        self._wrapped = wrapped  # a RayTaskError: a remote traceback, and then the error itself, are still to come

    def _note_frame(self, frame: re.Match[str] | None) -> None:
        """Note that the next line is source code, which is no evidence."""
        self.after_frame = frame is not None
        self.in_ray = frame is not None and _RAYS_OWN.search(frame["path"]) is not None

    def is_ended_by(self, line: CleanLine) -> bool:
        """Whether a logger began a new record. Some loggers put a head on each line of a record."""
        return bool(line.head) and (self._bare or line.head != self._head)

    def goes_on(self, line: CleanLine) -> None:
        self._bare = self._bare or (not line.head and bool(self._head) and bool(line.text.strip()))

    def is_about(self, name: str, *, wrapped: bool) -> bool:
        return (
            self._wrapped
            and self.occurrence is not None
            and self.occurrence.name == name
            and not (wrapped and not self._wrapped)
        )

    def reached(self, line: Line) -> None:
        """Take the error itself, after the traceback of its task."""
        self.add(line)
        self._wrapped = "RayTaskError(" in line.text

    def expects_more(self, text: str) -> bool:
        """Whether a line that looks like an end belongs to this message: it begins a remote traceback."""
        remote = self._wrapped or (self.occurrence is not None and self.occurrence.quotes_traceback)
        return remote and not text.startswith(("[", "During", "The above", "=", "-"))

    def is_complete_before(self, text: str) -> bool:
        """Whether this line is another program's, without a logger's head: no sentence of Ray, after a full one."""
        if self.occurrence is None or self._wrapped or self.occurrence.name not in _OF_SENTENCES:
            return False
        return self._at_full_stop and bool(text.strip()) and not text[0].isspace() and not _SENTENCE.match(text)

    def add(self, line: Line) -> None:
        source_code = self.after_frame and line.text.startswith("    ")
        self._note_frame(_FRAME.match(line.text))
        if self.occurrence is None or self.after_frame or source_code:
            return
        if line.text.strip():
            self._at_full_stop = _FULL_STOP.search(line.text) is not None
        if len(self.occurrence.lines) < _MOST_LINES and line.text.strip(" ^~"):
            self.occurrence.lines.append(line)


class _Group:
    """All occurrences that one entry explains."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._kept: list[Occurrence] = []
        self._names: Counter[str] = Counter()
        self._numbers: list[int] = []
        self._ids: Counter[str] = Counter()
        self._count = 0

    @property
    def is_exception(self) -> bool:
        return bool(self._entry.classes)

    def add(self, occurrence: Occurrence) -> None:
        self._count += occurrence.count
        self._names[occurrence.name] += 1
        if len(self._kept) < _MOST_KEPT:
            self._kept.append(occurrence)
            self._numbers.append(occurrence.lines[0].number)
        for identity in subject_ids(occurrence):
            if identity in self._ids or len(self._ids) < _MOST_IDS:
                self._ids[identity] += occurrence.count

    def explain(self, signals: tuple[Line, ...]) -> Explanation:
        ids = tuple(decode(identity) for identity, _ in self._ids.most_common(_SHOWN_IDS))
        own = {(line.number, line.text[:_LONGEST]) for occurrence in self._kept for line in occurrence.lines}
        elsewhere = tuple(line for line in signals if (line.number, line.text) not in own)
        scene = Scene(tuple(self._kept), ids, elsewhere)
        refined = [
            entry for pattern, entry in self._entry.refined if any(re.search(pattern, line.text) for line in elsewhere)
        ]
        judged = judge(
            refined[0] if len(refined) == 1 else self._entry,
            scene,
            self._names.most_common(1)[0][0],
            self._count,
            tuple(self._numbers),
        )
        return replace(judged, mentions=mentions(self._kept, ids))


def _is_of_ray(name: str, module: str, text: str, *, wrapped: bool) -> bool:
    """Whether an exception is one of Ray's own, not a user's or another library's of the same name."""
    if name in _NOT_ONLY_RAYS and (wrapped or not module.startswith("ray.")):
        return False
    if name == "OutOfMemoryError" and "CUDA" in text:
        return True
    return name in CLASSES and (not module or module.startswith(("ray.", "exceptions.")) or ".ray." in module)


def entry_for(occurrence: Occurrence) -> Entry | None:
    """The entry that explains it: the first that fits in class and variant, or else in class."""
    text = occurrence.text
    of_class = [entry for entry in ENTRIES if occurrence.name in entry.classes]
    fitting = (entry for entry in of_class if entry.when is None or compiled(entry.when).search(text))
    return next(fitting, of_class[0] if of_class else None)
