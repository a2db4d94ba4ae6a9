"""Nodes: what each holds, and how to have one let go."""

from __future__ import annotations

from collections.abc import Callable

from outlive.store import session
from outlive.store.gateway import in_cluster
from outlive.store.nodes import Drained, NodeRow, drain_node, node_rows


@in_cluster()
def nodes() -> list[NodeRow]:
    """Each node of the cluster: its role, what it holds, what lives nowhere else, and why it cannot go.

    Raises
    ------
    StoreUnavailable
        This process is not connected to a Ray cluster.
    """
    return node_rows(session.current())


@in_cluster()
def drain(node: str, progress: Callable[[int, int], None] | None = None) -> Drained:
    """Have other nodes keep the arrays of this one, so that it may go. Programs may go on meanwhile.

    Parameters
    ----------
    node
        Its id, as in `nodes()`.
    progress
        Called now and then with the bytes moved so far and the bytes in all.

    Returns
    -------
    Drained
        With `stayed`, if something could not leave: why.

    Raises
    ------
    StoreUnavailable
        No such node is alive.
    """
    return drain_node(session.current(), node, progress)
