"""Scalars of YAML, letter by letter: the letters of the text for a letter of the value, and the other way round."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from outlive.workers.yaml_nodes import BLOCK_HEADER, Scalar

_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
    " ": " ", '"': '"', "\\": "\\", "/": "/", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_HEX = {"x": 2, "u": 4, "U": 8}
_BREAK = re.compile(r"\r\n|\r|\n")
_FOLD = re.compile(r"[ \t]*(?:\r\n|\r|\n)[ \t\r\n]*")


@dataclass
class Letters:
    """A decoded text, with the start and end of each of its letters in the original text."""

    value: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, letter: str, start: int, end: int) -> None:
        """Append a letter."""
        self.value.append(letter)
        self.starts.append(start)
        self.ends.append(end)

    @property
    def text(self) -> str:
        """The decoded text."""
        return "".join(self.value)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The span in the original text of the letters `start` to `end`. An empty span is behind the letter before it.

        The line ends that close a block are not among the letters.
        """
        start, end = min(start, len(self.value)), min(end, len(self.value))
        if start < end:
            return self.starts[start], self.ends[end - 1]
        at = self.ends[start - 1] if start else self.starts[0]
        return at, at


def letters(text: str, node: Scalar) -> Letters | None:
    """The letters of a scalar; None if they cannot be told apart, or it is empty."""
    if node.style in {"|", ">"}:
        return _block(text, node)
    quoted = node.style is not None
    start, end = (node.start + 1, node.end - 1) if quoted else (node.start, node.end)
    made = _flow(text, start, end, node.style)
    return made if made.value and made.text == node.text else None


def encode(text: str, style: str | None) -> str:
    """A text without line ends, written for the inside of a scalar of this style."""
    if style == '"':
        return json.dumps(text, ensure_ascii=False)[1:-1]
    return text.replace("'", "''") if style == "'" else text


def emit(value: Any, *, flow: bool = True) -> str:
    """A value on one line: plain where that is safe, else quoted; mappings and lists in braces.

    Parameters
    ----------
    flow
        The text has to be safe between braces too.
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{emit(key)}: {emit(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(emit(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if not isinstance(value, str):
        return str(value)
    if _is_plain(value, flow=flow):
        return value
    return "'" + value.replace("'", "''") + "'" if value.isprintable() else json.dumps(value)


def emit_lines(value: Any, indent: int) -> list[str]:
    """A mapping or a list as lines, indented by so many spaces."""
    found = []
    if isinstance(value, dict):
        for key, below in value.items():
            found += _entry(f"{emit(key)}:", below, indent)
    else:
        for item in value:
            found += _entry("-", item, indent)
    return found


def _entry(head: str, value: Any, indent: int) -> list[str]:
    if isinstance(value, dict | list) and value:
        return [" " * indent + head, *emit_lines(value, indent + 2)]
    return [f"{' ' * indent}{head} {emit(value, flow=False)}"]


def _is_plain(text: str, *, flow: bool) -> bool:
    """Whether the text reads as itself without quotes."""
    import yaml

    if text != text.strip() or not text.isprintable():
        return False
    forms = {f"a: {text}": {"a": text}, f"- {text}": [text]}
    if flow:
        forms |= {f"{{a: {text}}}": {"a": text}, f"[{text}]": [text]}
    try:
        return all(yaml.safe_load(form) == meant for form, meant in forms.items())
    except (yaml.YAMLError, ValueError):
        return False


def _flow(text: str, start: int, end: int, style: str | None) -> Letters:
    """Plain and quoted scalars: lines are folded, quotes and escapes undone."""
    made = Letters()
    at = start
    while at < end:
        letter = text[at]
        fold = _FOLD.match(text, at, end) if letter in " \t\r\n" else None
        if fold:
            breaks = len(_BREAK.findall(fold.group()))
            for break_ in [" "] if breaks == 1 else ["\n"] * (breaks - 1):
                made.add(break_, at, fold.end())
            at = fold.end()
        elif style == "'" and text.startswith("''", at):
            made.add("'", at, at + 2)
            at += 2
        elif style == '"' and letter == "\\":
            at = _escape(text, at, end, made)
        else:
            made.add(letter, at, at + 1)
            at += 1
    return made


def _escape(text: str, at: int, end: int, made: Letters) -> int:
    """Read an escape in a double-quoted scalar; returns the offset behind it."""
    letter = text[at + 1 : at + 2]
    if letter in _HEX:
        stop = at + 2 + _HEX[letter]
        try:
            made.add(chr(int(text[at + 2 : stop], 16)), at, stop)
        except (ValueError, OverflowError):
            made.add("\ufffd", at, stop)
        return stop
    line_end = _BREAK.match(text, at + 1, end)
    if line_end is None:
        made.add(_ESCAPES.get(letter, letter), at, at + 2)
        return at + 2
    at = line_end.end()
    spaces = re.compile(r"[ \t]*").match(text, at, end)
    at = spaces.end() if spaces else at
    while blank := _BREAK.match(text, at, end):
        made.add("\n", at, blank.end())
        spaces = re.compile(r"[ \t]*").match(text, blank.end(), end)
        at = spaces.end() if spaces else blank.end()
    return at


def _block(text: str, node: Scalar) -> Letters | None:
    """Literal and folded scalars. The value shows which indentation is meant."""
    header = BLOCK_HEADER.match(text, node.start)
    if header is None:
        return None
    lines = list(_lines(text, header.end(), node.end))
    first = next((text[start:end] for start, end in lines if text[start:end].strip(" ")), "")
    for indent in range(len(first) - len(first.lstrip(" ")), 0, -1):
        made = _literal(text, lines, indent) if node.style == "|" else _folded(text, lines, indent)
        if made.value and made.text.rstrip("\n") == node.text.rstrip("\n"):
            return made
    return None


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        found = _BREAK.search(text, start, end)
        yield start, found.start() if found else end
        start = found.end() if found else end


def _literal(text: str, lines: list[tuple[int, int]], indent: int) -> Letters:
    made = Letters()
    for number, (start, end) in enumerate(lines):
        if number:
            made.add("\n", lines[number - 1][1], start)
        for at in range(start + indent, end):
            made.add(text[at], at, at + 1)
    return made


def _folded(text: str, lines: list[tuple[int, int]], indent: int) -> Letters:
    """Lines are joined by a space. Blank lines, and lines that are indented deeper, keep their line ends."""
    made = Letters()
    # the end of the last line with content, and whether that was indented deeper
    previous: tuple[int, bool] | None = None
    blank = 0
    for start, end in lines:
        content = text[start + indent : end]
        if not content:
            blank += 1
            continue
        deeper = content[0] in " \t"
        if previous is not None:
            kept = deeper or previous[1]
            breaks = "\n" * (blank + 1) if kept else "\n" * blank or " "
        else:
            breaks = "\n" * blank
        for letter in breaks:
            made.add(letter, start if previous is None else previous[0], start + indent)
        for at in range(start + indent, end):
            made.add(text[at], at, at + 1)
        previous, blank = (end, deeper), 0
    return made
