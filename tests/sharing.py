"""Files whose tests share one Ray: they run in one process, one after the other, and it ends with the last of them.

A Ray costs seconds of processor time to start, so files that look at one and leave it as it was have one together. A
file whose tests kill what runs there, or change settings, has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

TOGETHER = {
    "a store": (
        "cluster/test_conformance.py", "cluster/test_lifetimes.py", "cluster/test_outlives.py",
        "cluster/test_save_load.py", "cluster/test_store.py", "cluster/test_values.py",
        "zarr/test_processes.py",
    ),
    "errors of Ray": (
        "explain/test_ids.py", "explain/test_live.py", "explain/test_notes.py", "explain/test_real_errors.py",
    ),
}  # fmt: skip
_GROUPS = {f"tests/{file}": group for group, files in TOGETHER.items() for file in files}
assert all(Path(__file__).parents[1].joinpath(file).exists() for file in _GROUPS)


def group_of(nodeid: str) -> str:
    """What a test's file has in common with others, or else the file."""
    file = nodeid.partition("::")[0]
    return _GROUPS.get(file, file)


def is_shared(request: pytest.FixtureRequest) -> bool:
    """Whether the file of this request is one of several that have something in common."""
    return request.node.nodeid.partition("::")[0] in _GROUPS


def together(items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests of a group one after the other, where its first one was."""
    first: dict[str, int] = {}
    for place, item in enumerate(items):
        first.setdefault(group_of(item.nodeid), place)
    return sorted(items, key=lambda item: first[group_of(item.nodeid)])


class Scheduling(LoadFileScheduling):
    """`--dist loadfile`, with files of a group as if they were one."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


class Shared:
    """What a group shares, from when one of its files asks for it until the next test is of another group."""

    def __init__(self) -> None:
        self._group, self._value, self._end = "", None, ExitStack()

    def get(self, request: pytest.FixtureRequest, start: Callable[[], AbstractContextManager[Any]]) -> Any:
        """What `start` gave to the first of the group, for the file of this request."""
        group = group_of(request.node.nodeid)
        if group != self._group:
            self.close()
            self._value, self._group = self._end.enter_context(start()), group
        return self._value

    def close_before(self, following: pytest.Item | None) -> None:
        """Called after each test, with the next one of this process."""
        if following is None or group_of(following.nodeid) != self._group:
            self.close()

    def close(self) -> None:
        self._group, self._value = "", None
        self._end.close()


shared = Shared()
