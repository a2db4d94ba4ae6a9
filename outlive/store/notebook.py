"""How handles, stores and their figures look in a notebook.

Nothing here asks an actor or another node, starts anything, or raises. It shows what this process knows and what this
node's shelf has in memory, which takes milliseconds.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import html
import itertools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from outlive.arrays.dtypes import decode_dtype
from outlive.arrays.layout import is_id
from outlive.arrays.lifetimes import JOB, SCOPE, lifetime_of
from outlive.arrays.live import live_view
from outlive.arrays.segment import read_info_at
from outlive.arrays.views import open_view
from outlive.errors import OutliveError
from outlive.store import session
from outlive.store.picture import picture
from outlive.table import columns
from outlive.units import count, format_duration, format_size

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.local.place import Place
    from outlive.store.session import Session

T = TypeVar("T")
Rows = Iterable[tuple[str, str]]
_LISTED = 10  # arrays of a store
_LOOKED_AT = 200  # segments, to find these
_SECONDS = 0.1  # for that
_LONGEST = 200  # letters of a key


def never_raises(show: Callable[[T], str]) -> Callable[[T], str]:
    """Make a function of HTML show the plain `repr` if anything goes wrong: a notebook must show something."""

    @functools.wraps(show)
    def run(shown: T) -> str:
        try:
            return show(shown)
        except Exception:  # noqa: BLE001 - whatever it is, the value is of more use than its error
            return f"<pre>{html.escape(repr(shown))}</pre>"

    return run


def of_array(info: ArrayInfo, node: str | None = None) -> str:
    """A handle: what it says of its array; and a picture, if that is an image that can be read here at once."""
    name = ("key", _cut(info.key)) if info.key is not None else ("id", info.id)
    shape = " × ".join(f"{side:,}" for side in info.shape) or "no axis"
    kind = lifetime_of(info).kind
    ends = ["with its job"] if kind & JOB else ["with its scope"] if kind & SCOPE else []
    if info.ttl:
        ends.append(f"{format_duration(info.ttl)} after its put or its last touch")
    rows = [
        name,
        ("store", _cut(info.store)),
        *([("kind", info.codec)] if info.codec else [("shape", shape), ("dtype", str(decode_dtype(info.dtype)))]),
        ("size", format_size(info.nbytes)),
        ("ends", ", or ".join(ends) or "when it is deleted"),
    ]
    array = None if info.codec else _at_hand(info, node)
    found = None if array is None else picture(array)
    if found is None:
        return _pairs(rows)
    said = f"<br><small>{html.escape(found[1])}</small>" if found[1] else ""
    image = base64.b64encode(found[0]).decode("ascii")
    style = "image-rendering: pixelated; min-width: 96px; max-width: 192px; max-height: 192px; object-fit: contain"
    cell = f'<td><img alt="" style="{style}" src="data:image/png;base64,{image}">{said}</td>'
    return f"<table><tr>{cell}<td>{_pairs(rows)}</td></tr></table>"


def _at_hand(info: ArrayInfo, node: str | None) -> Any:
    """A view of an array that this process looks at, or that is in this node's memory; None if it is elsewhere."""
    view = live_view(info.id)
    current = session.known_of(node)
    if view is None and current is not None:
        with contextlib.suppress(OSError, OutliveError):
            view = open_view(f"{current.shelf.mem}/{info.id}", info)[1]
    return view


def of_store(name: str, scope: str, place: Place | None = None) -> str:
    """A store: its name, and what this node has of it."""
    rows = [("store", _cut(name) + scope)]
    current = session.known(place)
    if current is None:
        return _pairs([*rows, ("this process", "is not connected to a cluster, or has not used the store yet")])
    used, budget = current.shelf.ledger.used, current.shelf.ledger.budget
    rows.append(("this node", f"{format_size(used)} of {format_size(budget)} in memory, for all stores"))
    found, whole = _arrays_here(current, name)
    listed = [
        (
            _cut(info.key) if info.key is not None else info.id,
            "" if info.codec else str(info.shape),
            info.codec or str(decode_dtype(info.dtype)),
            format_size(info.nbytes),
        )
        for info in found
    ]
    said = "Arrays of it in this node's memory" + ("" if whole else ", some of them") + ":"
    table = _table(("array", "shape", "dtype", "size"), listed) if listed else ""
    return _pairs(rows) + (f"<small>{said}</small>{table}" if listed else "<small>This node has none of it.</small>")


def _arrays_here(current: Session, store: str) -> tuple[list[ArrayInfo], bool]:
    """Some arrays of a store that are in this node's memory, by key; and whether these are all."""
    found: list[ArrayInfo] = []
    deadline, looked_at = time.monotonic() + _SECONDS, 0
    with os.scandir(current.shelf.mem) as entries:
        for entry in entries:
            if not is_id(entry.name):
                continue
            if looked_at >= _LOOKED_AT or len(found) > _LISTED or time.monotonic() > deadline:
                break
            looked_at += 1
            with contextlib.suppress(OSError, OutliveError):  # it went meanwhile
                info = read_info_at(entry.path, entry.name)
                if info.store == store:
                    found.append(info)
        else:
            return sorted(found[:_LISTED], key=_by_key), len(found) <= _LISTED
    return sorted(found[:_LISTED], key=_by_key), False


def _by_key(info: ArrayInfo) -> tuple[bool, str]:
    return info.key is None, info.key or info.id


# --- figures


def stats_lines(store: str, arrays: int, nbytes: int, shelves: Sequence[Any]) -> list[str]:
    """`StoreStats` as text: a line on the store, and a table of the shelves."""
    said = f"StoreStats: store {store!r}, {count(arrays, 'array')}, {format_size(nbytes)}"
    header, rows = _shelves(shelves)
    return [said, *(f"  {line.rstrip()}" for line in columns(header, rows, right={1, 2, 3, 4, 5}))] if rows else [said]


def of_stats(store: str, arrays: int, nbytes: int, shelves: Sequence[Any]) -> str:
    """`StoreStats` in a notebook."""
    rows = ("store", _cut(store)), ("arrays", f"{arrays:,} with a key"), ("size", format_size(nbytes))
    return _pairs(rows) + _table(*_shelves(shelves))


def _shelves(shelves: Sequence[Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A row of each shelf; `shelves` are the `ShelfStats`."""
    header = "NODE", "ARRAYS", "USED", "BUDGET", "SPILLED", "ON DISK", "ROOT"
    rows: list[tuple[str, ...]] = [
        (
            shelf.node[:8],
            f"{shelf.arrays:,}",
            format_size(shelf.used),
            format_size(shelf.budget),
            f"{shelf.spilled:,}",
            format_size(shelf.disk_used),
            shelf.path.rsplit("/", 2)[0],
        )
        for shelf in shelves
    ]
    return header, rows


# --- HTML


def _cut(text: str) -> str:
    """A key as one line that is not too long."""
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _pairs(rows: Rows) -> str:
    cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = itertools.chain(
        ["".join(f"<th>{html.escape(name)}</th>" for name in header)],
        ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows),
    )
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
