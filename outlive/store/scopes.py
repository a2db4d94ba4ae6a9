"""Scopes: all arrays that any process of any node puts in a `with` block end with it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from outlive.arrays.lifetimes import ScopeLock, join_scope, marked_nodes, scope_path
from outlive.arrays.limits import number_of_files
from outlive.cluster.ending import end_scope_here
from outlive.cluster.port import Call, Nobody

if TYPE_CHECKING:
    from outlive.store.session import Session

_PATIENCE = 30.0  # seconds to wait for a keeper: one that is stopped ends the scope when it runs again
_LISTED = 20_000  # arrays: if a shelf has more, its keeper is asked which of them are in the scope


class Scope(NamedTuple):
    """A `with` block: its number, and the node of its process."""

    number: int
    node: str


def enter_scope(session: Session, scope: Scope) -> None:
    """Called before an array is put in a scope: the scope's node learns that this node has some."""
    known = os.path.lexists(scope_path(session.shelf.scopes, scope.number))
    if scope.node != session.node and not known:
        with contextlib.suppress(Nobody):  # the keeper is gone, so the scope is over: this node's keeper will find that
            session.ask_node(scope.node, "mark_scope", scope.number, session.node, patience=_PATIENCE)
        with session.shelf.ledger.locked():
            _see_that_it_stays(session)
            join_scope(session.shelf.scopes, scope.number, scope.node)


def open_scope(session: Session) -> ScopeLock:
    """A scope of this process.

    Raises
    ------
    StoreUnavailable
        The shelf was removed.
    """
    with session.shelf.ledger.locked():  # a keeper that leaves looks under it too whether there is a scope
        _see_that_it_stays(session)
        return ScopeLock(session.shelf.scopes)


def _see_that_it_stays(session: Session) -> None:
    if session.shelf.ledger.keeper_left or not session.shelf.exists():
        raise session.shelf.gone()


def end_scope(session: Session, lock: ScopeLock) -> None:
    """Delete all arrays of a scope, on all nodes."""
    if not lock.ours:  # a child that was forked in the block leaves it, and its parent keeps the arrays
        return
    try:
        if number_of_files(session.shelf.mem) <= _LISTED or not _ended_by_keepers(session, lock.number, [session.node]):
            end_scope_here(
                session.shelf,
                lock.number,
                lambda keyed: session.ask_catalog("end", keyed),
                end_copies=lambda spread: session.ask_catalog("ended", spread, session.node),
            )
        # a node that does not hear of it will ask
        _ended_by_keepers(session, lock.number, marked_nodes(session.shelf.scopes, lock.number))
    finally:
        lock.release()  # the keepers end the other arrays


def _ended_by_keepers(session: Session, number: int, nodes: list[str]) -> bool:
    if not nodes:
        return True
    return len(session.peers.ask({node: Call.of("end_scope", number) for node in nodes}, _PATIENCE)) == len(nodes)
