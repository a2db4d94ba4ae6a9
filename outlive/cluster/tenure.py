"""Tenure: a keeper's hold of its shelf's folder. Only its holder tends the shelf, signs it, and adopts others."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import time
from collections.abc import Callable

from outlive.arrays.layout import KEEPER, LEDGER, PRIVATE
from outlive.arrays.limits import NO_ROOM
from outlive.arrays.removal import clear_removed
from outlive.arrays.root import default_root, shelf_folder
from outlive.arrays.settings import Settings, apply
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.adopt import adopt, finish_removals, orphaned, sign, unseen
from outlive.arrays.tend.fsck import mend_doubles
from outlive.catalog.pages import wanted_of
from outlive.cluster.port import Peers
from outlive.errors import CorruptArray, StoreFull, StoreUnavailable

PROTOCOL = 13
"""Raised whenever keepers or catalogs cannot serve programs of the version before, or a shelf has other files."""
_TO_GO = 120.0  # seconds that the process of a dead keeper may take to end
_TRY_AGAIN = 1.0  # seconds between two tries, while there is no room
_log = logging.getLogger(__name__)


class Tenure:
    """The tenure of a node's keeper. It lasts as long as the process.

    Raises
    ------
    RuntimeError
        Another keeper tends the shelf.
    StoreFull, OSError
        There is no shelf yet, and no room for one.
    """

    def __init__(self, peers: Peers, cluster: str, node: str) -> None:
        self._peers, self._cluster, self._node = peers, cluster, node
        self.root, self.on_disk = self.chosen_root()
        self._path, self._lock = shelf_folder(self.root, cluster, node), -1
        self._unlisted: dict[str, str] = {}  # adopted arrays that were never listed here: their dead nodes
        self._epoch = 0  # the shelf's epoch as these came
        self.left_behind = False
        """Whether there are shelves to adopt, or they are being adopted."""
        if os.path.exists(f"{self._path}/{LEDGER}"):
            wait_for_room(self._begin, self._path)
        else:
            self._begin()  # the first keeper of this shelf does not wait for room, and raises

    def chosen_root(self) -> tuple[str, str | None]:
        """The path of the root folder, and the reason if it is on disk."""
        return default_root()

    def _begin(self) -> None:
        """Begin the tenure. If this failed, it may be called again."""
        clear_removed(*os.path.split(self._path))
        self.shelf = Shelf(self._path)
        if self._lock < 0:
            self._lock = lock_file(f"{self._path}/{KEEPER}", _TO_GO)
        for finding in mend_doubles(self.shelf):
            _log.info("%s %s: %s", finding.problem, finding.subject, finding.action)
        self.shelf.recount()
        self.claim()
        apply(Settings(), self.shelf, self.root, self._cluster, self._node)  # defaults, where nothing was chosen

    def claim(self) -> None:
        """Say whose the shelf is, and adopt what was left to it."""
        sign(self._path, self._peers.address(), raylet_process(), self._raylet())
        self._adopt()

    def _raylet(self) -> str:
        """The address of this node's raylet; "" if the head does not say."""
        with contextlib.suppress(StoreUnavailable):
            here = self._peers.node(self._node)
            if here is not None and here.port:
                return f"{here.ip}:{here.port}"
        return ""

    def _adopt(self) -> None:
        """Adopt the shelves that dead nodes left on this machine; see `Ledger.adopted`.

        A shelf whose keeper has not quite died is tried again later.
        """
        left_behind = False
        finish_removals(self.root)
        for path in orphaned(self.root, self._cluster, self._node, self._peers.address(), self._living):
            self.left_behind = True
            of, dead = path.split("/")[-2:]
            if of == self._cluster:
                wanted, came = wanted_of(dead, self._peers.load), functools.partial(self._came, dead)
                adopt(self.shelf, path, same_cluster=True, wanted=wanted, came=came)
            else:
                adopt(self.shelf, path, same_cluster=False)
            left_behind |= os.path.exists(path)
        self.left_behind = left_behind

    def _came(self, dead: str, array_id: str) -> None:
        """Note that an array comes from a dead node. The caller has locked the ledger.

        If this shelf has it cached, the catalog knows of that copy. It may have had it kept: then it is not lost.
        """
        if self.shelf.ledger.epoch != self._epoch:  # the shelf was listed since, with what had come before
            self._unlisted, self._epoch = {}, self.shelf.ledger.epoch
        if array_id in self._unlisted or not self.shelf.has(array_id):
            self._unlisted[array_id] = dead

    def review(self) -> None:
        """Drop adopted arrays that were deleted since they came. Called before the shelf is listed.

        The catalog that deleted them may be dead, and the next one would list them. Those that were listed before stay:
        they are not lost any more, and that is no sign of a deletion.
        """
        if not self._unlisted:
            return
        wanted = {dead: wanted_of(dead, self._peers.load) for dead in set(self._unlisted.values())}
        with self.shelf.ledger.locked():
            unlisted, self._unlisted = self._unlisted, {}
            if self.shelf.ledger.epoch == self._epoch:
                for array_id, dead in unlisted.items():
                    with contextlib.suppress(FileNotFoundError, CorruptArray):
                        if dead in wanted and not wanted[dead](self.shelf.info(array_id)):
                            self.shelf.delete(array_id)

    def adopt_again(self, *, thorough: bool) -> None:
        """Adopt shelves whose keepers were not quite dead before; if `thorough`, also those that nobody could see."""
        if self.left_behind or (thorough and unseen(self.root)):
            self._adopt()

    def _living(self) -> set[str]:
        return {node.id for node in self._peers.nodes() if node.alive}


def raylet_process() -> int:
    """The process id of the raylet that started this worker, even if it has ended since; 0 if it cannot be seen."""
    parent, told = os.getppid(), os.environ.get("RAY_RAYLET_PID", "")
    return int(told) if parent and told.isdigit() else parent  # else init, as a rule, which never ends


def wait_for_room(begin: Callable[[], None], path: str) -> None:
    """Call `begin`, again and again while the file system has no room for what it writes to the shelf at `path`.

    Ray gives up an actor whose constructor raises, and its arrays would have no keeper.
    """
    while True:
        try:
            begin()
            return
        except (OSError, StoreFull) as error:
            if isinstance(error, OSError) and error.errno not in NO_ROOM:
                raise
            _log.warning("%s has no room for what its keeper writes as it starts (%s); it tries again", path, error)
            time.sleep(_TRY_AGAIN)


def lock_file(path: str, patience: float) -> int:
    """Hold the lock of `path` from now on. A process that is just ending may hold it a moment longer.

    Returns
    -------
    The file's descriptor: it is locked as long as that is open.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
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
