"""Planted faults of adoption: a keeper takes over the shelf of a dead node on its machine. See `restarts`."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from typing import Any

from outlive.arrays.shelf import Shelf
from outlive.arrays.tend import adopt
from outlive.catalog import deletion, pages, replicas, shelves
from outlive.catalog.instructions import Conversation
from outlive.catalog.state import State
from outlive.cluster import tenure
from outlive.cluster.evacuation import Evacuation
from outlive.cluster.keeper import Keeper
from outlive.cluster.tenure import Tenure

Change = tuple[Any, str, Any]  # an object, an attribute's name, its new value


def _deleted_are_adopted() -> Iterator[Change]:
    """A keeper adopts an array without asking whether it was deleted meanwhile, and the catalog does not ask either."""
    yield tenure, "wanted_of", lambda *_: lambda _: True
    yield State, "deleted_after", lambda *_: 0


def _looked_at_once() -> Iterator[Change]:
    """A keeper adopts an array that is deleted after it has looked, and before its shelf is listed."""
    yield Tenure, "review", lambda _: None
    yield State, "deleted_after", lambda *_: 0


def _adopted_is_not_told() -> Iterator[Change]:
    """The catalog does not hear of adopted arrays."""
    yield Keeper, "_tell_of_adopted", lambda _: None


def _adopted_is_forgotten() -> Iterator[Change]:
    """A keeper that starts does not tell the catalog what the one before had adopted."""
    begin = Tenure._begin  # noqa: SLF001

    def forget_first(new: Tenure) -> None:
        ledger = Shelf(new._path).ledger  # noqa: SLF001
        with ledger.locked():
            ledger.note_adopted(-ledger.adopted)
        begin(new)

    yield Tenure, "_begin", forget_first


def _welcomed_without_a_listing() -> Iterator[Change]:
    """The catalog takes the epoch of an earlier listing for one that has what was adopted."""

    def welcome(state: State, node: str) -> Conversation[None]:
        yield from shelves.know(state, node)
        state.left.discard(node)

    yield shelves, "welcome", welcome


def _left_with_a_shelf_behind() -> Iterator[Change]:
    """A keeper leaves its node although a shelf is still to be adopted there."""
    yield Keeper, "adopts", lambda _: False


def _lost_is_dropped() -> Iterator[Change]:
    """A node that is emptied drops what counts as lost, although it has just adopted that and told nobody."""
    is_gone = replicas._is_gone  # noqa: SLF001

    def forgotten(state: State, info: Any, node: str) -> bool:
        if info.key is None:
            return is_gone(state, info, node)
        return not state.index.holders(info.id) and not state.index.is_superseded(info.id)

    yield replicas, "_is_gone", forgotten
    yield Evacuation, "_adopted_is_untold", False


def _adopted_without_a_mark() -> Iterator[Change]:
    """The catalog does not hear where an array without a key is by now, nor that one that was deleted has come."""
    yield adopt, "marked", lambda mode, **_: stat.S_IMODE(mode)


def _lost_are_not_deleted() -> Iterator[Change]:
    """A deletion leaves an array as it is that counts as lost, or is lost meanwhile."""
    yield deletion, "_end_lost", lambda *_: []


def _not_looked_again() -> Iterator[Change]:
    """A keeper that has adopted arrays does not look again before it is listed, and a new catalog remembers nothing."""
    yield Tenure, "review", lambda _: None


def _settled_is_not_saved() -> Iterator[Change]:
    """The head is not told which dead nodes are settled."""
    yield pages, "losses_known", lambda _: []


def _lost_is_not_saved() -> Iterator[Change]:
    """The head remembers which nodes are settled, and not what was lost with them."""
    yield pages, "saved_as_lost", lambda _: []


ADOPTION: dict[str, Callable[[], Iterator[Change]]] = {
    function.__name__.strip("_").replace("_", " "): function
    for function in (
        _deleted_are_adopted,
        _looked_at_once,
        _adopted_is_not_told,
        _adopted_is_forgotten,
        _welcomed_without_a_listing,
        _left_with_a_shelf_behind,
        _lost_is_dropped,
        _adopted_without_a_mark,
        _lost_are_not_deleted,
        _not_looked_again,
        _settled_is_not_saved,
        _lost_is_not_saved,
    )
}
