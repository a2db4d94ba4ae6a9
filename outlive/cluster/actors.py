"""The actors: their names, and how to find them."""

from __future__ import annotations

import contextlib
from typing import Any

import ray
from ray.util import list_named_actors

from outlive.errors import StoreUnavailable

NAMESPACE = "outlive"
CATALOG = "catalog"
_KEEPER = "keeper-"
MIRROR = "mirror-"  # as in `store.mirroring`


def keeper(node: str) -> Any:
    """The keeper of a node. Raises ValueError if it has none."""
    return find(keeper_name(node))


def catalog() -> Any:
    """The catalog. Raises ValueError if there is none."""
    return find(CATALOG)


def keeper_name(node: str) -> str:
    return _KEEPER + node


def find(name: str) -> Any:
    """A living actor by its name.

    Raises
    ------
    ValueError
        There is none.
    StoreUnavailable
        This process is not connected to a Ray cluster (any more).
    """
    if not ray.is_initialized():  # else Ray would connect it to some cluster, or start one
        raise StoreUnavailable("this process is not connected to a Ray cluster; call outlive.open() first")
    return ray.get_actor(name, namespace=NAMESPACE)


def end(name: str) -> None:
    """End an actor for good, if there is one."""
    with contextlib.suppress(ValueError):
        ray.kill(find(name), no_restart=True)


def keeper_nodes() -> list[str]:
    """The nodes that have a keeper."""
    return [name.removeprefix(_KEEPER) for name in _names(_KEEPER)]


def mirrors() -> list[str]:
    """The names of the mirrors that run."""
    return _names(MIRROR)


def _names(beginning: str) -> list[str]:
    named = list_named_actors(all_namespaces=True)
    names = (actor["name"] for actor in named if actor["namespace"] == NAMESPACE)
    return sorted(name for name in names if name.startswith(beginning))
