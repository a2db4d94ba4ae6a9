"""Tending: the work that a keeper repeats on its shelf."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from typing import TYPE_CHECKING

from outlive.arrays.lock import is_at
from outlive.arrays.spill.move import settle
from outlive.arrays.spill.room import promote_hot, spill_ahead
from outlive.arrays.tend.ending import Endings
from outlive.arrays.tend.fsck import clear_orphans, unmounted
from outlive.cluster.ending import end, end_scope_here, leave_scopes_that_ended
from outlive.cluster.port import AT_A_TIME, Call, Nobody, Peers
from outlive.errors import OutliveError, StoreUnavailable

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf

_NAMES_A_ROUND = 500  # names that each round checks whether they lead nowhere
_REFUSALS = 200  # deleted arrays that a round tries to free and that turn out to be read still, at most
_WARM_FOR = 4.0  # seconds that a deleted segment waits to be written again
_MOST_LISTINGS = 5  # how often the shelf may be listed while the catalog is asked about drafts
_TO_HEAR = 2.0  # seconds for the catalog to hear of what has ended
_log = logging.getLogger(__name__)


class Tending:
    """The work of the keeper that tends `shelf` on `node`. A method that has raised may be called again."""

    def __init__(self, shelf: Shelf, node: str, peers: Peers) -> None:
        self._shelf, self._node, self._peers = shelf, node, peers
        self._endings = Endings(shelf)
        self._held: tuple[str, int] | None = None
        self._unmounted = set[str]()  # folders on disk of which the log says so already

    def trim(self) -> None:
        """Free deleted segments that nobody took for a while, and remove names that lead nowhere."""
        self._shelf.pool.trim(older_than=_WARM_FOR, refusals=_REFUSALS)
        if self._shelf.disk is not None:
            self._say_if_unmounted()
            self._shelf.disk.make_again()
            self._shelf.disk.pool.trim()
        self._shelf.names.sweep(self._shelf.has, _NAMES_A_ROUND)

    def _say_if_unmounted(self) -> None:
        """Log it once, each time that the disk goes."""
        found = {defect.subject: defect.action for defect in unmounted(self._shelf)}
        for path in found.keys() - self._unmounted:
            _log.warning("%s: %s", path, found[path])
        self._unmounted = set(found)

    def clear_orphans(self) -> None:
        """Remove what dead writers left, and tell the catalog of puts that came to nothing."""
        abandoned = set[str]()
        try:
            for finding in clear_orphans(self._shelf, self.listed):
                _log.info("%s %s: %s", finding.problem, finding.subject, finding.action)
                if finding.problem == "abandoned":
                    abandoned.add(finding.subject)
        finally:
            if abandoned and (given_up := abandoned.intersection(self._shelf.ended.given_up())):
                with contextlib.suppress(Nobody):  # a dead writer's call may reach the catalog later
                    self._peers.tell_catalog(Call.of("take_off", sorted(given_up)))

    def end_what_is_over(self) -> None:
        """Delete arrays whose lifetimes have ended."""
        leave_scopes_that_ended(self._shelf, self._peers)
        for why, array_ids in self._endings.due(self._peers.jobs_that_ended).items():
            if array_ids:
                end(self._shelf, self._end_keys, array_ids, why, self._end_copies)

    def end_scope(self, number: int) -> None:
        """Delete the arrays of a scope here."""
        end_scope_here(self._shelf, number, self._end_keys, self._endings.of_scope(number), self._end_copies)

    def _end_copies(self, array_ids: list[str]) -> None:
        """Have the catalog forget arrays without a key. If it does not hear of it, it asks before it copies them."""
        with contextlib.suppress(OutliveError):
            self._peers.ask_catalog(Call.of("ended", array_ids, self._node, True), _TO_HEAR)

    def _end_keys(self, array_ids: list[str]) -> None:
        for begin in range(0, len(array_ids), AT_A_TIME):
            self._peers.ask_catalog(Call.of("end", array_ids[begin : begin + AT_A_TIME]))

    def listed(self, array_ids: list[str]) -> set[str]:
        """The drafts, of these, that the catalog has listed.

        Raises
        ------
        StoreUnavailable
            The shelf is listed again and again.
        """
        if not array_ids:
            return set()
        for _ in range(_MOST_LISTINGS):
            call = Call.of("listed", array_ids, self._node, self._shelf.ledger.epoch)
            result: set[str] | None = self._peers.ask_catalog(call)
            if result is not None:
                return result
        raise StoreUnavailable(
            f"{self._shelf.path} was listed {_MOST_LISTINGS} times meanwhile; its drafts stay for now"
        )

    def balance(self) -> None:
        """Move arrays between memory and disk, which may take a while."""
        self._hold_disk()
        if (array_id := settle(self._shelf)) is not None:
            _log.info("double %s: its copy on disk removed: the process that moved it died in between", array_id)
        spill_ahead(self._shelf)
        promote_hot(self._shelf)

    def _hold_disk(self) -> None:
        """Keep the folder on disk locked, so that systemd-tmpfiles does not clear it.

        Source: github.com/python/cpython/issues/81831.
        """
        path = None if self._shelf.disk is None else self._shelf.disk.path
        if path is None or (self._held is not None and self._held[0] == path and is_at(path, self._held[1])):
            return
        held, self._held = self._held, None  # first: its number may soon belong to another file
        if held is not None:
            os.close(held[1])
        with contextlib.suppress(FileNotFoundError):  # somebody has cleared the disk; `trim` makes the folder again
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
            self._held = path, fd
            fcntl.flock(fd, fcntl.LOCK_SH)
