"""Many small arrays at a time: what the catalog does where a call for each of them would take longer than its bytes."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator

import ray
from ray.exceptions import RayError

from outlive.arrays.info import ArrayInfo
from outlive.cluster.holders import Holders, to_copy
from outlive.cluster.wire import pack, unpack
from outlive.errors import StoreUnavailable

SMALL = 1 << 20  # bytes of a segment, up to which it travels with others
_STEP_BYTES, _STEP_ARRAYS = 32 << 20, 500  # that a node is asked to copy at a time
_WORTH_IT = 8  # arrays


class Bulk(Holders):
    """The part of the `Catalog` that makes replicas of many arrays."""

    def __init__(self) -> None:
        self._bulk, self._in_bulk = threading.Lock(), set[str]()
        super().__init__()

    @ray.method(concurrency_group="slow")
    def join_copies(self, packed: bytes, home: str, node: str, kept: bool) -> list[int]:
        """`join_copy` for many."""
        infos = unpack(packed)
        if node not in self._epochs:
            self._join_to_read(node)
        known = self._is_known(home, infos)
        return [self._join_copy(info, home, node, kept=kept) if known or info.key else 0 for info in infos]

    def _replicate_many(self, infos: list[ArrayInfo]) -> list[int]:
        with self._bulk:  # one at a time, so that no two make the same copies
            with self._lock:
                some = [info for info in infos if info.size <= SMALL and info.id not in self._copying]
                self._in_bulk = {info.id for info in some}
            try:
                if len(some) >= _WORTH_IT:
                    list(self._pool.map(self._replicate_step, self._steps(some)))
            finally:
                self._in_bulk = set()
        return super()._replicate_many(infos)  # those that are large, or whose turn failed

    def _few(self) -> list[ArrayInfo]:
        return [info for info in super()._few() if info.id not in self._in_bulk]

    def _steps(self, infos: Iterable[ArrayInfo]) -> Iterator[tuple[int, list[ArrayInfo], list[str]]]:
        """Portions of arrays that the same nodes keep: a number, the arrays, and those nodes."""
        together: dict[tuple[str, ...], list[ArrayInfo]] = defaultdict(list)
        for info in infos:
            kept = self._kept(info.id)
            if 0 < len(kept) < info.replicas:
                together[tuple(kept)].append(info)
        number = 0
        for kept_on, some in together.items():
            step, room = list[ArrayInfo](), _STEP_BYTES
            for info in some:
                if step and (info.size > room or len(step) >= _STEP_ARRAYS):
                    yield number, step, list(kept_on)
                    number, step, room = number + 1, [], _STEP_BYTES
                step.append(info)
                room -= info.size
            yield number, step, list(kept_on)
            number += 1

    def _replicate_step(self, step: tuple[int, list[ArrayInfo], list[str]]) -> None:
        """Have nodes copy a portion; each portion by others, so that they share the load."""
        number, infos, kept = step
        whole = infos[0]._replace(size=sum(info.size for info in infos))
        targets = self._targets(whole, "", anywhere=True)
        missing = max(info.replicas for info in infos) - len(kept)
        for i in range(min(missing, len(targets))):
            target = targets[(number + i) % len(targets)]
            wanted = [info for info in infos if len(self._kept(info.id)) < info.replicas]
            with contextlib.suppress(RayError, ValueError, StoreUnavailable):  # it dies, or is stopped
                call = self._keeper_of(target).fetch_many.remote(pack(wanted), kept[0])
                self._answers({target: call}, to_copy(whole.size))
