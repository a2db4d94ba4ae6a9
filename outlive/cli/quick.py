"""`outlive lint FILE...` without typer: an editor or a hook runs it at each change, and loading typer takes as long as
linting a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from outlive.cli import linting
from outlive.cli.failures import outcome

_VALUED = ("--select", "--ignore", "--exclude", "--format")
_COMPLETING = "_OUTLIVE_COMPLETE"  # a shell asks what may be typed next


def run(arguments: Sequence[str]) -> int | None:
    """The exit code of this command line, or None: typer has to parse it. Until then nothing is printed or read.

    Typer gets whatever is asked for help, is wrong, or is not the command lint.
    """
    if not arguments or arguments[0] != "lint" or _COMPLETING in os.environ:
        return None
    asked = _parsed(arguments[1:])
    if asked is None:
        return None
    return _lint(asked)


class _Asked:
    """The options, as they were typed."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.values: dict[str, list[str]] = {name: [] for name in _VALUED}
        self.fix = self.as_json = False

    @property
    def output(self) -> str:
        return "json" if self.as_json else (self.values["--format"] or ["text"])[-1]


def _parsed(words: Sequence[str]) -> _Asked | None:
    asked, rest = _Asked(), iter(words)
    for word in rest:
        if word == "--fix":
            asked.fix = True
        elif word == "--json":
            asked.as_json = True
        elif word.partition("=")[0] in _VALUED:
            value = _value(word, rest)
            if value is None:
                return None
            asked.values[word.partition("=")[0]].append(value)
        elif word.startswith("-") and word != "-":
            return None
        else:
            asked.paths.append(word)
    formats = asked.values["--format"]
    if not asked.paths or any(name not in linting.FORMATS for name in formats) or (asked.as_json and formats):
        return None
    return asked


def _value(word: str, rest: Iterator[str]) -> str | None:
    _, given, value = word.partition("=")
    if not given:
        value = next(rest, "")
    return value if value and not value.startswith("-") else None


def _lint(asked: _Asked) -> int | None:
    wrong = False

    def command() -> int:
        nonlocal wrong
        values = asked.values
        try:
            parts = values["--select"], values["--ignore"], values["--exclude"]
            wanted = linting.wanted(asked.paths, *parts, asked.output, fix=asked.fix)
        except linting.WrongUsage:
            wrong = True
            return 0
        return linting.lint(wanted)

    code = outcome(command, as_json=asked.as_json)
    return None if wrong else code
