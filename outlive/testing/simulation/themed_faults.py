"""Planted faults that only schedules of a theme find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from outlive.arrays import lock, pool
from outlive.arrays.info import ArrayInfo
from outlive.arrays.names import Names
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill import room
from outlive.catalog import asking, shelves
from outlive.cluster import transfer
from outlive.cluster.fetches import Fetches
from outlive.cluster.shelf_calls import ShelfCalls
from outlive.cluster.tending import Tending
from outlive.testing.simulation.adoption_faults import ADOPTION, Change
from outlive.testing.simulation.port_faults import PORTS


def _sent_without_a_mark() -> Iterator[Change]:
    """An array without a key is not marked when it is copied, so its deletion asks no other node."""
    yield transfer, "mark", lambda *_, **__: True


def _one_file_is_dropped() -> Iterator[Change]:
    """Nodes drop only the first of several files."""
    drop = asking.drop
    yield asking, "drop", lambda state, holdings: drop(state, list(holdings)[:1])


def _only_the_known_are_asked() -> Iterator[Change]:
    """An array without a key counts as gone if the catalog does not know its nodes."""

    def nobody(*_: Any, **__: Any) -> Any:
        return []
        yield

    yield shelves, "ask_who_has", nobody


def _touched_here_alone() -> Iterator[Change]:
    """Other nodes do not hear of a touch."""
    yield ShelfCalls, "touch", lambda *_: True


def _nothing_ends() -> Iterator[Change]:
    """Keepers end no array whose lifetime is over."""
    yield Tending, "end_what_is_over", lambda _: None


def _scopes_are_not_joined() -> Iterator[Change]:
    """A node that has a copy of an array of a scope does not know of the scope."""
    yield Fetches, "_join_scopes", lambda *_: None


def _kept_are_evicted() -> Iterator[Change]:
    """A shelf that needs room deletes kept arrays too, instead of spilling them."""
    candidates = room.candidates
    yield room, "candidates", lambda *args: [one._replace(kept=False) for one in candidates(*args)]
    yield room, "evict", lambda shelf, array_id: shelf.delete(array_id)


def _recycled_while_read() -> Iterator[Change]:
    """A writer takes a deleted segment although a reader still looks at it."""

    def open_anyway(path: str) -> lock.OwnedFile | None:
        try:
            return lock.OwnedFile(path)
        except OSError:
            return None

    yield pool, "open_owned", open_anyway


def _finished_in_any_epoch() -> Iterator[Change]:
    """A draft is sealed even if only an earlier catalog has listed it."""
    finish = Shelf.finish
    yield Shelf, "finish", lambda shelf, array_id, _: finish(shelf, array_id, shelf.ledger.epoch)


def _orphans_stay() -> Iterator[Change]:
    """Keepers do not remove the drafts of dead processes."""
    yield Tending, "clear_orphans", lambda _: None


def _silent_are_ignored() -> Iterator[Change]:
    """A node that does not answer counts as one that has confirmed."""

    def nobody(*_: Any) -> Any:
        return []
        yield

    yield asking, "silent", nobody


def _remembered_for_good() -> Iterator[Change]:
    """A reader takes the recent array of a key, and does not ask the key's counter whether it is still the same."""

    def remembered(names: Names, store: str, key: str) -> ArrayInfo | None:
        known = names._memory.get((store, key))  # noqa: SLF001 - a fault is planted there
        return None if known is None else known.info

    yield Names, "remembered", remembered


def _recent_for_good() -> Iterator[Change]:
    """A reader takes a recent array, and does not look whether its file is there still."""
    yield Reader, "_recent_of", lambda reader, array_id: reader._recent.get(array_id)  # noqa: SLF001 - as above


_FAULTS: dict[Callable[[], Iterator[Change]], str] = {
    _sent_without_a_mark: "handles",
    _one_file_is_dropped: "handles",
    _only_the_known_are_asked: "handles",
    _touched_here_alone: "lifetimes",
    _nothing_ends: "lifetimes",
    _scopes_are_not_joined: "scopes",
    _kept_are_evicted: "disk",
    _recycled_while_read: "views",
    _finished_in_any_epoch: "doubles",
    _orphans_stay: "crashes",
    _silent_are_ignored: "partitions",
    _remembered_for_good: "watched",
    _recent_for_good: "handles",
}
THEMED = {function.__name__.strip("_").replace("_", " "): function for function in _FAULTS} | ADOPTION | PORTS
THEME_OF = {function.__name__.strip("_").replace("_", " "): theme for function, theme in _FAULTS.items()}
THEME_OF |= dict.fromkeys(ADOPTION, "restarts") | dict.fromkeys(PORTS, "ports")
"""By name of a planted fault: the theme that finds it soon, if there is one. Others may find it too."""
THEME_OF |= {
    "forget to forbid": "watched",
    "do not ask to forbid": "watched",
    "drop before sealed": "watched",
    "unbind before files are gone": "watched",
    "older listing wins": "listings",
    "late calls are heard": "late",
}
