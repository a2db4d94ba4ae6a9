"""Pages: what the head remembers of lost arrays and of shelves, in its key-value store, whichever actors die."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from outlive.arrays.info import ArrayInfo
from outlive.catalog.losses import Lost
from outlive.catalog.wire import Found, pack_found, unpack_found

LOST = "lost"  # the numbers of the pages of lost arrays; each page has a key of its own
LOSSES_KNOWN = "settled"  # the dead nodes whose losses are known
SHELVES = "shelves"  # the nodes that have a shelf, or may have one
STRAYS = "strays"  # the nodes that died before a catalog had heard from them: their losses are not known
GRAVES = "graves"  # the numbers of the pages of keys that were deleted since; each page has a key of its own
VERSIONS = "versions"  # a version that no array has exceeded yet
Load = Callable[[str], bytes | None]


def page(number: int) -> str:
    """The key of a page."""
    return f"{LOST}-{number}"


def grave_page(number: int) -> str:
    """The key of a page of deleted keys."""
    return f"{GRAVES}-{number}"


def strays(load: Load) -> set[str]:
    """The nodes that died before a catalog had heard from them, as far as the last catalog knew."""
    return set(json.loads(load(STRAYS) or b"[]"))


def graves(load: Load) -> list[tuple[tuple[str, str], int]]:
    """Store, key and version of what was deleted since."""
    numbers = json.loads(load(GRAVES) or b"[]")
    found = (json.loads(load(grave_page(number)) or b"[]") for number in numbers)
    return [((store, key), version) for some in found for store, key, version in some]


def pack_lost(lost: Iterable[Lost]) -> bytes:
    return pack_found(Found(one.info, [one.node], lost_at=one.at) for one in lost)


def losses_known(load: Load) -> list[str]:
    """The dead nodes whose losses are known."""
    found: list[str] = json.loads(load(LOSSES_KNOWN) or b"[]")
    return found


def shelves(load: Load) -> set[str]:
    """The nodes that have a shelf, or may have one: an earlier catalog listed it, or was about to."""
    return set(json.loads(load(SHELVES) or b"[]"))


def versions(load: Load) -> int:
    """A version that no array exceeds that an earlier catalog has listed; 0 if none has noted one."""
    return int(load(VERSIONS) or b"0")


def saved_as_lost(load: Load) -> list[Lost]:
    """The lost arrays that the last catalog saved."""
    pages = json.loads(load(LOST) or b"[]")
    found = (unpack_found(load(page(number)) or b"[]") for number in pages)
    return [Lost(one.info, one.nodes[0], one.lost_at) for some in found for one in some if one is not None]


def wanted_of(node: str, load: Load) -> Callable[[ArrayInfo], bool]:
    """Says of each array of a dead node whether it is wanted back, by what the catalog has saved.

    If the node's losses are known, an array with a key is wanted only if it is lost: else another node keeps it, or it
    was overwritten or deleted since.
    """
    if node not in losses_known(load):
        return lambda _: True
    lost = {one.info.id for one in saved_as_lost(load)}
    return lambda info: info.key is None or info.id in lost
