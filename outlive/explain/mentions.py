"""The ids in a message, decoded: those that the error is about, and others (its owner, node, worker, lease)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from outlive.explain.ids import DecodedId, NotAnId, decode
from outlive.explain.model import Line, Mention, Occurrence

_MOST = 6  # mentions in one explanation
_ID = re.compile(r"(?<![0-9a-zA-Z-])(?:[0-9a-f]{56}|[0-9a-f]{48}|[0-9a-f]{32})(?![0-9a-zA-Z-])", re.IGNORECASE)
_LABEL = re.compile(
    r"((?:[Oo]wner|[Nn]ode|[Ww]orker|[Aa]ctor|[Tt]ask|RayTask|[Ll]ease|[Rr]aylet|node with node)[ _]?(?:id|Id|ID))"
    r"(?:[:=] ?| = )$"
)
_OWNERS_LOG = re.compile(r"logs/\*$")
_ABOUT_ACTORS = re.compile(r"Actor")
_ABOUT_TASKS = re.compile(r"Task")


def subject_ids(occurrence: Occurrence) -> list[str]:
    """The ids that an error is about, in the order of the text: objects, or else tasks or actors."""
    found = {decoded.hex: decoded for line in occurrence.lines for _, decoded in _named(line)}
    preferred = "ObjectID"
    if _ABOUT_ACTORS.search(occurrence.name):
        preferred = "ActorID"
    elif _ABOUT_TASKS.search(occurrence.name):
        preferred = "TaskID"
    return [identity for identity, decoded in found.items() if decoded.kind == preferred]


def mentions(occurrences: list[Occurrence], subjects: tuple[DecodedId, ...]) -> tuple[Mention, ...]:
    """The other ids: those that Ray's message labels, and the ids of drivers anywhere."""
    known = {decoded.hex for decoded in subjects}
    found: dict[str, Mention] = {}
    for occurrence in occurrences:
        for line in occurrence.lines:
            for label, decoded in _named(line):
                if decoded.hex not in known and (label or decoded.maker == "driver") and len(found) < _MOST:
                    found.setdefault(decoded.hex, Mention(label or decoded.kind, decoded))
    return tuple(found.values())


def _named(line: Line) -> Iterator[tuple[str, DecodedId]]:
    for match in _ID.finditer(line.text):
        try:
            decoded = decode(match[0])
        except NotAnId:
            continue
        before = line.text[max(0, match.start() - 30) : match.start()]
        label = _LABEL.search(before)
        yield (label[1] if label else "owner" if _OWNERS_LOG.search(before) else ""), decoded
