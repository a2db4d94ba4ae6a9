"""The two sides that are compared: each has a way to keep an array in a task, and a way to read it."""

from __future__ import annotations

from typing import Any, Protocol

import psutil
import ray

import outlive
from outlive.demo.inputs import Volume
from outlive.demo.shared import in_arenas, in_folder

_GIVE_UP = 30.0  # seconds that one read may take until it counts as failed


class Side(Protocol):
    """One way to keep arrays. Sent to the tasks, so it is picklable."""

    name: str

    def start(self) -> None:
        """Called after Ray has started."""

    def put(self, volume: Volume) -> Any:
        """Keep a volume; returns the value with which it can be read."""

    def get(self, kept: Any) -> Volume:
        """Read a volume that `put` kept."""

    def keeper_pid(self) -> int | None:
        """The process that tends the arrays, if there is one."""

    def shared(self) -> int:
        """Bytes of shared memory that the arrays take. Called in the program that started Ray, by any thread."""

    def stop(self) -> None:
        """Called before Ray is stopped."""


class RaySide:
    """`ray.put`, with the ref in a list: Ray would replace a plain ref by its value."""

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

    def shared(self) -> int:
        return in_arenas(child.pid for child in psutil.Process().children() if child.name() == "raylet")

    def stop(self) -> None:
        """Nothing to do."""


class OutliveSide:
    """`store.put`, with its handle. It uses no keys, because `ray.put` has none."""

    name = "outlive"

    def __init__(self) -> None:
        self._store = outlive.Store("demo")
        self._shelf = ""

    def start(self) -> None:
        self._shelf = outlive.open("demo").stats().shelves[0].path

    def put(self, volume: Volume) -> Any:
        return self._store.put(volume)

    def get(self, kept: Any) -> Volume:
        volume: Volume = kept.get()
        return volume

    def keeper_pid(self) -> int | None:
        return self._store.stats().shelves[0].keeper_pid

    def shared(self) -> int:
        return in_folder(self._shelf)

    def stop(self) -> None:
        outlive.shutdown()
