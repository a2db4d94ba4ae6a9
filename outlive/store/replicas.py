"""Replicas: made before a put returns, if the cluster has the nodes and the room."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

from outlive import progress
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import COPIED
from outlive.arrays.marks import mark
from outlive.catalog.wire import pack
from outlive.units import count, format_size

if TYPE_CHECKING:
    from outlive.store.session import Session


class FewerReplicas(UserWarning):
    """Arrays are kept on fewer nodes than was asked for."""


def check_replicas(replicas: int) -> None:
    """Raises ValueError unless it is a positive whole number."""
    if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 1:
        raise ValueError(f"replicas is the number of nodes that keep the array, at least 1, not {replicas!r}")


def replicate(session: Session, infos: list[ArrayInfo]) -> None:
    """Make the replicas that sealed arrays ask for, as far as there are nodes and room."""
    if not any(info.replicas > 1 for info in infos):
        return
    for info in infos:
        mark(session.shelf, info.id, add=COPIED)
    size = format_size(sum(info.nbytes for info in infos))
    with progress.of(f"making replicas of {count(len(infos), 'array')}, {size}"):
        kept = session.ask_catalog("replicate", pack(infos), session.node, session.shelf.ledger.epoch)
    for info in infos:
        if info.key is not None:
            session.shelf.name(info)
    fewest = min(zip(kept, infos, strict=True), key=lambda pair: pair[0] - pair[1].replicas)
    if fewest[0] < fewest[1].replicas:
        warnings.warn(
            f"replicas={fewest[1].replicas}, but only {fewest[0]} so far: too few nodes, or no room on them. "
            "The others are made as soon as that changes; see `handle.durability`",
            FewerReplicas,
            stacklevel=_outside(),
        )


def _outside() -> int:
    """The `stacklevel` of the caller's own code: the first frame that is not this package's."""
    package, frame, level = __name__.partition(".")[0], sys._getframe(1), 1  # noqa: SLF001
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level
