"""The fsck of a cluster: each shelf by its keeper, in steps, and the catalog against the shelves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from outlive.arrays.defect import Defect
from outlive.catalog.wire import pack, unpack

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.store.session import Session

_STEP_BYTES, _STEP_ARRAYS = 512 << 20, 10_000  # bytes a call of the keeper: a fraction of a second


def check(session: Session, progress: Callable[[int, int], None] | None = None) -> list[Defect]:
    """Go through all shelves; see `Store.check`. Each step can be repeated: a keeper may be killed meanwhile."""
    findings: list[Defect] = []
    shelves = []
    for node, (found, sizes) in session.ask_each("check_shelf"):
        findings += found
        shelves.append((node, sizes))
    done, total = 0, sum(size for _, sizes in shelves for size in sizes.values())
    for node, sizes in shelves:
        keyed: list[ArrayInfo] = []
        for step in _steps(sizes):
            findings += session.ask_node(node, "check_arrays", step)
            done += sum(sizes[array_id] for array_id in step)
            if progress is not None:
                progress(done, total)
            for packed in session.ask_node(node, "describe", step):
                keyed += unpack(packed)
        # The listing lacks arrays put since, and still has arrays deleted since: the catalog looks again before it
        # mends.
        findings += session.ask_catalog("reconcile", node, pack(keyed))
    return findings


def _steps(sizes: dict[str, int]) -> list[list[str]]:
    """Arrays in portions."""
    steps: list[list[str]] = [[]]
    room = _STEP_BYTES
    for array_id, size in sizes.items():
        if steps[-1] and (size > room or len(steps[-1]) >= _STEP_ARRAYS):
            steps.append([])
            room = _STEP_BYTES
        steps[-1].append(array_id)
        room -= size
    return [step for step in steps if step]
