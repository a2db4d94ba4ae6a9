"""Planted faults of the catalog's care for arrays that are being replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from outlive.catalog import replaced
from outlive.catalog.state import State

Change = tuple[Any, str, Any]  # an object, an attribute's name, its new value


def _nothing_is_given_back() -> Iterator[Change]:
    """The catalog does not list again the array that a put was to replace, if the put comes to nothing."""
    yield State, "restore", lambda *_: None


def _replaced_stays() -> Iterator[Change]:
    """The catalog drops a replaced array only if the new one is sealed at the first try."""
    yield replaced, "try_again", lambda state: state.again.clear()


CATALOG: dict[str, Callable[[], Iterator[Change]]] = {
    function.__name__.strip("_").replace("_", " "): function for function in (_nothing_is_given_back, _replaced_stays)
}
