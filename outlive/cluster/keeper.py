"""The keeper: the actor that tends one node's shelf.

Processes read and write segments without it, and go on while it is away. The keeper clears away what dead writers
leave, computes checksums in short steps, fetches copies from other nodes, and answers questions about the shelf: those
of the catalog, of `stats()` and of `check()`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from outlive import actor_logs
from outlive.arrays.defect import Defect
from outlive.arrays.lifetimes import has_scope, joined_scopes, mark_scope, scope_is_over
from outlive.arrays.limits import inodes, kernel_bytes, number_of_files
from outlive.arrays.marks import deadline_of, times_of
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.cached import CachedCopies
from outlive.arrays.tally import COPIED, FELL_BACK
from outlive.arrays.tend.adopt import live
from outlive.arrays.tend.fsck import check_arrays, check_shelf
from outlive.arrays.tend.unsummed import Unsummed
from outlive.cluster.evacuation import Evacuation
from outlive.cluster.fetches import Fetches
from outlive.cluster.filling import Some, fill
from outlive.cluster.links import links
from outlive.cluster.listing import Listing
from outlive.cluster.measuring import ShelfMeasures, works
from outlive.cluster.port import Call, NoAnswer, Nobody, Peers, in_group
from outlive.cluster.serving import Serving
from outlive.cluster.shelf_calls import ShelfCalls
from outlive.cluster.small_copies import send_small
from outlive.cluster.tending import Tending
from outlive.cluster.tenure import PROTOCOL, Tenure
from outlive.cluster.transfer import Chunk, send
from outlive.errors import StoreUnavailable

_ROUNDS_EVERY = 1.0  # seconds
_SERVE_EVERY = 30.0  # seconds between two tries to start a missing server; other nodes look for one once a minute
_REACH_AGAIN = 1.0, 2.0, 4.0, 8.0  # seconds until a keeper that starts looks for the catalog's port again
_ADOPT_EVERY = 60.0  # seconds between two searches for shelves to adopt: some count as left only after minutes
_SETTLED_AFTER = 2.0  # seconds until a new array is worth a checksum
_TO_END = 2.0  # seconds for each thread to end
_TO_END_WITH_PROGRAM = 30.0  # seconds for a cluster to end after the program that started it

_log = logging.getLogger(__name__)


class ShelfStats(NamedTuple):
    """One node's shelf in numbers."""

    node: str
    path: str
    arrays: int  # sealed ones of all stores, with and without a key
    used: int  # bytes, in whole pages, including drafts
    budget: int  # bytes
    keeper_pid: int
    on_disk: str | None  # why the shelf is a folder on disk, if it is
    spilled: int = 0  # the arrays, of these, that are on disk
    disk_used: int = 0  # bytes, in whole pages
    disk_budget: int = 0  # bytes; 0: nothing is spilled
    spill_to: str | None = None  # the folder on disk
    stays: str | None = None  # why an autoscaler cannot remove the node, if only its arrays keep it
    fetched: int = 0  # arrays that were copied here from other nodes, since the keeper started
    sent_bytes: int = 0  # bytes that were sent to other nodes, since the keeper started
    kernel_bytes: int = 0  # an estimate of the kernel's own memory for the files; not in `used`
    free_inodes: int | None = None  # of the file system in memory; None: it has no limit
    refused: int = 0  # connections that the transfer server refused, since the keeper started
    no_server: str | None = None  # why there is no transfer server, if there is none
    through_ray: tuple[tuple[str, str], ...] = ()  # nodes from which arrays come through Ray, and why
    full: int = 0  # connections that the transfer server turned away, as there were too many
    fallbacks: int = 0  # arrays that its processes asked for through Ray, as a transfer server was not to be had
    calls_through_ray: str | None = None  # why its keeper asks the catalog through Ray, if it does


