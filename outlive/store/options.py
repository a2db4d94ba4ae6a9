"""How an array that is put is to be kept, from what a call asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outlive.arrays.lifetimes import JOB, SCOPE, Lifetime, lifetime_from
from outlive.arrays.put_options import PutOptions
from outlive.store.replicas import check_replicas
from outlive.store.scopes import Scope, enter_scope

if TYPE_CHECKING:
    from outlive.store.session import Session


def put_options(
    session: Session, scope: Scope | None, lifetime: str, ttl: float | str | None, pin: bool, replicas: int
) -> PutOptions:
    """The options of a put, through a scope's store or none. Raises ValueError if one cannot be."""
    check_replicas(replicas)
    if replicas > 1 and session.place is not None:
        raise ValueError(f"replicas={replicas}: a local store is on one machine, which keeps each array once")
    ends = lifetime_from(lifetime, ttl, session.connection.job if lifetime == "job" else 0)
    if scope is not None:
        enter_scope(session, scope)
        ends = Lifetime(ends.kind & ~JOB | SCOPE, scope.number, ends.ttl)
    return PutOptions(ends, pin, replicas)
