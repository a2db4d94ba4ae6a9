"""Waiting for a condition. This imports no `tests.conftest`, which sets its process up for tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = 60) -> T:
    """Wait until `condition()` is true and return what it returned; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"still not true after {seconds} s: {condition}")
        time.sleep(0.05)
