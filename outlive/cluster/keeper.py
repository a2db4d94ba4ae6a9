"""The keeper: the actor that tends one node's shelf.

It is not between anyone and their arrays: processes read and write segments by themselves, and go on while it is away.
It clears away what dead writers leave, computes checksums in short steps, and answers for
the shelf: to the catalog, to `stats()` and to `check()`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ray
from ray.exceptions import GetTimeoutError, RayError

from outlive.arrays.adopt import adopt, live, orphaned, sign, unseen
from outlive.arrays.cached_copies import CachedCopies
from outlive.arrays.check import Finding, check_arrays, check_shelf, clear_orphans, mend_doubles
from outlive.arrays.disk import clear_removed
from outlive.arrays.ending import Endings
from outlive.arrays.lifetimes import mark_scope, scope_is_over
from outlive.arrays.limits import inodes, kernel_bytes, number_of_files
from outlive.arrays.marks import deadline_of
from outlive.arrays.room import promote_hot, spill_ahead
from outlive.arrays.root import default_root, shelf_folder
from outlive.arrays.settings import Settings, apply
from outlive.arrays.shelf import NO_ROOM, Shelf
from outlive.arrays.unsummed import Unsummed
from outlive.cluster import actors
from outlive.cluster.ending import end, end_scope_here, leave_scopes_that_ended
from outlive.cluster.evacuation import Evacuation
from outlive.cluster.fetches import Fetches
from outlive.cluster.holders import wanted_of
from outlive.cluster.listing import Listing
from outlive.cluster.peers import AT_A_TIME, PATIENCE
from outlive.cluster.shelf_calls import ShelfCalls
from outlive.cluster.small_copies import send_small
from outlive.cluster.transfer import Chunk, send
from outlive.errors import StoreFull
from outlive.ray_internals import jobs_that_ended

PROTOCOL = 7  # raised when a keeper or catalog of one version cannot serve programs of another
_ROUNDS_EVERY = 1.0  # seconds
_ADOPT_EVERY = 60  # rounds: of some shelves it takes minutes to tell that they were left
_SETTLED_AFTER = 2.0  # seconds until a new array is worth a checksum
_NAMES_A_ROUND = 500  # that are looked at, whether they lead nowhere
_REFUSALS = 200  # deleted arrays that are still read, and tried all the same, in a round
_WARM_FOR = 4.0  # seconds that a deleted segment waits to be written again
_TO_END = 2.0  # seconds for each thread to end, and for the catalog to hear of what has ended

_log = logging.getLogger(__name__)


class ShelfStats(NamedTuple):
    """One node's shelf in numbers."""

    node: str
    path: str
    arrays: int  # sealed, with and without key, of all stores
    used: int  # bytes, in whole pages, drafts included
    budget: int  # bytes
    keeper_pid: int
    on_disk: str | None  # why the shelf is a folder on disk, if it is
    spilled: int = 0  # of the arrays: on disk
    disk_used: int = 0  # bytes, in whole pages
    disk_budget: int = 0  # bytes; 0: nothing is spilled
    spill_to: str | None = None  # the folder on disk
    stays: str | None = None  # why an autoscaler cannot have the node although nothing but its arrays keeps it
    fetched: int = 0  # arrays that were copied here from other nodes, since the keeper started
    sent_bytes: int = 0  # that other nodes were sent, since the keeper started
    kernel_bytes: int = 0  # about, that the kernel takes for the files themselves; not in `used`
    free_inodes: int | None = None  # of the file system in memory; None: it has no limit


