"""Adding: a put that replaces nothing."""

from __future__ import annotations

from typing import Any

from outlive.arrays.info import check_key
from outlive.store.commit import KeyTaken, commit
from outlive.store.gateway import in_cluster
from outlive.store.replicas import replicate
from outlive.store.store import Store


def _packed(store: Store, value: Any, key: str, **_ends: Any) -> tuple[Any, ...]:
    return store, store._form(value), key  # noqa: SLF001


@in_cluster(_packed)
def add(
    store: Store,
    value: Any,
    key: str,
    *,
    lifetime: str | None = None,
    ttl: float | str | None = None,
    pin: bool = False,
    replicas: int = 1,
) -> bool:
    """`store.put`, unless the key has an array already, which may be lost: then False, and nothing is stored.

    Of several processes that add one key at the same time, on whatever nodes, one is told True.
    """
    session = store._session()  # noqa: SLF001
    options = store._options(session, lifetime or "detached", ttl, pin, replicas)  # noqa: SLF001
    draft = session.writer.draft_of(store._form(value), store=store.name, key=check_key(key), options=options)  # noqa: SLF001
    try:
        commit(session, [draft], only_new=True)
    except KeyTaken:
        return False
    replicate(session, [draft.info])
    return True
