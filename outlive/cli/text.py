"""Values as text, for people and for scripts."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from outlive.table import columns
from outlive.units import format_age

if TYPE_CHECKING:
    from outlive.store.handle import ArrayHandle


_LEAST = 12  # columns of a text, however narrow the terminal is


def printable(key: str) -> str:
    r"""`key` on one line that no terminal acts upon: escaped as in Python, backslashes too, so that it can be undone.

    >>> print(printable("a\nb"), printable("a\\nb"), printable("é😀"))
    a\nb a\\nb é😀
    """
    if key.isprintable() and "\\" not in key:
        return key
    return "".join(_escaped(letter) for letter in key)


def _escaped(letter: str) -> str:
    if letter.isprintable() and letter != "\\":
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def age(version: int) -> str:
    """How long ago an array of this version was put: `3 min`.

    >>> age(time.time_ns() - 7200 * 10**9)
    '2 h'
    """
    return format_age((time.time_ns() - version) // 10**9)


def moment(version: int) -> dt.datetime:
    """When an array of this version was put."""
    return dt.datetime.fromtimestamp(version / 1e9, dt.timezone.utc)


def ends(handle: ArrayHandle) -> str:
    """When an array ends by itself: `job 02000000`, `in 9 min`; `-` if it is there until it is deleted."""
    from outlive.arrays.layout import number_of
    from outlive.arrays.lifetimes import job_id

    parts = {"job": [f"job {job_id(number_of(handle.id))}"], "scope": ["scope"]}.get(handle.lifetime, [])
    deadline = _deadline(handle)
    if deadline is not None:
        parts.append(f"in {format_age(deadline.timestamp() - time.time())}")
    return ", ".join(parts) or "-"


def _deadline(handle: ArrayHandle) -> dt.datetime | None:
    from outlive.errors import ArrayNotFound

    try:
        return handle.ends_at()
    except ArrayNotFound:  # it ended meanwhile, or is on another node
        return None


def short_node(node: str) -> str:
    """A node as tables show it: the beginning of its id, or the machine of a local store."""
    from outlive.local.place import host_of, is_local

    return host_of(node) if is_local(node) else node[:8]


def is_array(handle: ArrayHandle) -> bool:
    """Whether its value is an array, and so has a shape and a dtype."""
    return handle.kind == "array"


def record(handle: ArrayHandle, node: str | None) -> dict[str, Any]:
    """An array, for a script."""
    return {
        "key": handle.key,
        "store": handle.store,
        "kind": handle.kind,
        "shape": list(handle.shape) if is_array(handle) else None,
        "dtype": str(handle.dtype) if is_array(handle) else None,
        "nbytes": handle.nbytes,
        "lifetime": handle.lifetime,
        "ends_at": deadline.isoformat(timespec="milliseconds") if (deadline := _deadline(handle)) else None,
        "put": moment(handle.info.version).isoformat(timespec="milliseconds"),
        "node": node,
        "id": handle.id,
    }


def print_json(value: Any) -> None:
    """The one document that a command prints on stdout."""
    typer.echo(json.dumps(value, indent=2))


def width() -> int | None:
    """Columns of the terminal, or the value of COLUMNS. None: nothing is cut, so that the output can be searched."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or os.environ.get("COLUMNS") else None


def styled(text: str, style: str) -> str:
    """A text in a colour, or `bold` or `dim`. `typer.echo` drops that in a pipe, and with NO_COLOR."""
    if not text or not style:
        return text
    return typer.style(text, **({style: True} if style in {"bold", "dim"} else {"fg": style}))


def hanging(begin: str, text: str, room: int | None) -> Iterator[str]:
    """The lines of a text that begins with `begin`, those after the first below the text. One if `room` is None."""
    if room is None:
        yield begin + text
        return
    width = max(_LEAST, room - len(begin))
    for line in textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]:
        yield (begin + line).rstrip()
        begin = " " * len(begin)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> None:
    """`columns`, with a bold header if stdout is a terminal."""
    lines = columns(header, rows, right)
    typer.secho(next(lines), bold=True)
    if rows:
        typer.echo("\n".join(lines))
