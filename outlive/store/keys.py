"""StoreKeys: the result of `Store.keys`."""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Mapping
from typing import TYPE_CHECKING, Any

from outlive.store import session
from outlive.store.gateway import in_cluster

if TYPE_CHECKING:
    from outlive.local.place import Place


class StoreKeys(KeysView[str]):
    """The keys of a store that begin with a prefix, sorted; asks the catalog each time it is used."""

    def __init__(self, store: Mapping[str, Any], name: str, prefix: str, place: Place | None = None) -> None:
        super().__init__(store)
        self._store, self._name, self._prefix, self._place = store, name, prefix, place

    def __iter__(self) -> Iterator[str]:
        return iter(_keys(self._name, self._prefix, self._place))

    def __len__(self) -> int:
        return sum(1 for _ in self) if self._prefix else len(self._store)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.startswith(self._prefix) and key in self._store

    def __repr__(self) -> str:
        return f"{self._store!r}.keys({f'prefix={self._prefix!r}' if self._prefix else ''})"


@in_cluster()
def _keys(store: str, prefix: str, place: Place | None) -> list[str]:
    current = session.at(place)
    keys: list[str] = current.ask_catalog("keys", store, prefix)
    return keys


@in_cluster()
def names(store: str, prefix: str, separator: str, dtypes: list[str], place: Place | None = None) -> list[str]:
    """The catalog's `names`: what comes after `prefix` in a store's keys, up to the next `separator`."""
    found: list[str] = session.at(place).ask_catalog("names", store, prefix, separator, dtypes)
    return found
