"""PutOptions: how an array is kept."""

from __future__ import annotations

from typing import NamedTuple

from outlive.arrays.layout import PINNED, PRIVATE
from outlive.arrays.lifetimes import DETACHED, Lifetime


class PutOptions(NamedTuple):
    """What a put may ask for beside the array, its store and its key. None of it can be changed later but `pin`."""

    lifetime: Lifetime = DETACHED
    """With what it ends."""
    pin: bool = False
    """It stays in memory: it is never spilled."""
    replicas: int = 1
    """The number of nodes that keep it."""

    @property
    def mode(self) -> int:
        """That of the array's file; see `layout`."""
        return PINNED if self.pin else PRIVATE


DEFAULT = PutOptions()
