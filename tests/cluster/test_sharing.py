"""Files that share a Ray: which tests go together, and when what they share begins and ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.sharing import TOGETHER, Shared, group_of, together

ONE, OTHER, ALONE = "tests/cluster/test_store.py", "tests/zarr/test_processes.py", "tests/cluster/test_forked.py"


def item(file: str, name: str = "test_it") -> Any:
    return SimpleNamespace(nodeid=f"{file}::{name}")


def request(file: str) -> Any:
    return SimpleNamespace(node=SimpleNamespace(nodeid=file))


def test_tests_of_a_group_follow_each_other_and_all_others_stay_in_order() -> None:
    begun = [item(ALONE, "a"), item(ONE, "b"), item(ALONE, "c"), item("tests/x.py", "d"), item(OTHER, "e"), item(ONE)]
    assert [one.nodeid[-1] for one in together(begun)] == ["a", "c", "b", "e", "t", "d"]
    assert group_of(f"{ONE}::test_it[a::b]") == group_of(OTHER) == "a store"
    assert group_of(f"{ALONE}::test_it") == ALONE
    assert all(len(files) > 1 for files in TOGETHER.values())


def test_what_is_shared_begins_once_and_ends_before_a_test_of_another_group() -> None:
    shared, log = Shared(), list[str]()

    @contextlib.contextmanager
    def start() -> Iterator[int]:
        log.append("begins")
        yield len(log)
        log.append("ends")

    assert [shared.get(request(file), start) for file in (ONE, ONE, OTHER)] == [1, 1, 1]
    shared.close_before(item(ONE))
    assert log == ["begins"]
    shared.close_before(item(ALONE))
    shared.close_before(None)
    assert log == ["begins", "ends"]
    assert shared.get(request(ONE), start) == 3
    assert shared.get(request(ALONE), start) == 5  # a test that nobody foresaw was next
    shared.close_before(None)
    assert log == ["begins", "ends"] * 3


def test_what_did_not_begin_is_asked_for_again() -> None:
    shared = Shared()

    @contextlib.contextmanager
    def fail() -> Iterator[None]:
        raise OSError("no room")
        yield

    for _ in range(2):
        with pytest.raises(OSError, match="no room"):
            shared.get(request(ONE), fail)
    assert shared.get(request(ONE), lambda: contextlib.nullcontext(7)) == 7
