"""What workers of pools do: functions that a spawned process can import."""

from __future__ import annotations

import os

import numpy as np

import outlive


def put(root: str, number: int) -> outlive.ArrayHandle:
    """An array without a key, and so of lifetime "job"."""
    return outlive.open(local=True, root=root).put(np.full(50_000, number))


def total(handle: outlive.ArrayHandle) -> tuple[int, int]:
    return os.getpid(), int(handle.get().sum())


def put_by_key(store: outlive.Store, number: int) -> int:
    store[f"k/{number}"] = np.full(50_000, number)
    return os.getpid()


def hold(handle: outlive.ArrayHandle, pid: object) -> None:
    """Look at an array until the process is killed."""
    view = handle.get()
    outlive.open(local=True, root=handle.hint.split(":", 2)[2]).put(view, "by the killed one")
    pid.send(os.getpid())
    pid.recv()
