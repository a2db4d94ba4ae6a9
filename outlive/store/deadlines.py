"""Deadlines: when arrays with a time to live end, and how it begins again."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from outlive.arrays.info import ArrayInfo
from outlive.arrays.lifetimes import deadline_from
from outlive.arrays.marks import is_only_here
from outlive.catalog.wire import pack
from outlive.cluster.port import PATIENCE, Nobody
from outlive.store.elsewhere import locate
from outlive.store.gone import missing

if TYPE_CHECKING:
    from outlive.store.session import Session


def touch(session: Session, info: ArrayInfo, hint: str | None) -> None:
    """Let an array's time to live begin again, on all nodes that have it.

    Raises
    ------
    ArrayNotFound, ArrayLost
    StoreUnavailable
        A node that keeps it too did not confirm: it may end at its earlier time.
    """
    if session.shelf.has(info.id):
        session.shelf.touch(info)  # raises if it is too late
    if is_only_here(session.shelf, info.id):
        return
    deadline = deadline_from(time.time(), info.ttl)
    if not session.ask_catalog("touch", pack([info]), deadline, hint):
        raise missing(session, info, locate(session, info, hint), hint)


def deadline(session: Session, info: ArrayInfo, hint: str | None) -> float | None:
    """When an array's time to live is over, in seconds since 1970.

    Raises
    ------
    ArrayNotFound, ArrayLost
    """
    if session.shelf.has(info.id):
        return session.shelf.deadline(info)
    located = locate(session, info, hint)
    for node in located.nodes:
        with contextlib.suppress(Nobody):  # it has left the node
            found: int = session.ask_node(node, "deadline_ns", info.id, patience=PATIENCE)
            if found:
                return found / 1e9 if info.ttl else None
    raise missing(session, info, located, hint)
