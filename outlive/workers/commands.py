"""`ray start` command lines: found in a shell command, read, and changed in place."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from outlive.workers.settings import Value

_START = re.compile(r"\bray\s+start\b")
_OPTION = re.compile(r"--system-config(?:=|\s+)")


@dataclass(frozen=True)
class RayStart:
    """One `ray start ...` in a shell command."""

    text: str
    start: int
    end: int
    head: bool
    system_config: str | None
    """What stands behind `--system-config`, quotes undone; None if the option is not there."""

    def settings(self) -> dict[str, Any]:
        """The JSON object of `--system-config`; empty without it.

        Raises
        ------
        ValueError
            It is no JSON object.
        """
        if self.system_config is None:
            return {}
        loaded = json.loads(self.system_config)
        if not isinstance(loaded, dict):
            raise ValueError(f"{self.system_config!r} is no JSON object")  # noqa: TRY004 - as json does
        return loaded


def find(command: str) -> list[RayStart]:
    """Every `ray start` of a shell command."""
    found = []
    for match in _START.finditer(command):
        end = _end(command, match.end())
        text = command[match.start() : end]
        words = _words(text)
        config = None
        for i, word in enumerate(words):
            if word == "--system-config" and i + 1 < len(words):
                config = words[i + 1]
            elif word.startswith("--system-config="):
                config = word.partition("=")[2]
        found.append(RayStart(text, match.start(), end, "--head" in words, config))
    return found


def with_settings(start: RayStart, settings: dict[str, Value]) -> str:
    """The command line with these settings added to its `--system-config`, others kept.

    Raises
    ------
    ValueError
        What stands there is no JSON object.
    """
    merged = {**start.settings(), **settings}
    bare = without_settings(start)
    return f"{bare.rstrip()} {system_config_option(merged)}"


def without_settings(start: RayStart) -> str:
    """The command line without its `--system-config`."""
    match = _OPTION.search(start.text)
    if match is None:
        return start.text
    rest = start.text[match.end() :]
    end = _word_end(rest)
    return (start.text[: match.start()].rstrip() + rest[end:]).rstrip()


def system_config_option(settings: dict[str, Any]) -> str:
    """`--system-config='{...}'`, quoted for a shell."""
    return "--system-config=" + shlex.quote(json.dumps(settings, separators=(",", ":")))


def replaced(command: str, start: RayStart, text: str) -> str:
    """`command` with one of its `ray start` replaced."""
    return command[: start.start] + text + command[start.end :]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote that is not closed: as good as it gets
        return text.split()


def _end(command: str, begin: int) -> int:
    """Where the command that begins before `begin` ends: at `;`, `&&`, `|`, a newline, or `>`, outside quotes."""
    return _unquoted(command, begin, ";&|\n>".__contains__)


def _word_end(text: str) -> int:
    """Where the first shell word of `text` ends."""
    return _unquoted(text, 0, str.isspace)


def _unquoted(text: str, begin: int, stops: Callable[[str], bool]) -> int:
    """Where the first letter from `begin` on stands that `stops`, and is neither quoted nor escaped; else the end."""
    quote = None
    i = begin
    while i < len(text):
        letter = text[i]
        if quote:
            if letter == "\\" and quote == '"':
                i += 1
            elif letter == quote:
                quote = None
        elif letter in "'\"":
            quote = letter
        elif letter == "\\":
            i += 1
        elif stops(letter):
            return i
        i += 1
    return len(text)
