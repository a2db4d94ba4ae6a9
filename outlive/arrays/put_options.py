"""PutOptions: how an array is kept."""

from __future__ import annotations

from typing import NamedTuple

from outlive.arrays.layout import PINNED, PRIVATE
from outlive.arrays.lifetimes import DETACHED, Lifetime


class PutOptions(NamedTuple):
    """The options of a put, beside the array, its store and its key. Only `pin` can be changed later."""

    lifetime: Lifetime = DETACHED
    """The lifetime of the array."""
    pin: bool = False
    """It stays in memory: it is never spilled."""
    replicas: int = 1
    """The number of nodes that keep it."""

    @property
    def mode(self) -> int:
        """The mode of the array's file; see `layout`."""
        return PINNED if self.pin else PRIVATE


DEFAULT = PutOptions()
