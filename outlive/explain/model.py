"""The values of explaining: the knowledge of an error, the facts in a text, and the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from outlive.explain.ids import DecodedId


@dataclass(frozen=True)
class Line:
    """A line of the text without colours and prefixes, its number (from 1), and its writer."""

    number: int
    text: str
    writer: str = ""


@dataclass
class Occurrence:
    """One appearance of an error.

    Attributes
    ----------
    name
        The class of Ray's exception; for a log line of Ray that is no exception, the name of its entry.
    lines
        The lines that say so: the exception's own message, or the log line.
    count
        How many times Ray says it happened ("repeated 3x across cluster").
    """

    name: str
    lines: list[Line]
    count: int = 1

    @property
    def quotes_traceback(self) -> bool:
        """Whether its message has a traceback of another process in it, which ends with an exception's name."""
        return "creation task" in self.lines[0].text or any(
            line.text.startswith(("traceback: Traceback", "Original exception")) for line in self.lines[:3]
        )

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


@dataclass(frozen=True)
class Scene:
    """The facts for judging a cause: the occurrences of one error, their ids, and lines with evidence."""

    occurrences: tuple[Occurrence, ...]
    ids: tuple[DecodedId, ...]
    signals: tuple[Line, ...] = ()


Sign = Callable[[Scene], "str | None"]
"""Looks for evidence, and returns it in words, or None."""


@dataclass(frozen=True)
class Cause:
    """A likely cause. `signs` speak for it, and `against` rules it out. Of two with evidence, the one of more weight is
    first.
    """

    text: str
    signs: tuple[Sign, ...] = ()
    against: tuple[Sign, ...] = ()
    weight: Callable[[Scene], float] | None = None


@dataclass(frozen=True)
class Entry:
    """The knowledge of one error, or of one variant of it.

    Attributes
    ----------
    name
        Names the answer: stable, for scripts.
    classes
        The exceptions it explains; none for what only log lines say.
    what
        What happened.
    causes
        Likely ones, the likeliest first.
    tell_apart
        What to look at to tell the causes apart.
    fix
        Python (or shell) that mends it.
    sources
        Where each fact comes from: a file of Ray, a page of its documentation, an issue or a pull request.
    when
        The variant: a regular expression that the error's own message has to match.
    line
        For log lines that are no exception: what such a line says.
    remote
        For what a task's traceback tells by two lines together: what its first frame says, and what the exception at
        its end says.
    counts
        For a line that says how often it happened: a regular expression whose group is the number.
    refined
        Patterns of lines elsewhere in the text, and the entry that says more than this one where only its line is
        there.
    """

    name: str
    what: str
    causes: tuple[Cause, ...]
    tell_apart: tuple[str, ...]
    fix: str
    sources: tuple[str, ...]
    classes: tuple[str, ...] = ()
    when: str | None = None
    line: str | None = None
    remote: tuple[str, str] | None = None
    counts: str | None = None
    refined: tuple[tuple[str, Entry], ...] = ()


@dataclass(frozen=True)
class Mention:
    """An id in a message that the error is not about: its label in the message, and its content."""

    label: str
    id: DecodedId


@dataclass(frozen=True)
class JudgedCause:
    """A cause, with the evidence in this text for it, or against it if `ruled_out`."""

    text: str
    evidence: tuple[str, ...]
    ruled_out: bool = False


@dataclass(frozen=True)
class Explanation:
    """The answer for one error of a text: its meaning, its probable causes, and its fix.

    Attributes
    ----------
    error
        The class of Ray's exception, or the name of a log line's entry.
    variant
        The name of the entry that explains it.
    count, lines
        How often it is there, and the numbers of the first lines that say so.
    ids
        The objects, tasks, actors, ... it is about, decoded; those that appear most often first.
    causes
        Supported ones first, ruled out ones last.
    live
        What a running cluster still knows, one sentence each.
    mentions
        Other ids that the message names: its owner, node, worker, lease.
    """

    error: str
    variant: str
    what: str
    causes: tuple[JudgedCause, ...]
    tell_apart: tuple[str, ...]
    fix: str
    sources: tuple[str, ...]
    count: int = 1
    lines: tuple[int, ...] = ()
    ids: tuple[DecodedId, ...] = ()
    message: str = ""
    live: tuple[str, ...] = ()
    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True)
class Unknown:
    """An unknown error line or exception of Ray: the first one verbatim, and the number of similar ones."""

    text: str
    line: int
    count: int


@dataclass(frozen=True)
class Frame:
    """A prefix that was taken off lines: its first example, and the number of lines that had one."""

    example: str
    lines: int


@dataclass(frozen=True)
class Reading:
    """The errors in a text, explained.

    Attributes
    ----------
    explanations
        One for each kind of error, in the order in which they first appear.
    unexplained
        Exceptions of Ray that are there, and that nothing is known about: class and number.
    lines
        How many lines were read.
    unknown
        The same and error lines of Ray's processes that nothing is known about, verbatim.
    frames
        What loggers and log collectors had put in front of lines, the most frequent first.
    """

    explanations: tuple[Explanation, ...] = ()
    unexplained: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    frames: tuple[Frame, ...] = ()
    unknown: tuple[Unknown, ...] = ()
