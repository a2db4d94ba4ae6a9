"""The site: what its handlers share - the way to the cluster, the feeds, the history, and who listens."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from outlive.dashboard.feeds import Feed, Feeds
from outlive.dashboard.history import EVERY, History

if TYPE_CHECKING:
    from outlive.dashboard.admission import Admission
    from outlive.dashboard.sources import Asker

_ALWAYS = ("workers", "nodes")
"""The feeds that run even if nobody watches: the history is made of them."""


class Site:
    """One dashboard.

    Parameters
    ----------
    read_only
        Nothing can be changed through the page.
    """

    def __init__(self, asker: Asker, admission: Admission, *, read_only: bool = False) -> None:
        self.asker, self.admission, self.read_only = asker, admission, read_only
        self.history = History()
        self.feeds = Feeds(asker.ask, self._tell_of)
        self.drains: dict[str, dict[str, Any]] = {}
        """By node the drains that run, or ended lately: `done`, `total`, `result`, `error`, `at`."""
        self.tasks: set[asyncio.Task[Any]] = set()
        self.ending = asyncio.Event()
        self.admitted: Callable[[Any], None] = lambda _: None
        """Told each connection by which somebody asked who may see the page."""
        self._listeners: set[asyncio.Queue[dict[str, Any]]] = set()
        self._about: dict[str, Any] = {}

    def begin(self) -> None:
        """Begin to ask and to sample."""
        for name in _ALWAYS:
            self.feeds.of(name)
        self.spawn(self._sample())

    def spawn(self, work: Any) -> None:
        """Run a coroutine until the site is closed."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def about(self) -> dict[str, Any]:
        """Address and versions, as they were when the cluster was first seen."""
        self._about = self._about or await self.asker.ask("about")
        return self._about

    @contextlib.contextmanager
    def listening(self) -> Any:
        """A queue of events for one listener."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=1000)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event to all who listen. One who does not take them misses some, and hears of the next."""
        for queue in self._listeners:
            if not queue.full():
                queue.put_nowait(event)

    async def close(self) -> None:
        """End everything, in a moment."""
        self.ending.set()
        for task in list(self.tasks):
            task.cancel()
        await self.feeds.close()
        await self.asker.close()

    def _tell_of(self, feed: Feed) -> None:
        self.tell(feed.state())

    async def _sample(self) -> None:
        """Take samples for ever: the first once both feeds have something."""
        await asyncio.gather(*(self.feeds.of(name).current() for name in _ALWAYS))
        while True:
            workers, nodes = (self.feeds.of(name) for name in _ALWAYS)
            known = [None if feed.error else feed.value for feed in (workers, nodes)]
            self.history.add(known[0], known[1], at=time.time())
            self.tell({"feed": "history", "version": None, "at": time.time(), "error": None})
            await asyncio.sleep(EVERY)
