"""What travels between processes arrives as it was, and what earlier versions left with the head is understood."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from outlive.arrays.info import ArrayInfo
from outlive.catalog import pages, wire
from outlive.catalog.losses import Lost
from outlive.catalog.wire import Bound, Found, Listed, Successor

INFO = ArrayInfo("0" * 32, "default", "ct \N{SNOWMAN}", "'<f8'", (2, 3), False, 128, 48, 700, (1 << 63) - 1, 1.5, 2, "")
UNNAMED = INFO._replace(key=None, shape=(), dtype="[('x', '<i4')]", fortran=True, codec="tree")
SOME = [Found(INFO, ["a", "b"], True, 1 << 60, replacing=True), None, Found(UNNAMED, ["a"], lost_at=1.5, alone=True)]


@pytest.mark.parametrize(
    ("pack", "unpack", "content"),
    [
        (wire.pack, wire.unpack, ([INFO, UNNAMED],)),
        (wire.pack, wire.unpack, ([],)),
        (wire.pack_request, wire.unpack_request, ([INFO], "node", 7)),
        (wire.pack_bound, wire.unpack_bound, (Bound(1 << 62, 0, True),)),
        (wire.pack_found, wire.unpack_found, (SOME,)),
        (wire.pack_held, wire.unpack_held, (3, SOME)),
        (wire.pack_listed, wire.unpack_listed, ([Listed(INFO, False, True, [Successor(5, "1" * 32, "b")])],)),
    ],
)
def test_what_is_packed_arrives_as_it_was(pack: Callable[..., bytes], unpack: Callable[..., Any], content: Any) -> None:
    found = unpack(pack(*content))
    assert found == (content[0] if len(content) == 1 else content)
    assert repr(found) == repr(content[0] if len(content) == 1 else content), "tuples stay tuples, and lists lists"


def test_lost_arrays_that_an_earlier_version_left_with_the_head_are_understood() -> None:
    page = json.dumps([Found(INFO, ["a"], lost_at=1.5), Found(UNNAMED, ["b"], lost_at=2.5)]).encode()
    saved = {pages.LOST: b"[0]", pages.page(0): page}
    assert pages.saved_as_lost(saved.get) == [Lost(INFO, "a", 1.5), Lost(UNNAMED, "b", 2.5)]
    assert wire.unpack_found(b"[]") == []
