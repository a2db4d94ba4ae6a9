"""Text on stdout and stderr, as `typer.echo` and `typer.style` write it, without typer: it takes long to load."""

from __future__ import annotations

import os
import re
import sys

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36}
_SEQUENCE = re.compile(r"\033\[[;?0-9]*[a-zA-Z]")


def echo(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Write a text at once, and a line's end. Colours are left out in a pipe, and with NO_COLOR (no-color.org)."""
    stream = sys.stderr if err else sys.stdout
    if os.environ.get("NO_COLOR") or not stream.isatty():
        text = _SEQUENCE.sub("", text)
    stream.write(text + "\n" if nl else text)
    stream.flush()


def style(text: str, fg: str | None = None, *, bold: bool = False) -> str:
    """A text in a colour, or bold."""
    begin = f"\033[{_COLOURS[fg]}m" if fg else ""
    return f"{begin}\033[1m{text}\033[0m" if bold else f"{begin}{text}\033[0m"
