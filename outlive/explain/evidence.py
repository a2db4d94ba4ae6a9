"""Signs: small predicates that find evidence in a text. The knowledge tables use them."""

from __future__ import annotations

import re
from collections.abc import Callable

from outlive.explain.ids import DecodedId
from outlive.explain.literals import compiled
from outlive.explain.mentions import mentions
from outlive.explain.model import Line, Scene, Sign
from outlive.explain.relation import OTHER_PROCESS, relation

UNCERTAIN = "(elsewhere in this text; not certain to be related)"
_SHOWN = 160  # characters of a quoted line


def says(pattern: str) -> Sign:
    """A sign: the error's own message says so."""

    def sign(scene: Scene) -> str | None:
        wanted = compiled(pattern)
        for occurrence in scene.occurrences:
            for line in occurrence.lines:
                if found := wanted.search(line.text):
                    return _quote(line, found)
        return None

    return sign


def nearby(pattern: str, *, same_process: bool = False) -> Sign:
    """A sign: a line anywhere in the text says so. Lines of the error's process, or with its id or address, come first.

    With `same_process`, lines of other processes do not count: the crash of one process is not that of another.
    """
    SIGNALS.append(pattern)

    def sign(scene: Scene) -> str | None:
        if not scene.signals:
            return None
        wanted = compiled(pattern)
        best: str | None = None
        for line in scene.signals:
            if found := wanted.search(line.text):
                related = relation(scene, line)
                if related == OTHER_PROCESS and same_process:
                    continue
                if related not in {"", OTHER_PROCESS}:
                    return f"{_quote(line, found)} ({related})"
                best = best or f"{_quote(line, found)} {UNCERTAIN}"
        return best

    return sign


SIGNALS: list[str] = []
"""Patterns of the lines that the reader keeps, because `nearby` may ask for them."""


def id_says(question: Callable[[DecodedId], str | None]) -> Sign:
    """A sign: the id of the object or task says so. `question` gets each decoded id."""

    def sign(scene: Scene) -> str | None:
        return next((answer for decoded in scene.ids if (answer := question(decoded))), None)

    return sign


def anywhere(pattern: str, *, same_process: bool = False) -> Sign:
    """A sign: the error's own message or another line of the text says so."""
    return either(says(pattern), nearby(pattern, same_process=same_process))


def either(*signs: Sign) -> Sign:
    """A sign: the first of these signs that has evidence."""

    def sign(scene: Scene) -> str | None:
        return next((evidence for one in signs if (evidence := one(scene))), None)

    return sign


def owned_by_driver(scene: Scene) -> str | None:
    """A sign: the owner in the message is a driver, by its id."""
    for occurrence in scene.occurrences:
        for mention in mentions([occurrence], ()):
            if mention.label.lower().startswith("owner") and mention.id.maker == "driver":
                return f"the owner's id {mention.id.hex[:8]}fff... says so. {mention.id.sentence}"
    return None


def _of(decoded: DecodedId) -> str:
    return f"the id {decoded.hex[:16]}... says so: "


def _put_by(maker: str, text: str) -> Sign:
    return id_says(lambda it: _of(it) + text if it.put and it.maker == maker else None)


put_by_task = _put_by("normal task", "ray.put of a normal task, so that a pooled worker owned it")
put_by_driver = _put_by("driver", "ray.put of the driver, so that the driver owned it")
put_by_actor = either(
    _put_by("actor task", "ray.put of an actor's method (or a thread), so that the actor owned it"),
    _put_by("actor creation task", "ray.put of an actor's __init__, so that the actor owned it"),
)
is_put = id_says(lambda it: _of(it) + "it comes from ray.put, which has no lineage" if it.put else None)
is_return = id_says(
    lambda it: (
        _of(it) + "it is a return value, owned by whoever called .remote()"
        if it.kind == "ObjectID" and not it.put
        else None
    )
)
is_actor_return = id_says(
    lambda it: (
        _of(it) + "it is the return value of an actor's method"
        if it.kind == "ObjectID" and not it.put and it.maker == "actor task"
        else None
    )
)
was_retried = id_says(
    lambda it: _of(it) + f"ray.put in attempt {it.attempt}, so the task had failed before" if it.attempt else None
)


def _quote(line: Line, found: re.Match[str]) -> str:
    begin = max(0, min(found.start() - 40, len(line.text) - _SHOWN), min(found.end(), len(line.text)) - _SHOWN)
    part = line.text[begin : begin + _SHOWN].strip()
    return f"line {line.number}: {'...' if begin else ''}{part}{'...' if begin + _SHOWN < len(line.text) else ''}"
