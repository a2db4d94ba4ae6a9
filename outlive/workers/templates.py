"""Helm and Jinja templates: their parts are covered letter for letter, so that offsets in the rest stay right."""

from __future__ import annotations

import re

UNKNOWN = "\ue000"
"""Replaces each letter of a part whose value is not known. It is from Unicode's private area, which YAML allows."""
_PART = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_ANY = re.compile(r"[^\r\n]")


def parts(text: str) -> list[tuple[int, str]]:
    """The line (from 1) and the text of each part that a template engine fills in."""
    return [(text.count("\n", 0, match.start()) + 1, match.group()) for match in _PART.finditer(text)]


def covered(text: str) -> tuple[str, list[int]]:
    """The text with its parts covered, of the same length, and the lines of those that are more than one value.

    A part beside other text is a value that is not known. A line of parts alone (`if`, `toYaml ... | indent`) may
    become any number of lines: it is left blank.
    """
    unread: list[int] = []
    made, at = [], 0
    for match in _PART.finditer(text):
        start, end = match.span()
        alone = _alone(text, start, end)
        if alone and not match.group().startswith(("{#", "{{/*", "{{- /*")):
            unread.append(text.count("\n", 0, start) + 1)
        first, rest = match.group().partition("\n")[::2]
        cover = _ANY.sub(" " if alone or match.group().startswith("{#") else UNKNOWN, first)
        made += [text[at:start], cover + ("\n" + _ANY.sub(" ", rest) if "\n" in match.group() else "")]
        at = end
    return "".join([*made, text[at:]]), unread


def _alone(text: str, start: int, end: int) -> bool:
    """Whether its lines have only template parts."""
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end)
    line = text[line_start : len(text) if line_end < 0 else line_end]
    return not _PART.sub("", line).strip()
