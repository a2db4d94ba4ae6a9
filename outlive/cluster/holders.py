"""The catalog's knowledge of who holds which copy: where an array is, who shall have one more, what a dead node took.

A copy is *kept*, and counts, or *cached*. Nothing drops one that is kept before the catalog has found another: so the
last replica of an array is never dropped, whoever evicts, evacuates or dies at the same time.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from outlive.arrays.index import Holding, Index, Replacement
from outlive.arrays.info import ArrayInfo
from outlive.arrays.lost import Lost
from outlive.cluster import actors
from outlive.cluster.peers import PATIENCE, Call, Peer, Peers
from outlive.cluster.wire import Found, Listed, Located, pack, pack_found, unpack, unpack_found
from outlive.errors import StoreUnavailable
from outlive.ray_internals import Connection, kv
from outlive.ray_internals.nodes import Node, nodes

T = TypeVar("T")
_log = logging.getLogger(__name__)
_ROUNDS_EVERY = 1.0  # seconds
_LOST = "lost"  # which pages of what was lost there are, in the GCS's key-value store; each is there too
_SETTLED = "settled"  # the dead nodes of which it is known, there too
_MOST_SETTLED = 1000  # as many dead nodes as the GCS remembers
_MOST_ERASED = 100_000  # ids that are remembered to be deleted
_COPIES_AT_A_TIME = 4
_SLOWEST = 10 << 20  # bytes a second, at which a copy is thought to get on
_LOOKED_AT = 1000  # arrays without a key that lack copies, of which it is asked each second whether they ended
_TO_KEEP = 5.0  # seconds that a node may take to say how much room it has


class Holders:
    """The part of the `Catalog` that looks at nodes."""

    def __init__(self) -> None:
        self._index, self._lock = Index(), threading.RLock()
        self._epochs: dict[str, int] = {}
        self._keepers: dict[str, Peer] = {}
        self._peers = Peers(self._is_alive, self._ask_shelf)
        self._unlisted: set[str] = set()  # nodes that have a keeper, and have not said yet what is on their shelves
        self._late: set[str] = set()  # arrays that were to be replaced or deleted: by whom, a node may have to say yet
        self._replaced: queue.SimpleQueue[Replacement] = queue.SimpleQueue()
        self._listing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by node, while it is listed
        self._gone: dict[str, set[str]] = {}  # by node, while it is listed: what was dropped there meanwhile
        self._gone_keys: dict[str, dict[tuple[str, str], int]] = {}  # and what was deleted: earlier versions go too
        self._erased: dict[str, None] = {}  # deleted arrays without a key, and puts that were taken back: late calls
        self._given_up: dict[str, set[str]] = {}  # by node: puts that had been taken back when it was listed
        self._losing = threading.Lock()
        self._rounds = 0
        self._left: set[str] = set()  # nodes whose keepers left, until somebody there puts with a key: they are to go
        self._leavings = Counter[str]()  # how often the keeper of a node has left
        self._copying: dict[str, threading.Event] = {}  # ids, one replication at a time each
        self._pool = ThreadPoolExecutor(_COPIES_AT_A_TIME, "copy")
        self._list_nodes()
        self._seen = set[str]()  # nodes whose machines were searched for shelves to adopt
        self._saved, self._saving = b"", threading.Lock()
        self._settled: list[str] = json.loads(kv.get(_SETTLED) or b"[]")
        for found in _saved_as_lost():
            lost = Lost(found.info, found.nodes[0], found.lost_at)
            self._index.lost[lost.info.store, lost.info.key or lost.info.id] = lost
        self._index.lost.take_changed()

    # --- questions

    @ray.method(concurrency_group="slow")
    def locate(self, packed: bytes, hint: str | None, asker: str) -> bytes:
        """Where an array is, for a node that does not have it.

        Parameters
        ----------
        packed
            Its info, by `wire.pack`.
        hint
            The node where it was put, if the asker knows.
        asker
            The node that asks: those on the same machine come first.

        Returns
        -------
        The fields of a `Located`, as JSON.
        """
        (info,) = unpack(packed)
        self._list_nodes()
        self._look_for_dead()
        with self._lock:
            known = [node for node in self._index.holders(info.id) if self._is_alive(node)]
            lost = self._index.lost.get((info.store, info.key or info.id))
            erased = info.id in self._erased
        if erased:
            return json.dumps(Located([])).encode()
        silent = set[str]()
        found = known or self._ask_who_has(info.id, hint, silent)
        if found:
            return json.dumps(Located(self._nearest_first(found, asker))).encode()
        if lost is not None and lost.info.id == info.id:
            return json.dumps(Located([], lost.node, lost.at)).encode()
        dead = self._nodes.get(hint or "")
        if info.key is None and dead is not None and not dead.alive:
            return json.dumps(Located([], dead.id, dead.died_at or time.time())).encode()
        self._say_unlisted(f"array {info.id}")
        self._say_silent(info.id, silent)
        why = self._answers({node: keeper.why_ended.remote(info.id) for node, keeper in self._all_keepers().items()})
        return json.dumps(Located([], why=next(filter(None, why.values()), None))).encode()

    def _ask_who_has(self, array_id: str, hint: str | None, silent: set[str] | None = None) -> list[str]:
        """Of an array without a key, which is listed nowhere: first the node where it was put, then all.

        Parameters
        ----------
        silent
            Takes those that live and may have it, but do not say.
        """
        keepers = self._all_keepers()
        for some in ({hint: keepers[hint]} if hint in keepers else {}, keepers):
            has = self._answers({node: keeper.holds.remote([array_id]) for node, keeper in some.items() if node})
            if found := [node for node, (there,) in has.items() if there]:
                return found
            if silent is not None:
                silent.clear()
                silent.update(self._silent(set(some).difference(has)))
                if some and hint in some and hint not in silent:
                    silent.clear()  # copies on other nodes would be known
        # A keeper that came after this catalog, on whose node nothing was put by key yet, is not known here.
        unknown = [node for node in actors.keeper_nodes() if node not in self._epochs]
        for node in unknown:
            with contextlib.suppress(ValueError, StoreUnavailable, RayError):
                self._join(node)
        keepers = {node: keeper for node, keeper in self._all_keepers().items() if node in unknown}
        has = self._answers({node: keeper.holds.remote([array_id]) for node, keeper in keepers.items()})
        return [node for node, (there,) in has.items() if there]

    def _say_silent(self, array_id: str, silent: Iterable[str]) -> None:
        """Raises StoreUnavailable if nodes did not say whether they have an array."""
        if nodes := ", ".join(sorted(silent)):
            raise StoreUnavailable(
                f"array {array_id} may be on node {nodes}, which does not answer: its keeper is silent. Try again"
            )

    def _nearest_first(self, found: list[str], asker: str) -> list[str]:
        here = self._nodes.get(asker)
        near = {node.id for node in self._alive() if here is not None and node.ip == here.ip}
        return sorted(found, key=lambda node: (self._peers.is_late(node), node not in near))

    @ray.method(concurrency_group="slow")
    def kept_on(self, array_id: str) -> list[str]:
        """The nodes that keep an array, of those that the catalog knows of."""
        return self._kept(array_id)

    def _kept(self, array_id: str, leaving: str = "") -> list[str]:
        with self._lock:
            holders = self._index.holders(array_id).items()
            return [node for node, kept in holders if kept and node != leaving and self._is_alive(node)]

    @ray.method(concurrency_group="slow")
    def lost(self, store: str) -> bytes:
        """What a store has lost, by `wire.pack_found`, the latest first."""
        with self._lock:
            lost = [one for one in self._index.lost.values() if one.info.store == store]
        return _pack_lost(sorted(lost, key=lambda one: -one.at))

    @ray.method(concurrency_group="slow")
    def lost_nodes(self) -> dict[str, tuple[int, int, float]]:
        """The nodes that took arrays with them: how many, of how many bytes, and when."""
        found: dict[str, tuple[int, int, float]] = {}
        with self._lock:
            for one in self._index.lost.values():
                count, size, _ = found.get(one.node, (0, 0, 0.0))
                found[one.node] = count + 1, size + one.info.nbytes, one.at
        return found

    # --- copies that come and go

    @ray.method(concurrency_group="slow")
    def join_copy(self, packed: bytes, home: str, node: str, kept: bool, stale: int = 0) -> int:
        """A node has a complete copy, not yet sealed unless it is `kept`.

        Parameters
        ----------
        stale
            An epoch that a former answer gave and that the shelf does not have.

        Returns
        -------
        The epoch under which to seal it; 0: it is deleted or replaced.
        """
        (info,) = unpack(packed)
        if node not in self._epochs or self._epochs[node] == stale:
            self._join_to_read(node)  # its keeper came after this catalog: who overwrites has to ask it too
        return self._join_copy(info, home, node, kept=kept) if self._is_known(home, [info]) else 0

    def _is_known(self, home: str, infos: list[ArrayInfo]) -> bool:
        """Whether it is known which of its copies a node keeps, and which it has cached; its shelf is listed if not.

        Of arrays with a key others say it.
        """
        if all(info.key is not None for info in infos):
            return True
        self._know(home)
        return home in self._epochs

    def _join_to_read(self, node: str) -> None:
        """List a node's shelf. If its keeper had left, that is no reason to keep arrays there again."""
        had_left = node in self._left
        self._join(node)
        if had_left:
            self._left.add(node)

    def _join_copy(self, info: ArrayInfo, home: str, node: str, *, kept: bool) -> int:
        with self._lock:
            if info.id in self._erased:
                return 0
            if info.key is not None:
                entry = self._index.find(info.store, info.key)
                if entry is None or entry.info.id != info.id or entry.doomed:
                    return 0
                home = entry.node
            if node != home:
                self._index.copies.add(info, home, node, kept=kept)
            return self._epochs.get(node, 0)

    @ray.method(concurrency_group="change")
    def erase(self, packed: bytes, hint: str | None) -> bool:
        """Delete an array without a key, wherever it is; False if it was nowhere.

        Raises
        ------
        StoreUnavailable
            A node that lives did not confirm it.
        """
        (info,) = unpack(packed)
        with self._lock:
            holders = list(self._index.holders(info.id))
            self._note_erased(info.id)
            self._index.copies.forget_array(info.id)
            lost = self._index.lost.pop((info.store, info.id), None)
        mute = set[str]()
        there = holders or self._ask_who_has(info.id, hint, mute)
        if not there and lost is None:
            self._say_silent(info.id, mute)
        found = [(Holding(info.id, node), None) for node in there]
        # A copy of a node that has not said yet what it has would come back with it, in a later catalog.
        if silent := self._drop([*found, *((Holding(info.id, node), None) for node in list(self._unlisted))]):
            raise StoreUnavailable(
                f"node {', '.join(silent)} did not confirm that it deleted array {info.id}: its keeper is silent. "
                "The array can still be read there; delete it again"
            )
        return bool(there) or lost is not None

    @ray.method(concurrency_group="change")
    def touch(self, packed: bytes, deadline_ns: int, hint: str | None) -> bool:
        """Let an array live until then on every node that has it; False if none has."""
        (info,) = unpack(packed)
        with self._lock:
            holders = list(self._index.holders(info.id))
        keepers = self._all_keepers()
        silent = set[str]()
        there = [node for node in holders or self._ask_who_has(info.id, hint, silent) if node in keepers]
        if not there:
            self._say_silent(info.id, silent)
        answers = self._answers({node: keepers[node].touch.remote(info.id, deadline_ns) for node in there})
        return any(answers.values())

    # --- replicas

    @ray.method(concurrency_group="copy")
    def replicate(self, packed: bytes, home: str) -> list[int]:
        """Have sealed arrays kept on as many nodes as they shall be; on how many each is, when that is tried."""
        infos = unpack(packed)
        self._know(home)
        with self._lock:
            for info in infos:
                if info.key is None and info.id not in self._erased:
                    self._index.copies.add(info, home, home)
        return self._replicate_many(infos)

    def _know(self, node: str) -> None:
        """List a node's shelf, if nothing was put by key there, or nobody told of it yet."""
        if node not in self._epochs:
            with contextlib.suppress(ValueError, StoreUnavailable):  # it dies, and that is seen too
                self._join_to_read(node)

    @ray.method(concurrency_group="slow")
    def ended(self, array_ids: list[str], node: str) -> None:
        """Arrays without a key have ended on a node, by their lifetime."""
        with self._lock:
            for array_id in array_ids:
                self._forget_copy(array_id, node)

    def _forget_copy(self, array_id: str, node: str) -> None:
        """An array without a key is not on a node any more. The caller holds the lock."""
        self._index.copies.remove(array_id, node)
        if not any(self._index.copies.of(array_id).values()):
            self._index.copies.forget_array(array_id)

    def _forget_ended(self, few: list[tuple[ArrayInfo, list[str]]]) -> None:
        """Of arrays without a key that lack copies: those that the nodes which kept them do not have any more."""
        by_node: dict[str, list[str]] = defaultdict(list)
        for info, kept in few:
            for node in kept:
                by_node[node].append(info.id)
        keepers = self._all_keepers()
        calls = {node: keepers[node].holds.remote(ids) for node, ids in by_node.items() if node in keepers}
        for node, there in self._answers(calls).items():
            with self._lock:
                for array_id, is_there in zip(by_node[node], there, strict=True):
                    if not is_there:
                        self._forget_copy(array_id, node)

    def _replicate_many(self, infos: list[ArrayInfo]) -> list[int]:
        """`_replicate` those that are kept on too few nodes; on how many each is then."""

        def enough(info: ArrayInfo) -> int:
            kept = len(self._kept(info.id))
            return kept if kept >= info.replicas else len(self._replicate(info))

        return list(self._pool.map(enough, infos))

    def _replicate(self, info: ArrayInfo, leaving: str = "", *, anywhere: bool = True) -> list[str]:
        """Make the copies of an array that are missing; the nodes that keep it then, apart from the one `leaving`."""
        while True:
            with self._lock:
                other = self._copying.get(info.id)
                if other is None:
                    done = self._copying[info.id] = threading.Event()
                    break
            other.wait()
        try:
            for target in self._targets(info, leaving, anywhere=anywhere):
                kept = self._kept(info.id)
                if not kept or len(self._kept(info.id, leaving)) >= info.replicas:
                    break
                with contextlib.suppress(RayError, ValueError, StoreUnavailable):  # it dies, or is stopped
                    keeper = self._keeper_of(target)
                    with self._lock:
                        cached = target in self._index.holders(info.id)
                    if cached and self._answers({target: keeper.keep.remote([info.id])}).get(target) == [True]:
                        self._join_copy(info, kept[0], target, kept=True)
                    else:
                        self._answers({target: keeper.fetch.remote(pack([info]), kept[0], True)}, to_copy(info.size))
            return self._kept(info.id, leaving)
        finally:
            with self._lock:
                del self._copying[info.id]
            done.set()

    @ray.method(concurrency_group="copy")
    def evacuate(self, packed: bytes, node: str, anywhere: bool) -> list[bool]:
        """Have other nodes keep what a node would drop; says of each array whether one does, or it is deleted.

        Parameters
        ----------
        anywhere
            On nodes that may be evacuated themselves too. Else on the head, or one whose id comes before this one's, so
            that no two hand each other their arrays.
        """
        infos = unpack(packed)
        self._know(node)
        with self._lock:
            for info in infos:
                if info.key is None and info.id not in self._erased:
                    self._index.copies.add(info, node, node)
        elsewhere = list(self._pool.map(lambda info: self._replicate(info, node, anywhere=anywhere), infos))
        by_node: dict[str, list[str]] = defaultdict(list)
        for info, others in zip(infos, elsewhere, strict=True):
            for other in others:
                by_node[other].append(info.id)
        keepers = self._all_keepers()
        # They say that they keep it, now, whatever was known of them: it may be the last one that is dropped.
        calls = {other: keepers[other].keep.remote(ids) for other, ids in by_node.items() if other in keepers}
        seen = {
            (other, array_id)
            for other, answer in self._answers(calls).items()
            for array_id, there in zip(by_node[other], answer, strict=True)
            if there
        }
        return [
            any((other, info.id) in seen for other in others) or not self._index.holders(info.id)
            for info, others in zip(infos, elsewhere, strict=True)
        ]

    @ray.method(concurrency_group="slow")
    def leave(self, packed: bytes, node: str) -> list[bool]:
        """A node drops what others keep; says of each array whether it may. From then on there is no copy there."""
        return [self._leave(info, node) for info in unpack(packed)]

    def _leave(self, info: ArrayInfo, node: str) -> bool:
        with self._lock:
            holders = self._index.holders(info.id)
            if not holders:  # deleted meanwhile, unless this catalog has not heard yet what is there
                return node in self._epochs and node not in self._unlisted
            staying = self._kept(info.id, node)
            if not staying:
                return False
            self._not_there(node, info.id)
            return True

    def _not_there(self, node: str, array_id: str) -> None:
        """An array's file is not on a node's shelf, or will not be. The caller holds the lock."""
        if staying := self._kept(array_id, node):
            self._index.move_home(array_id, node, staying[0])
        self._index.copies.remove(array_id, node)
        self._note_gone(node, [array_id])

    def _note_erased(self, array_id: str) -> None:
        """Whoever comes late with this array is refused. The caller holds the lock."""
        self._erased[array_id] = None
        while len(self._erased) > _MOST_ERASED:
            del self._erased[next(iter(self._erased))]

    def _note_gone(self, node: str, array_ids: Iterable[str]) -> None:
        """For the listing of that shelf that may be under way: it may have seen them. The caller holds the lock."""
        if (gone := self._gone.get(node)) is not None:
            gone.update(array_ids)

    @ray.method(concurrency_group="slow")
    def left(self, node: str) -> None:
        """A keeper has left its node, with nothing on it that is kept."""
        with self._lock:
            self._left.add(node)
            self._leavings[node] += 1
            self._epochs.pop(node, None)
            self._keepers.pop(node, None)
            self._given_up.pop(node, None)
            self._unlisted.discard(node)
            self._index.forget(node)

    @ray.method(concurrency_group="slow")
    def alone(self, array_ids: list[str], node: str) -> list[bool]:
        """Which of these arrays no other node keeps."""
        return [not self._kept(array_id, node) for array_id in array_ids]

    def _targets(self, info: ArrayInfo, leaving: str, *, anywhere: bool) -> list[str]:
        """Nodes that could keep one more copy: those that have it cached, then those that stay, by free budget."""
        with self._lock:
            holders = self._index.holders(info.id)
        apart = {node for node, kept in holders.items() if kept} | {leaving}
        able = [
            node
            for node in self._alive()
            if node.id not in apart
            and node.draining_until is None
            and node.id not in self._left
            and (anywhere or node.is_head or node.id < leaving or node.id in holders)
        ]
        keepers = self._all_keepers()
        able = [node for node in able if node.id not in self._unlisted and not self._peers.is_late(node.id)]
        calls = {node.id: keepers[node.id].room.remote() for node in able if node.id in keepers}
        room = self._answers(calls, _TO_KEEP)
        # A node without a keeper has room for all that is known; one whose keeper is stopped keeps nothing for now.
        fits = [node for node in able if room.get(node.id, 0 if node.id in calls else info.size) >= info.size]

        def rank(node: Node) -> tuple[bool, bool, int]:
            return (bool(leaving) and not node.is_head, node.id not in holders, -room.get(node.id, 0))

        return [node.id for node in sorted(fits, key=rank)]

    def _multiply(self) -> None:
        """Copy again what is kept on too few nodes."""
        left = self._index.copies.lacking + 1
        while self._index.copies.lacking < left:  # a portion at a time, as long as that gets on
            left = self._index.copies.lacking
            if few := self._few():
                self._replicate_many(few)

    def _few(self) -> list[ArrayInfo]:
        able = {node.id for node in self._alive() if node.draining_until is None} - self._left
        with self._lock:
            few = [(info, kept) for info, kept in self._index.copies.too_few() if not able.issubset(kept)]
            few = [(info, kept) for info, kept in few if info.id not in self._copying]
        if keyless := [one for one in few if one[0].key is None]:
            self._forget_ended(random.sample(keyless, min(len(keyless), _LOOKED_AT)))
        with self._lock:
            return [info for info, _ in few if self._index.holders(info.id)]

    # --- nodes that come and go

    def _alive(self) -> list[Node]:
        return [node for node in list(self._nodes.values()) if node.alive]

    def _is_alive(self, node: str) -> bool:
        return node not in self._nodes or self._nodes[node].alive  # not there: it has come since the last round

    def _look_for_dead(self) -> None:
        with self._losing:
            with self._lock:
                some = {*self._epochs, *self._index.copies.nodes()}
            for node in some:
                known = self._nodes.get(node)
                if known is not None and not known.alive:
                    self._lose(node, known.died_at or time.time())

    def _look_at_nodes(self) -> None:
        self._look_for_dead()
        self._rounds += 1
        self._adopt()
        self._multiply()
        self._save_lost()

    def _adopt(self) -> None:
        """Have a keeper on each machine where an earlier cluster left a shelf."""
        new = {node.id for node in self._alive()} - self._seen
        self._seen |= new
        for node in new - set(self._epochs):
            actors.adopt_on(node)

    def _lose(self, node: str, at: float) -> None:
        """A node is dead, and what it alone kept is lost."""
        with self._lock:
            endangered = self._index.endangered(node)
            self._epochs.pop(node, None)
            self._keepers.pop(node, None)
            self._given_up.pop(node, None)
        by_node: dict[str, list[ArrayInfo]] = defaultdict(list)
        for info, others in endangered:
            for other in others:
                by_node[other].append(info)
        calls = {
            other: self._keepers[other].keep.remote([info.id for info in infos])
            for other, infos in by_node.items()
            if other in self._keepers
        }
        kept = self._answers(calls)
        self._peers.gone.update(set(calls).difference(kept))  # those that live say later what they have
        with self._lock:
            for other, saved in kept.items():
                for info, done in zip(by_node[other], saved, strict=True):
                    if done:
                        self._index.copies.add(info, other, other)
            older = self._index.older_than_lost(node)
            for info in self._index.forget(node):
                self._index.lost[info.store, info.key or info.id] = Lost(info, node, at)
            self._settled = [*self._settled, node][-_MOST_SETTLED:]
        if older:
            self._bring_back([holding for info, holding in older if info.replicas > 1])
            self._drop([(holding, name_of(info)) for info, holding in older if info.replicas == 1])
        self._save_lost()
        _log.warning("node %s is dead", node)

    def _bring_back(self, holdings: list[Holding]) -> None:
        """What was being overwritten by arrays that went with their node before they had their replicas."""
        by_node: dict[str, list[str]] = defaultdict(list)
        for holding in holdings:
            by_node[holding.node].append(holding.array_id)
        keepers = self._all_keepers()
        there = {node: ids for node, ids in by_node.items() if node in keepers}
        kept = self._answers({node: keepers[node].keep.remote(ids) for node, ids in there.items()})
        back = {
            node: [array_id for array_id, is_kept in zip(there[node], some, strict=True) if is_kept]
            for node, some in kept.items()
        }
        described = self._answers({node: keepers[node].describe.remote(ids) for node, ids in back.items() if ids})
        for node, parts in described.items():
            infos = [info for packed in parts for info in unpack(packed)]
            with self._lock:
                for info in infos:
                    self._index.lost.pop((info.store, info.key or ""), None)
                self._admit(node, [Listed(info, kept=True) for info in infos])

    def _drop(self, holdings: Iterable[tuple[Holding, tuple[str, str] | None]]) -> list[str]:
        """Delete files, and with them their store and key; returns the nodes that live and did not confirm it."""
        raise NotImplementedError

    def _save_lost(self) -> None:
        with self._saving:
            with self._lock:
                changed, pages = self._index.lost.take_changed(), self._index.lost.pages
                settled = json.dumps(self._settled).encode()
            try:
                for page, lost in changed.items():
                    kv.put(f"{_LOST}-{page}", _pack_lost(lost))
                if changed:
                    kv.put(_LOST, json.dumps(pages).encode())
                if settled != self._saved:  # last: of a node that is settled, what is not lost is not wanted
                    kv.put(_SETTLED, settled)
                    self._saved = settled
            except BaseException:
                with self._lock:
                    self._index.lost.changed_again(set(changed))
                raise

    # --- keepers

    def _all_keepers(self) -> dict[str, Peer]:
        with self._lock:
            return {node: keeper for node, keeper in self._keepers.items() if self._is_alive(node)}

    def _keeper_of(self, node: str) -> Peer:
        """A node's keeper, started if it has none."""
        if node in self._left:
            raise StoreUnavailable(f"the keeper of node {node} has left")
        if node not in self._epochs:
            self._join(node)
        keeper = self._keepers.get(node)
        if keeper is None:
            raise StoreUnavailable(f"the keeper of node {node} has left meanwhile")
        return keeper

    def _find_keeper(self, node: str) -> Peer:
        """The same, by its name. Raises ValueError if the node is dead."""
        try:
            return Peer(node, actors.keeper(node))
        except ValueError:
            if not self._is_alive(node):
                raise
            return Peer(node, actors.start_keeper(Connection().cluster, node))

    def _ask_shelf(self, node: str, method: str, args: tuple[Any, ...]) -> Any:
        return actors.ask_shelf(Connection().cluster, node, method, args)

    def _join(self, node: str) -> None:
        """List what is on a node's shelf, and nothing else for that node."""
        raise NotImplementedError

    def _admit(self, node: str, listed: Iterable[Listed]) -> None:
        """What a keeper told of its shelf. The caller holds the lock."""
        stale = list[tuple[Holding, tuple[str, str] | None]]()
        for info, kept, _ in listed:
            lost = self._index.lost.get((info.store, info.key or info.id))
            if info.id in self._erased or (lost is not None and lost.info.version > info.version):
                stale.append((Holding(info.id, node), name_of(info)))
            elif info.key is not None and kept:
                for replacement in self._index.admit(info, node):
                    self._replaced.put(replacement)
            elif kept:
                self._index.lost.pop((info.store, info.key or info.id), None)
                self._index.copies.add(info, node, node)
        if stale:
            self._pool.submit(self._drop, stale)

    def _admit_cached(self, cached: Iterable[tuple[str, ArrayInfo]]) -> None:
        """Cached copies on shelves, once those that are kept are known; one that nobody keeps is kept from now on."""
        for node, info in cached:
            keeper = self._keepers.get(node)
            if keeper is None:  # it has left since
                continue
            with self._lock:
                keepers = [other for other, kept in self._index.holders(info.id).items() if kept and other != node]
                replaced = info.key is not None and self._index.find(info.store, info.key) is not None
            if not keepers and info.key is None:  # one that was put there and never asked for again is not listed
                keepers = self._who_keeps(info.id, self._ask_who_has(info.id, None), node)
            if keepers:
                with self._lock:
                    self._index.copies.add(info, keepers[0], node, kept=False)
            elif replaced:
                self._answers({node: keeper.drop.remote([(info.id, name_of(info))])})
            elif self._answers({node: keeper.keep.remote([info.id])}).get(node) == [True]:
                with self._lock:
                    self._admit(node, [Listed(info, kept=True)])

    def _who_keeps(self, array_id: str, found: list[str], node: str) -> list[str]:
        """One of the nodes other than this that have an array; it may have had it cached, and keeps it from now on."""
        keepers = self._all_keepers()
        for other in found:
            if other != node and other in keepers:
                answer = self._answers({other: keepers[other].keep.remote([array_id])})
                if answer == {other: [True]}:
                    return [other]
        return []

    def _answers(self, calls: Mapping[str, Call[T]], patience: float = PATIENCE) -> dict[str, T]:
        """What keepers answer, by node. Nobody waits for the dead, and for nobody longer than `patience` seconds."""
        return self._peers.answers(calls, patience)

    def _silent(self, nodes: Iterable[str]) -> list[str]:
        """Those of the nodes that did not answer which live and have a shelf: they may do or show what they like."""
        if silent := sorted(node for node in nodes if self._is_alive(node)):
            self._list_nodes()
        return [node for node in silent if self._is_alive(node) and (node in self._epochs or node in self._unlisted)]

    def _mend(self) -> None:
        """List the shelves again whose keepers were gone for good, or did not answer before."""
        for node in list(self._peers.gone | self._unlisted):
            self._peers.gone.discard(node)
            if not self._is_alive(node):
                self._unlisted.discard(node)
            elif node in self._epochs or node in self._unlisted:  # else it has left
                leavings = self._leavings[node]
                try:
                    self._join_to_read(node)
                except (StoreUnavailable, ValueError, RayError) as error:
                    with self._lock:
                        if self._leavings[node] == leavings:
                            _log.warning("the shelf of node %s cannot be listed, and is tried again: %s", node, error)
                            self._unlisted.add(node)

    def _list_unlisted(self) -> None:
        """List those shelves now, before something is replaced or deleted: they may have an earlier array of its key.

        Else that would be back once they are listed, if its key were deleted by then. Those that still do not answer
        have to confirm whatever is done; of one that is being listed just now, see `_note_gone`.
        """
        for node in list(self._unlisted):
            if not self._listing[node].locked():
                with contextlib.suppress(StoreUnavailable, ValueError, RayError):
                    self._join_to_read(node)

    def _say_unlisted(self, what: str) -> None:
        """Raises StoreUnavailable if a node has not said yet what it has."""
        if unlisted := sorted(filter(self._is_alive, self._unlisted)):
            raise StoreUnavailable(
                f"{what} may be on node {', '.join(unlisted)}, which has not yet told the catalog what it has: its "
                "keeper does not answer. Try again"
            )

    # --- in the background

    def rounds(self) -> int:
        """How often this catalog has looked at the nodes and at what is to be copied."""
        return self._rounds

    def _start_threads(self) -> None:
        for work in (self._list_nodes, self._look_at_nodes, self._mend):
            threading.Thread(target=self._go_on, args=(work,), name=work.__name__, daemon=True).start()

    def _go_on(self, work: Callable[[], None]) -> None:
        while True:
            time.sleep(_ROUNDS_EVERY)
            try:
                work()
            except Exception:  # noqa: BLE001 - it goes on, whatever it met
                _log.exception("%s failed; it goes on", work.__name__)

    def _list_nodes(self) -> None:
        """A thread of its own: those who wait for a node's keeper learn from it that the node is dead."""
        self._nodes: dict[str, Node] = {node.id: node for node in nodes()}


