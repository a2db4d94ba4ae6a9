"""Explanations on a terminal, and as values for a script."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from typing import Any

from outlive.citations import link
from outlive.explain.ids import DecodedId
from outlive.explain.model import Explanation, JudgedCause, Reading, Unknown

_SHOWN_LINES = 5
_SOURCES = "Sources: "
_CODE = "green"
_SHOWN_UNKNOWN = 500  # characters that are shown of an unknown line


def id_record(decoded: DecodedId, live: tuple[str, ...] = ()) -> dict[str, Any]:
    """A decoded id, for a script."""
    return {**dataclasses.asdict(decoded), "live": list(live)}


def reading_record(reading: Reading) -> dict[str, Any]:
    """A text's explanations, for a script."""
    return {
        "lines": reading.lines,
        "explanations": [dataclasses.asdict(explanation) for explanation in reading.explanations],
        "unexplained": reading.unexplained,
        "unknown": [dataclasses.asdict(one) for one in reading.unknown],
        "frames": [dataclasses.asdict(frame) for frame in reading.frames],
    }


def show_id(decoded: DecodedId, live: tuple[str, ...] = ()) -> None:
    """Print a decoded id."""
    _show(_id_lines(decoded, live))


def show_reading(reading: Reading) -> None:
    """Print all explanations of a text."""
    for number, explanation in enumerate(reading.explanations):
        _show(_explanation_lines(explanation, first=number == 0))
    for name, count in reading.unexplained.items():
        _show(
            [("", ""), ("bold", f"{name}, {_times(count)}"), ("", "Nothing is known here about this exception of Ray.")]
        )
    _show([line for one in reading.unknown for line in _unknown_lines(one)])
    if reading.explanations and (told := [frame for frame in reading.frames if not frame.example.startswith("(")]):
        frame = told[0]
        _show([("", ""), ("dim", f"Taken off before reading: {frame.example!r} and the like, {frame.lines:,} lines")])


def _unknown_lines(one: Unknown) -> list[tuple[str, str]]:
    return [("bold", f"not known here, {_times(one.count)}, line {one.line}:"), ("", f"  {one.text[:_SHOWN_UNKNOWN]}")]


_Styled = tuple[str, str]  # a style of rich, and a line


def _show(lines: Iterator[_Styled] | list[_Styled]) -> None:
    # output to a pipe needs no rich, which takes a while to load
    if not sys.stdout.isatty() and "FORCE_COLOR" not in os.environ:
        for _, line in lines:
            indent = len(line) - len(line.lstrip())
            sys.stdout.write(" " * indent + printable(line.lstrip()) + "\n")
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())
    for style, line in lines:
        indent = len(line) - len(line.lstrip())
        text = Text(printable(line.lstrip()), style=style)
        if line.startswith(_SOURCES):
            link(text)
        if not console.is_terminal or style == _CODE:  # code is copied: the terminal breaks it, without a line's end
            console.print(" " * indent, text, sep="", soft_wrap=True)
            continue
        for part in text.wrap(console, max(20, console.width - indent)) or [text]:
            console.print(" " * indent, part, sep="", soft_wrap=True)


def printable(text: str) -> str:
    """`text` without control sequences for a terminal: a log may have any."""
    return "".join(letter if letter.isprintable() or letter == "\t" else "\ufffd" for letter in text)


def _id_lines(decoded: DecodedId, live: tuple[str, ...]) -> Iterator[_Styled]:
    yield "bold", f"{decoded.kind} {decoded.hex}"
    width = max(len(field.hex) for field in decoded.fields)
    names = max(len(field.name) for field in decoded.fields)
    for field in decoded.fields:
        yield "", f"  {field.hex:<{width}}  {field.name:<{names}}  {field.meaning}"
    yield "", decoded.sentence
    for fact in live:
        yield "cyan", f"now: {fact}"


def _explanation_lines(explanation: Explanation, *, first: bool) -> Iterator[_Styled]:
    if not first:
        yield "", ""
    where = ""
    if explanation.lines:
        numbers = ", ".join(map(str, explanation.lines[:_SHOWN_LINES]))
        more = ", ..." if explanation.count > len(explanation.lines[:_SHOWN_LINES]) else ""
        where = f", line{'s' if len(explanation.lines) > 1 else ''} {numbers}{more}"
    yield "bold red", f"{explanation.error} ({explanation.variant}), {_times(explanation.count)}{where}"
    yield "", explanation.what
    for decoded in explanation.ids:
        yield "", f"  {decoded.kind} {decoded.hex}"
        yield "", f"    {decoded.sentence}"
    for mention in explanation.mentions:
        yield "", f"  {mention.label}: {mention.id.hex}"
        yield "", f"    {mention.id.sentence}"
    for fact in explanation.live:
        yield "cyan", f"  now: {fact}"
    yield "bold", "Likely causes, in order"
    for number, cause in enumerate(explanation.causes, 1):
        yield from _cause_lines(number, cause)
    yield "bold", "How to tell them apart"
    for tell in explanation.tell_apart:
        yield "", f"  - {tell}"
    yield "bold", "Fix"
    for line in explanation.fix.splitlines():
        yield _CODE, f"    {line}"
    yield "dim", _SOURCES + "; ".join(explanation.sources)


def _cause_lines(number: int, cause: JudgedCause) -> Iterator[_Styled]:
    yield "dim" if cause.ruled_out else "", f"  {number}. {'Not this: ' if cause.ruled_out else ''}{cause.text}"
    mark = "against it" if cause.ruled_out else "evidence"
    for evidence in cause.evidence:
        yield "yellow", f"     {mark}: {evidence}"
    if not cause.evidence:
        yield "dim", "     no evidence in this text"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
