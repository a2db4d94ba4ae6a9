"""Scopes: all arrays that any process of any node puts in a `with` block end with it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from outlive.arrays.lifetimes import ScopeLock, join_scope, marked_nodes, scope_path
from outlive.arrays.limits import number_of_files
from outlive.cluster.ending import end_scope_here
from outlive.cluster.port import Call, Nobody
from outlive.errors import StoreUnavailable

if TYPE_CHECKING:
    from outlive.store.session import Session

_PATIENCE = 30.0  # seconds for a keeper that does not answer: it ends the scope when it goes on
_LISTED = 20_000  # arrays: of more, the keeper knows which are in a scope


class Scope(NamedTuple):
    """A `with` block: its number, and the node of its process."""

    number: int
    node: str


def enter_scope(session: Session, scope: Scope) -> None:
    """Before something is put in a scope: its node learns of this one."""
    known = os.path.lexists(scope_path(session.shelf.scopes, scope.number))
    if scope.node != session.node and not known:
        with contextlib.suppress(Nobody):  # its keeper is gone: it is over, as this node's keeper will find
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
    if session.shelf.ledger.left or not session.shelf.exists():
        session.shelf.removed = True
        raise StoreUnavailable(f"the store was shut down: {session.shelf.path} is gone; call outlive.open() again")


def end_scope(session: Session, lock: ScopeLock) -> None:
    """Delete all arrays of a scope, on all nodes."""
    if not lock.ours:  # a child that was forked in the block leaves it: the arrays are its parent's
        return
    try:
        if number_of_files(session.shelf.mem) <= _LISTED or not _ended_by_keepers(session, lock.number, [session.node]):
            end_scope_here(
                session.shelf,
                lock.number,
                lambda keyed: session.ask_catalog("end", keyed),
                end_copies=lambda spread: session.ask_catalog("ended", spread, session.node),
            )
        _ended_by_keepers(session, lock.number, marked_nodes(session.shelf.scopes, lock.number))  # else they will ask
    finally:
        lock.release()  # the keepers end the rest


def _ended_by_keepers(session: Session, number: int, nodes: list[str]) -> bool:
    if not nodes:
        return True
    return len(session.peers.ask({node: Call.of("end_scope", number) for node in nodes}, _PATIENCE)) == len(nodes)