class Keeper(ShelfCalls):
    """Runs as the actor `keeper-<node>` in namespace `outlive`."""

    def __init__(self, cluster: str, node: str) -> None:
        self._node = node
        self._root, self._on_disk = default_root()
        self._path, self._lock = shelf_folder(self._root, cluster, node), -1
        if os.path.exists(f"{self._path}/ledger"):
            wait_for_room(lambda: self._tend(cluster), self._path)
        else:
            self._tend(cluster)  # the first keeper of this shelf says that there is no room for one
        self._endings, self._unsummed = Endings(self._shelf), Unsummed(self._shelf)
        self._cached_copies, self._listing = CachedCopies(self._shelf), Listing(self._shelf)
        self._fetches = Fetches(self._shelf, self._node)
        self._evacuation = Evacuation(self._shelf, self._node)
        self._stop, self._rounds = threading.Event(), 0
        self._threads = [
            threading.Thread(target=self._go_on, args=(work,), name=work.__name__, daemon=True)
            for work in (self._make_rounds, self._compute_checksums, self._balance, self._evacuation.consider)
        ]
        for thread in self._threads:
            thread.start()

    def _tend(self, cluster: str) -> None:
        """Begin to tend the shelf. May be done again if it failed."""
        clear_removed(self._path)
        self._shelf = Shelf(self._path)
        if self._lock < 0:
            self._lock = _lock_file(f"{self._path}/keeper", actors.START_SECONDS)
        self._mend_doubles()
        self._shelf.recount()
        sign(self._path, ray.get_runtime_context().gcs_address, os.getppid())  # a worker's parent is its raylet
        self._adopted, self._welcomed = self._adopt(), list[Any]()
        apply(Settings(), self._shelf, self._root, cluster, self._node)  # what nobody has chosen yet

    _sent_bytes = 0

    def _adopt(self) -> int:
        """Take over what dead nodes left on this machine; returns how many arrays.

        A shelf whose keeper is slow to die is looked at again.
        """
        cluster, count, self._left_behind = os.path.basename(os.path.dirname(self._path)), 0, False
        address = ray.get_runtime_context().gcs_address
        for path in orphaned(self._root, cluster, self._node, address, actors.living):
            of, dead = path.split("/")[-2:]
            if of == cluster:
                count += adopt(self._shelf, path, same_cluster=True, wanted=wanted_of(dead))
            else:
                count += adopt(self._shelf, path, same_cluster=False)
            self._left_behind |= os.path.exists(path)
        return count

    def about(self) -> dict[str, Any]:
        """What a process that joins has to agree on."""
        self._leave_if_removed()
        return {"protocol": PROTOCOL, "root": self._root, "pid": os.getpid()}

    def listing(self) -> tuple[int, bytes]:
        self._leave_if_removed()
        return self._listing.all()

    def listing_part(self, after: str | None = None) -> tuple[int, bytes, str | None]:
        """As `listing`, in parts, between which others are answered; see `Listing.part`."""
        if after is None:
            self._leave_if_removed()
        return self._listing.part(after)

    def forbid(self, names: list[tuple[str, str, int]]) -> None:
        while self._evacuation.leaving:  # then there is nothing to be read by name
            if not self._shelf.exists():
                return
            time.sleep(0.01)
        super().forbid(names)

    def keep(self, array_ids: list[str]) -> list[bool]:
        kept = super().keep(array_ids)
        self._cached_copies.kept(array_ids)
        return kept

    def room(self) -> int:
        """Bytes that one more replica may take: of the budgets of memory and disk, cached copies not counted."""
        account = self._shelf.ledger.disk
        free = self._shelf.ledger.free + self._shelf.pool.used() + max(0, account.free)
        return free + self._cached_copies.bytes()

    def deadline_ns(self, array_id: str) -> int:
        """When its time to live is over, in nanoseconds since 1970; 0 if it is not there."""
        return deadline_of(self._shelf, array_id)

    # --- scopes that span nodes

    def mark_scope(self, number: int, node: str) -> None:
        """Arrays of this node's scope are put on that node."""
        if not scope_is_over(self._shelf.scopes, number):
            mark_scope(self._shelf.scopes, number, node)

    def scope_is_over(self, number: int) -> bool:
        return scope_is_over(self._shelf.scopes, number)

    @ray.method(concurrency_group="fetch")
    def end_scope(self, number: int) -> None:
        """End the arrays of a scope here."""
        end_scope_here(self._shelf, number, _end_keys, self._endings.of_scope(number), self._end_copies)

    # --- transfer

    @ray.method(concurrency_group="send")
    def send(self, array_id: str, begin: int, end: int | None, step: int, epoch: int) -> Iterator[Any]:
        """A stream of an array's bytes, for another node; see `transfer`. It is sealed first, if that is due."""
        if not self._shelf.has(array_id):
            self._shelf.finish(array_id, epoch)
        for part in send(self._shelf, array_id, begin, end, step):
            if isinstance(part, Chunk):
                self._sent_bytes += memoryview(part.data).nbytes
            yield part

    @ray.method(concurrency_group="send")
    def send_many(self, array_ids: list[str], step: int) -> Iterator[Any]:
        """A stream of small arrays, for another node; see `small_copies`."""
        yield from send_small(self._shelf, array_ids, step)

    @ray.method(concurrency_group="fetch")
    def fetch_many(self, packed: bytes, node: str) -> None:
        """Have replicas of another node's small arrays on this shelf, of those that are there and still wanted."""
        self._fetches.fetch_many(packed, node)

    @ray.method(concurrency_group="fetch")
    def fetch(self, packed: bytes, hint: str | None, kept: bool = False, epoch: int = 0) -> bytes | None:  # noqa: FBT
        """Have a copy of another node's array on this shelf; many may wait for the same.

        Parameters
        ----------
        packed
            Its info, by `wire.pack`.
        hint
            A node that should have it.
        kept
            As a replica, which stays; else it is cached.
        epoch
            Under which `hint` may seal it, if it is listed but not sealed yet.

        Returns
        -------
        None if it is here now; else what the catalog says of it, see `Holders.locate`.
        """
        return self._fetches.fetch(packed, hint, kept=kept, epoch=epoch)

    def stats(self) -> ShelfStats:
        ledger, disk, files = self._shelf.ledger, self._shelf.disk, inodes(self._shelf.mem)
        return ShelfStats(
            node=self._node,
            path=self._path,
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
            fetched=self._fetches.count,
            sent_bytes=self._sent_bytes,
            kernel_bytes=kernel_bytes(self._shelf),
            free_inodes=None if files is None else files.free,
        )

    def spilled(self) -> list[str]:
        """The ids of the arrays that are on disk."""
        return self._shelf.spilled()

    @ray.method(concurrency_group="check")
    def check_shelf(self) -> tuple[list[Finding], dict[str, int]]:
        return check_shelf(self._shelf, _listed)

    @ray.method(concurrency_group="check")
    def check_arrays(self, array_ids: list[str]) -> list[Finding]:
        return check_arrays(self._shelf, array_ids)

    def close(self) -> int:
        """End the rounds and delete every array of this shelf; returns the bytes that were in use."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_TO_END)  # one that reads on does no harm: what it reads is out of the way
        used = self._shelf.ledger.used + self._shelf.ledger.disk.used
        self._shelf.remove()
        return used

    # --- leaving the node

    @ray.method(concurrency_group="drain")
    def kept(self) -> list[tuple[str, int, bool]]:
        """What this shelf keeps: id, bytes, and whether no other shelf has a copy, as far as this one knows."""
        return [(one.id, one.nbytes, one.alone) for one in self._evacuation.kept()]

    @ray.method(concurrency_group="drain")
    def evacuate(self, array_ids: list[str]) -> list[bool]:
        """Have other nodes keep these arrays, and drop those here that they do; says which are gone from here."""
        return self._evacuation.evacuate(array_ids, anywhere=True)

    @ray.method(concurrency_group="drain")
    def leave(self) -> str | None:
        """Remove the shelf if nothing is kept here, else say why not. Then this actor ends itself."""
        return self._evacuation.leave()

    # --- in the background

    def _go_on(self, work: Callable[[], None]) -> None:
        while not self._stop.wait(_ROUNDS_EVERY):
            self._try(work)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except GetTimeoutError:
            _log.warning("%s of %s: the catalog does not answer; it goes on", work.__name__, self._path)
        except Exception:  # noqa: BLE001 - it goes on, whatever it met
            if self._shelf.exists():
                _log.exception("%s of %s failed; it goes on", work.__name__, self._path)

    def rounds(self) -> int:
        """How often this keeper has gone its rounds."""
        return self._rounds

    def _make_rounds(self) -> None:
        self._leave_if_removed()
        self._rounds += 1
        live(self._path)
        for work in (self._trim, self._adopt_again, self._clear_orphans, self._end_what_is_over):
            if not self._stop.is_set():
                self._try(work)  # a catalog that is stopped holds up none of the others for long

    def _adopt_again(self) -> None:
        if self._left_behind or (self._rounds % _ADOPT_EVERY == 0 and unseen(self._root)):
            self._adopted += self._adopt()
        if self._welcomed and ray.wait(self._welcomed, timeout=0)[0]:  # to list the shelf takes as long as it takes
            try:
                ray.get(self._welcomed.pop())
            except RayError:
                self._adopted += 1  # to be told again
                raise
        if self._adopted and not self._welcomed:
            with contextlib.suppress(ValueError):  # no catalog yet, and it will ask
                self._welcomed.append(actors.catalog().welcome.remote(self._node))
                self._adopted = 0

    def _trim(self) -> None:
        self._shelf.pool.trim(older_than=_WARM_FOR, refusals=_REFUSALS)
        if self._shelf.disk is not None:
            self._shelf.disk.make_again()
            self._shelf.disk.pool.trim()
        self._shelf.names.sweep(self._shelf.has, _NAMES_A_ROUND)

    def _clear_orphans(self) -> None:
        abandoned = set[str]()
        try:
            for finding in clear_orphans(self._shelf, _listed):
                _log.info("%s %s: %s", finding.problem, finding.subject, finding.action)
                if finding.problem == "abandoned":
                    abandoned.add(finding.subject)
        finally:
            if abandoned and (given_up := abandoned.intersection(self._shelf.ended.given_up())):
                with contextlib.suppress(ValueError):  # a dead writer's call may be on its way
                    actors.catalog().take_off.remote(sorted(given_up))

    def _end_what_is_over(self) -> None:
        leave_scopes_that_ended(self._shelf)
        for why, array_ids in self._endings.due(jobs_that_ended).items():
            if array_ids:
                end(self._shelf, _end_keys, array_ids, why, self._end_copies)

    def _end_copies(self, array_ids: list[str]) -> None:
        """The catalog is to forget arrays without a key. If it does not hear of it, it asks before it copies them."""
        with contextlib.suppress(ValueError, RayError):
            ray.get(actors.catalog().ended.remote(array_ids, self._node), timeout=_TO_END)

    def _balance(self) -> None:
        """Between memory and disk. A thread of its own, as copying takes a while."""
        self._hold_disk()
        spill_ahead(self._shelf)
        promote_hot(self._shelf)

    _held: tuple[str, int] | None = None

    def _hold_disk(self) -> None:
        """Keep the folder on disk locked, for systemd-tmpfiles to leave it alone.

        Source: github.com/python/cpython/issues/81831.
        """
        path = None if self._shelf.disk is None else self._shelf.disk.path
        if path is not None and (self._held is None or self._held[0] != path):
            if self._held is not None:
                os.close(self._held[1])
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
            fcntl.flock(fd, fcntl.LOCK_SH)
            self._held = path, fd

    def _mend_doubles(self) -> None:
        for finding in mend_doubles(self._shelf):
            _log.info("%s %s: %s", finding.problem, finding.subject, finding.action)

    def _compute_checksums(self) -> None:
        self._unsummed.compute(older_than=_SETTLED_AFTER, stop=self._stop.is_set, rest=self._stop.wait)

    def _leave_if_removed(self) -> None:
        """Somebody removed the shelf: start anew, on a new one. Ray restarts this process and repeats its calls."""
        if self._evacuation.leaving:
            self._stop.wait()  # this process ends meanwhile, for good: whoever asked then starts another keeper
        if not self._stop.is_set() and not self._shelf.exists():
            _log.error("%s was removed, and all arrays with it; this keeper starts anew", self._path)
            os._exit(1)


def _end_keys(array_ids: list[str]) -> None:
    for begin in range(0, len(array_ids), AT_A_TIME):
        ray.get(actors.catalog().end.remote(array_ids[begin : begin + AT_A_TIME]), timeout=PATIENCE)


def _listed(array_ids: list[str]) -> set[str]:
    if not array_ids:
        return set()
    result: set[str] = ray.get(actors.catalog().listed.remote(array_ids), timeout=PATIENCE)
    return result


def wait_for_room(begin: Callable[[], None], path: str) -> None:
    """Begin to tend the shelf at `path`, and begin again as long as the file system has no room for that.

    An actor whose constructor raises is dead for good, and its arrays without a keeper.
    """
    while True:
        try:
            begin()
            return
        except (OSError, StoreFull) as error:
            if isinstance(error, OSError) and error.errno not in NO_ROOM:
                raise
            _log.warning("%s has no room for what its keeper writes as it starts (%s); it tries again", path, error)
            time.sleep(_ROUNDS_EVERY)


def _lock_file(path: str, patience: float) -> int:
    """Hold the lock of `path` from now on. One who died but has not quite gone may hold it a moment longer."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.pwrite(fd, f"{PROTOCOL}\n".encode(), 0)  # for processes that join without asking
                return fd
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"another keeper tends this shelf: it holds {path}") from None
                time.sleep(0.05)
    except BaseException:
        os.close(fd)
        raise