class Keeper(ShelfCalls):
    """Runs as the actor `keeper-<node>` in namespace `outlive`."""

    _root: str = ""
    _on_disk: str | None = None
    _serving: Serving | None = None
    _asks_through_ray: str | None = None

    def __init__(self, peers: Peers, cluster: str, node: str) -> None:
        self._peers, self._node = peers, node
        self._shelf = self.take_over(cluster)
        self._tending, self._unsummed = Tending(self._shelf, node, peers), Unsummed(self._shelf)
        self._cached_copies, self._listing = CachedCopies(self._shelf), Listing(self._shelf)
        self._fetches = Fetches(self._shelf, node, peers)
        self._evacuation = Evacuation(self._shelf, node, peers, self.adopts)
        self._stop, self._rounds, self._sent_bytes = threading.Event(), 0, 0
        self._before = self._shelf.tally.totals()  # by former keepers, and processes of their time
        self._searched_at = peers.now()  # when shelves to adopt were searched for last
        self.go_on()

    def take_over(self, cluster: str) -> Shelf:
        """Take the shelf; from now on it is this keeper's."""
        actor_logs.begin()
        self._tenure = self.begin_tenure(cluster)
        self._root, self._on_disk = self._tenure.root, self._tenure.on_disk
        _log.info("the keeper of node %s tends %s", self._node, self._tenure.shelf.path)
        return self._tenure.shelf

    def begin_tenure(self, cluster: str) -> Tenure:
        """Get hold of the shelf's folder."""
        return Tenure(self._peers, cluster, self._node)

    def adopts(self) -> bool:
        """Whether a shelf of a dead node is still to be adopted, or the catalog to be told of what was adopted."""
        return self._tenure.left_behind or bool(self._shelf.ledger.adopted)

    def go_on(self) -> None:
        """Begin the work that goes on by itself."""
        self.connect()
        self._threads = [
            threading.Thread(target=self._again, args=(work, seconds), name=work.__name__, daemon=True)
            for work, seconds in self.works().items()
        ]
        self._threads.append(threading.Thread(target=self._try, args=(self._reach_soon,), name="reach", daemon=True))
        for thread in self._threads:
            thread.start()

    def works(self) -> dict[Callable[[], None], float]:
        """The work, and the seconds after which it is repeated.

        Work that asks others, or takes long, has a thread of its own: the rounds do not wait for a head that is silent.
        """
        return {
            self._make_rounds: _ROUNDS_EVERY,
            self._tending.clear_orphans: _ROUNDS_EVERY,
            self._tending.end_what_is_over: _ROUNDS_EVERY,
            self._adopt_again: _ROUNDS_EVERY,
            self._serve_again: _SERVE_EVERY,
            self._tell_of_adopted: _ROUNDS_EVERY,
            self._fetches.say_again: _ROUNDS_EVERY,
            self._compute_checksums: _ROUNDS_EVERY,
            self._tending.balance: _ROUNDS_EVERY,
            self._evacuation.consider: _ROUNDS_EVERY,
            **self._measuring(),
        }

    def _measuring(self) -> dict[Callable[[], None], float]:
        watch = self._peers.watch()
        if watch is None:
            return {}
        measures = ShelfMeasures(self._shelf, self._node, self.stats, watch)
        return works(measures.tell, measures.look_at_workers)

    def connect(self) -> None:
        """Have a server for other nodes, and links to theirs."""
        self._serving, self._fetches.links = (
            Serving(self._shelf, self._node, self._peers, self),
            links(self._peers, self._node, self._shelf),
        )

    def about(self) -> dict[str, Any]:
        """Facts for a process that joins: the protocol's version, the root folder, and the transfer server's port."""
        self._leave_if_removed()
        transfer = None if self._serving is None else self._serving.about()
        return {"protocol": PROTOCOL, "root": self._root, "pid": os.getpid(), "transfer": transfer}

    def listing(self) -> tuple[int, bytes]:
        self._leave_if_removed()
        self._tenure.review()
        return self._listing.all()

    def listing_part(self, after: str | None = None) -> tuple[int, bytes, str | None]:
        """One part of a listing; see `Listing.part`."""
        if after is None:
            self._leave_if_removed()
            self._tenure.review()
        return self._listing.part(after)

    def forbid(self, names: list[tuple[str, str, int, tuple[int, str, str] | None]]) -> None:
        while self._evacuation.leaving:  # the shelf is about to be gone, and then there is nothing to forbid
            if not self._shelf.exists():
                return
            time.sleep(0.01)
        super().forbid(names)

    def keep(self, array_ids: list[str]) -> list[bool]:
        kept = super().keep(array_ids)
        self._cached_copies.kept(array_ids)
        return kept

    def room(self) -> int:
        """The bytes that one more replica may take here; see `CachedCopies.room`."""
        return self._cached_copies.room() if self._evacuation.takes_replicas else 0

    def deadline_ns(self, array_id: str) -> int:
        """When an array's time to live is over, in nanoseconds since 1970; 0 if it is not here."""
        return deadline_of(self._shelf, array_id)

    def deadlines_ns(self, array_ids: list[str]) -> list[int]:
        """`deadline_ns` of several arrays."""
        return list(map(self.deadline_ns, array_ids))

    # --- scopes that span nodes

    def mark_scope(self, number: int, node: str) -> None:
        """Note that arrays of a scope of this node are put on node `node`."""
        if not scope_is_over(self._shelf.scopes, number):
            mark_scope(self._shelf.scopes, number, node)

    def node_of_scope(self, number: int) -> str | None:
        """The node of the process that opened a scope; None if no open scope has that number."""
        return joined_scopes(self._shelf.scopes).get(
            number, self._node if has_scope(self._shelf.scopes, number) else None
        )

    def scope_is_over(self, number: int) -> bool:
        return scope_is_over(self._shelf.scopes, number)

    @in_group("fetch")
    def end_scope(self, number: int) -> None:
        """End the arrays of a scope here."""
        self._tending.end_scope(number)

    # --- transfer

    @in_group("send")
    def send(self, array_id: str, begin: int, end: int | None, step: int, epoch: int) -> Iterator[Any]:
        """A stream of an array's bytes, for another node; see `transfer`. A draft that is listed is sealed first."""
        if not self._shelf.has(array_id):
            self._shelf.finish(array_id, epoch)
        for part in send(self._shelf, array_id, begin, end, self._at_most(step)):
            if isinstance(part, Chunk):
                self._sent_bytes += memoryview(part.data).nbytes
            yield part

    @in_group("send")
    def send_many(self, array_ids: list[str], step: int) -> Iterator[Any]:
        """A stream of small arrays, for another node; see `small_copies`."""
        yield from send_small(self._shelf, array_ids, self._at_most(step))

    def _at_most(self, step: int) -> int:
        """The size of a chunk: at most `step`, and less if this node's object store is small."""
        with contextlib.suppress(StoreUnavailable):
            return min(step, self._fetches.chunk_size())
        return step

    @in_group("fetch")
    def fetch_many(self, packed: bytes, node: str) -> None:
        """Make replicas of another node's small arrays on this shelf. Arrays that are gone or unwanted are left out."""
        self._fetches.fetch_many(packed, node)

    @in_group("fetch")
    def fetch(self, packed: bytes, hint: str | None, kept: bool = False, epoch: int = 0) -> bytes | None:
        """Copy an array of another node to this shelf. Several calls for one array share the copy.

        Parameters
        ----------
        packed
            The array's info, by `wire.pack`.
        hint
            A node that should have it.
        kept
            Whether the copy is a replica, which stays. Otherwise it is cached.
        epoch
            If the array is listed but not sealed yet: the epoch under which `hint` may seal it.

        Returns
        -------
        None, if the array is here now. Otherwise the catalog's answer: see `Catalog.locate`.
        """
        return self._fetches.fetch(packed, hint, kept=kept, epoch=epoch)

    @in_group("fill")
    def fill(self, packed: bytes, region: tuple[int, int, tuple[tuple[int, int], ...]], some: Some | None) -> None:
        """Write bytes of a part of an array that is being created here; see `filling`."""
        fill(self._shelf, packed, region, some)

    def stats(self) -> ShelfStats:
        ledger, disk, files = self._shelf.ledger, self._shelf.disk, inodes(self._shelf.mem)
        totals = self._shelf.tally.totals()
        return ShelfStats(
            node=self._node,
            path=self._shelf.path,
            arrays=sum(map(number_of_files, self._shelf.folders())),
            used=ledger.used,
            budget=ledger.budget,
            keeper_pid=os.getpid(),
            on_disk=self._on_disk,
            spilled=0 if disk is None else number_of_files(disk.mem),
            disk_used=ledger.disk.used,
            disk_budget=ledger.disk.budget,
            spill_to=None if disk is None else disk.path,
            stays=self._evacuation.stays,
            fetched=self._since_start(totals, COPIED),
            sent_bytes=self._sent_bytes + (0 if self._serving is None else self._serving.counts.sent),
            kernel_bytes=kernel_bytes(self._shelf.mem, self._shelf.pool.folder, self._shelf.names.folder),
            free_inodes=None if files is None else files.free,
            refused=0 if self._serving is None else self._serving.counts.refused,
            no_server=None if self._serving is None else self._serving.why_not,
            through_ray=() if self._fetches.links is None else self._fetches.links.through_ray(),
            full=0 if self._serving is None else self._serving.counts.full,
            fallbacks=self._since_start(totals, FELL_BACK),
            calls_through_ray=self._asks_through_ray,
        )

    def _since_start(self, totals: list[int], number: int) -> int:
        return max(0, totals[number] - self._before[number])  # somebody may have removed the tally

    def times(self, array_ids: list[str]) -> list[tuple[float, float | None, bool] | None]:
        """See `marks.times_of`. Nobody else answers this for a stopped keeper: it is only looked at."""
        return [times_of(self._shelf, array_id) for array_id in array_ids]

    def spilled(self) -> list[str]:
        """The ids of the arrays that are on disk."""
        return self._shelf.spilled()

    @in_group("check")
    def check_shelf(self) -> tuple[list[Defect], dict[str, int]]:
        return check_shelf(self._shelf, self._tending.listed)

    @in_group("check")
    def check_arrays(self, array_ids: list[str]) -> list[Defect]:
        return check_arrays(self._shelf, array_ids)

    def close(self) -> int:
        """End the background work and delete every array of this shelf; returns the bytes that were in use."""
        self._stop.set()
        if self._serving is not None:
            self._serving.close()
        for thread in self._threads:
            thread.join(_TO_END)  # a thread that goes on does no harm: the shelf is renamed before it is removed
        used = self._shelf.ledger.used + self._shelf.ledger.disk.used
        self._shelf.remove()
        return used

    # --- leaving the node

    @in_group("drain")
    def kept(self) -> list[tuple[str, int, bool]]:
        """The arrays that this shelf keeps: id, bytes, and whether no other shelf has a copy, as far as known here."""
        return [(one.id, one.nbytes, one.alone) for one in self._evacuation.kept()]

    @in_group("drain")
    def evacuate(self, array_ids: list[str]) -> list[bool]:
        """See `Evacuation.empty`."""
        return self._evacuation.empty(array_ids)

    @in_group("drain")
    def leave(self) -> str | None:
        """See `Evacuation.leave`."""
        return self._evacuation.leave()

    # --- in the background

    def _again(self, work: Callable[[], None], seconds: float) -> None:
        while not self._stop.wait(seconds):
            self._try(work)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except NoAnswer:
            _log.warning("%s of %s: the catalog does not answer; it goes on", work.__name__, self._shelf.path)
        except Exception:  # noqa: BLE001 - the work goes on, whatever the error
            if self._shelf.exists():
                _log.exception("%s of %s failed; it goes on", work.__name__, self._shelf.path)

    def rounds(self) -> int:
        """How many rounds this keeper has made."""
        return self._rounds

    def _make_rounds(self) -> None:
        self._leave_if_removed()
        self._rounds += 1
        live(self._shelf.path)
        self._tending.trim()

    def _adopt_again(self) -> None:
        now = self._peers.now()
        thorough = now >= self._searched_at + _ADOPT_EVERY
        if thorough:
            self._searched_at = now
        self._tenure.adopt_again(thorough=thorough)

    def _serve_again(self) -> None:
        """Start the transfer server, if that failed before or it has ended: its port may be free by now.

        And see whether the catalog's port is reached from here.
        """
        if self._serving is not None:
            self._serving.try_again()
        self._reach_catalog()

    def _reach_soon(self) -> None:
        """Connect to the catalog's port, so that the first fetch finds a connection.

        The first keeper of a cluster looks again, as it starts before the catalog.
        """
        self._reach_catalog()
        for seconds in _REACH_AGAIN:
            if self._asks_through_ray is None or self._stop.wait(seconds):
                return
            self._reach_catalog()

    def _reach_catalog(self) -> None:
        self._asks_through_ray = self._peers.calls_through_ray()

    def _tell_of_adopted(self) -> None:
        """Tell the catalog of adopted arrays. This has a thread of its own, as the catalog then lists the shelf."""
        ledger = self._shelf.ledger
        if count := ledger.adopted:
            with contextlib.suppress(Nobody):  # a catalog that starts later lists the shelf anyway
                self._peers.ask_catalog(Call.of("welcome", self._node), math.inf)
            with ledger.locked():  # more may have come meanwhile
                ledger.note_adopted(-count)

    def _compute_checksums(self) -> None:
        self._unsummed.compute(older_than=_SETTLED_AFTER, stop=self._stop.is_set, rest=self._stop.wait)

    def _leave_if_removed(self) -> None:
        """End this process if somebody removed the shelf. Ray restarts it, with a new shelf, and repeats its calls."""
        if self._evacuation.leaving:
            self._stop.wait()  # this process ends meanwhile, for good; its caller then starts another keeper
        if not self._stop.is_set() and not self._shelf.exists():
            if self._shelf.ledger.ends and self._stop.wait(_TO_END_WITH_PROGRAM):
                return
            _log.error("%s was removed, and all arrays with it; this keeper starts anew", self._shelf.path)
            os._exit(1)
