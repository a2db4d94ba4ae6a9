"""The two sides that are compared: how a task keeps an array, and how a program reads it."""

from __future__ import annotations

from typing import Any, Protocol

import ray

import outlive
from outlive.demo.inputs import Volume

_GIVE_UP = 30.0  # seconds that one read may take until it counts as failed


class Side(Protocol):
    """One way to keep arrays. Sent to the tasks, so it is picklable."""

    name: str

    def start(self) -> None:
        """What comes after Ray has started."""

    def put(self, volume: Volume) -> Any:
        """Keep a volume; returns what it takes to read it."""

    def get(self, kept: Any) -> Volume:
        """Read what `put` kept."""

    def keeper_pid(self) -> int | None:
        """The process that tends the arrays, if there is one."""

    def stop(self) -> None:
        """What comes before Ray is stopped."""


class RaySide:
    """`ray.put`, and the ref handed out in a list: a ref by itself would be replaced by its value."""

    name = "ray"

    def start(self) -> None:
        """Nothing to do."""

    def put(self, volume: Volume) -> Any:
        return [ray.put(volume)]

    def get(self, kept: Any) -> Volume:
        volume: Volume = ray.get(kept[0], timeout=_GIVE_UP)
        return volume

    def keeper_pid(self) -> int | None:
        return None

    def stop(self) -> None:
        """Nothing to do."""


class OutliveSide:
    """`store.put`, and its handle. Without keys: `ray.put` has none either."""

    name = "outlive"

    def __init__(self) -> None:
        self._store = outlive.Store("demo")

    def start(self) -> None:
        outlive.open("demo")

    def put(self, volume: Volume) -> Any:
        return self._store.put(volume)

    def get(self, kept: Any) -> Volume:
        volume: Volume = kept.get()
        return volume

    def keeper_pid(self) -> int | None:
        return self._store.stats().shelves[0].keeper_pid

    def stop(self) -> None:
        outlive.shutdown()
