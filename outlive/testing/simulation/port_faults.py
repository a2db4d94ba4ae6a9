"""Planted faults of calls and arrays that go by ports."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from outlive.arrays.draft import Draft
from outlive.arrays.info import ArrayInfo
from outlive.cluster import answering, direct, lines, serving
from outlive.cluster.answering import Answering
from outlive.cluster.own_copies import OwnCopies
from outlive.cluster.transfer import Source, directly
from outlive.testing.simulation.adoption_faults import Change


def _former_catalogs_answer() -> Iterator[Change]:
    """A catalog whose lease is over answers at its port all the same."""
    yield Answering, "may_answer", lambda _: True
    yield Answering, "_renew", lambda one: one._peers.save(lines.WHERE, one._told)  # noqa: SLF001 - it is planted there


def _leases_are_not_waited_for() -> Iterator[Change]:
    """A catalog takes a former one for dead, which goes on."""
    yield answering, "_is_gone", lambda _: True


def _served_without_a_mark() -> Iterator[Change]:
    """An array without a key is not marked when it is sent by a port, so its deletion asks no other node."""
    yield serving, "mark", lambda *_, **__: True


def _own_copies_are_not_told() -> Iterator[Change]:
    """A reader seals a copy of its own, and does not tell the catalog of it."""

    def seal(draft: Draft) -> None:
        with draft.shelf.ledger.locked():
            draft.settled = draft.shelf._rename(draft.path, draft.info.id)  # noqa: SLF001 - it is planted there

    def make(copies: OwnCopies, info: ArrayInfo, node: str, epoch: int) -> bool:
        act = functools.partial(direct.copy, copies._shelf, kept=False, size=info.size)  # noqa: SLF001
        draft = directly(Source(copies._peers, node, 0, epoch, copies._links), info.id, act)  # noqa: SLF001
        if draft is not None:
            seal(draft)
        return draft is not None

    yield OwnCopies, "_make", make


PORTS: dict[str, Callable[[], Iterator[Change]]] = {
    function.__name__.strip("_").replace("_", " "): function
    for function in (
        _former_catalogs_answer,
        _leases_are_not_waited_for,
        _served_without_a_mark,
        _own_copies_are_not_told,
    )
}