def name_of(info: ArrayInfo) -> tuple[str, str] | None:
    """Store and key of an array. Where it is dropped, its name goes too, or who still looks at it reads it by name."""
    return None if info.key is None else (info.store, info.key)


def wanted_of(node: str) -> Callable[[ArrayInfo], bool]:
    """Which of a dead node's arrays are wanted back, by what the catalog wrote down of it.

    Of a node that it has settled, those with a key are lost, or kept elsewhere, or were overwritten or deleted since.
    """
    if node not in json.loads(kv.get(_SETTLED) or b"[]"):
        return lambda _: True
    lost = {found.info.id for found in _saved_as_lost()}
    return lambda info: info.key is None or info.id in lost


def _saved_as_lost() -> list[Found]:
    """What the last catalog wrote down."""
    pages = json.loads(kv.get(_LOST) or b"[]")
    found = (unpack_found(kv.get(f"{_LOST}-{page}") or b"[]") for page in pages)
    return [one for some in found for one in some if one is not None]


def to_copy(size: int) -> float:
    """How long a node may take to copy so many bytes, in seconds."""
    return PATIENCE + size / _SLOWEST


def _pack_lost(lost: Iterable[Lost]) -> bytes:
    return pack_found(Found(one.info, [one.node], lost_at=one.at) for one in lost)
