"""Serving: a keeper's transfer server, which sends segments of its shelf to other nodes, and takes short calls."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

from outlive.arrays.layout import COPIED, is_cached, is_copied
from outlive.arrays.marks import mark
from outlive.arrays.segment import read_info
from outlive.cluster.checksum import checksum
from outlive.cluster.direct import head
from outlive.cluster.links import SECRET
from outlive.cluster.port import Peers
from outlive.cluster.short_calls import answer
from outlive.cluster.transfer import NotThere, open_sealed
from outlive.errors import BadSetting, StoreUnavailable
from outlive.transfer import settings
from outlive.transfer.door import Counts
from outlive.transfer.server import Gone, Opened, Server

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf
    from outlive.cluster.shelf_calls import ShelfCalls
    from outlive.transfer.wire import Request

_SECRET_SIZE = 32  # bytes
_log = logging.getLogger(__name__)


class Serving:
    """The server of `keeper`, which tends `shelf` on `node`. If none can be started, `why_not` says why."""

    def __init__(self, shelf: Shelf, node: str, peers: Peers, keeper: ShelfCalls) -> None:
        self._shelf, self._node, self._peers, self._keeper = shelf, node, peers, keeper
        self._server: Server | None = None
        self.why_not: str | None = None
        self._is_wanted = True  # by the settings, which stay as long as the process
        self._mutex = threading.Lock()
        self.try_again()

    def try_again(self) -> None:
        """Start a server, if there is none or it has ended by itself. The head is asked, and may be silent for long."""
        if self._listens() or not self._is_wanted:
            return
        made, why_not = self._start_or_say_why()
        with self._mutex:
            if not self._listens() and (made is None or self._is_wanted):
                self._server, self.why_not, made = made, why_not, None
        if made is not None:  # `close` was called meanwhile, or another thread has started one
            made.close()

    def _listens(self) -> bool:
        return self._server is not None and self._server.listens

    def _start_or_say_why(self) -> tuple[Server | None, str | None]:
        try:
            if settings.is_off():
                self._is_wanted = False
                return None, f"{settings.TRANSFER}=ray"
            return self._start(), None
        except BadSetting as error:
            self._is_wanted = False
            return None, self._said(error)
        except (OSError, StoreUnavailable) as error:
            return None, self._said(error)

    def _said(self, error: Exception) -> str:
        """The text of an error, which is logged once, even if it comes again."""
        why = str(error)
        if why != self.why_not:
            _log.warning("arrays of this node go to others through Ray: %s", why)
        return why

    def _start(self) -> Server:
        here = self._peers.node(self._node)
        if here is None:
            raise StoreUnavailable("Ray does not say what this node's address is")
        secret = self._peers.save_first(SECRET, os.urandom(_SECRET_SIZE))
        return Server(
            here.ip,
            settings.ports(),
            node=self._node,
            secret=lambda: secret,
            opened=self.opened,
            answered=self.answered,
            checksum=checksum,
            tls=settings.tls(),
        )

    @property
    def counts(self) -> Counts:
        return Counts() if self._server is None else self._server.counts

    def about(self) -> list[str | int] | str | None:
        """Host and port of the server; why there is none otherwise."""
        return self.why_not if self._server is None else [self._server.host, self._server.port]

    def close(self) -> None:
        """Close the server for good: `try_again` starts no other."""
        with self._mutex:
            self._is_wanted = False
        if self._server is not None:
            self._server.close()

    def answered(self, question: bytes) -> bytes:
        """Have the keeper carry out a short call. Raises whatever that raises."""
        if not self._shelf.exists():
            raise self._shelf.gone()
        return answer(self._keeper, question)

    def opened(self, request: Request) -> Opened:
        """Open the segment of an array, locked so that nobody recycles it. A draft that is listed is sealed first.

        Raises
        ------
        Gone
        """
        shelf, array_id = self._shelf, request.array_id
        if not shelf.has(array_id):
            shelf.finish(array_id, request.epoch)
        try:
            path, file = open_sealed(shelf, array_id)
        except NotThere:
            raise Gone(array_id) from None
        try:
            info, status = read_info(file.fileno(), path), os.fstat(file.fileno())
            unmarked = request.copies and not is_copied(status.st_mode) and not is_cached(status.st_mode)
            # The mark comes before the first byte leaves: from here on, a deletion has to ask the catalog.
            if unmarked and not mark(shelf, array_id, add=COPIED):
                raise Gone(array_id)
            return Opened(file, request.begin, min(request.end, status.st_size), head(info, status.st_mtime_ns))
        except BaseException:
            file.close()
            raise
