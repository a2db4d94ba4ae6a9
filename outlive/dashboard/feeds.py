"""Feeds: the latest of each view, asked for again and again while somebody watches.

A feed keeps what it last had if the cluster does not answer, with the error. It asks the less often the longer an
answer takes, so that a large cluster is not asked all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

_SHARE = 10  # an answer may take a tenth of the time
_SLOWEST = 120.0  # seconds between two questions at most
_FORGOTTEN = 60.0  # seconds after which a feed that nobody watches is dropped
_HEARD_WITHIN = 1.0  # seconds in which a feed that is cancelled has ended
_MOST = 8  # feeds of stores that are kept at the same time

Key = tuple[str, ...]
"""The method of the source, and its arguments: `("arrays", "default")`."""

WATCHED = {"workers": 3.0, "nodes": 3.0, "arrays": 3.0, "doctor": 60.0}
"""Seconds between two questions while somebody watches, at least."""
UNWATCHED = {"workers": 10.0, "nodes": 10.0}
"""The same while nobody does. The others rest."""


class Feed:
    """One view: its value, when that was so, and the error since then, if any."""

    def __init__(self, key: Key, ask: Callable[[], Awaitable[Any]], changed: Callable[[Feed], None]) -> None:
        self.key, self._ask, self._changed = key, ask, changed
        self.value: Any = None
        self.version = 0
        self.at: float | None = None
        """Unix time of the value."""
        self.error: str | None = None
        self.failing_since: float | None = None
        self.watchers = 0
        self.left_at = time.monotonic()
        self._tried = asyncio.Event()
        self._wake = asyncio.Event()
        self._took, self._looked_at = 0.0, 0.0

    def state(self) -> dict[str, Any]:
        """Its state, as an event tells it."""
        return {
            "feed": self.key[0], "of": self.key[1] if len(self.key) > 1 else None, "version": self.version,
            "at": self.at, "error": self.error, "since": self.failing_since,
        }  # fmt: skip

    async def current(self) -> Feed:
        """Wait until it was asked for once."""
        self._wake.set()
        await self._tried.wait()
        return self

    async def fresh(self) -> Feed:
        """The same; one that rests, as nobody watches it, is asked for anew: a script wants what is so now."""
        if self.version and self._pause() is None and time.monotonic() - self._looked_at > WATCHED[self.key[0]]:
            self._tried.clear()
        if not self._tried.is_set():
            await self.current()
        return self

    def look_again(self) -> None:
        """Ask at once."""
        self._wake.set()

    def drop(self) -> None:
        """Nobody asks for it any more: whoever waits for its first answer is told so."""
        self.error = self.error or "too many stores are looked at: try again"
        self._tried.set()

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            self._wake.clear()
            await self.look()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pause())

    async def look(self) -> None:
        """Ask once."""
        began = time.monotonic()
        try:
            self.value = await self._ask()
        except Exception as error:  # noqa: BLE001 - a SourceError, as a rule: whatever it is, the page says so
            self.error = str(error) or type(error).__name__
            self.failing_since = self.failing_since or time.time()
        else:
            self.at, self.error, self.failing_since = time.time(), None, None
        self._looked_at = time.monotonic()
        self._took = self._looked_at - began
        self.version += 1
        self._tried.set()
        self._changed(self)

    def _pause(self) -> float | None:
        every = (WATCHED if self.watchers else UNWATCHED).get(self.key[0])
        return None if every is None else min(max(every, _SHARE * self._took), _SLOWEST)


class Feeds:
    """All feeds, by key.

    Parameters
    ----------
    ask
        Asks the source.
    changed
        Called when a feed has something new.
    """

    def __init__(self, ask: Callable[..., Awaitable[Any]], changed: Callable[[Feed], None]) -> None:
        self._ask, self._changed = ask, changed
        self._feeds: dict[Key, tuple[Feed, asyncio.Task[None]]] = {}

    def of(self, *key: str) -> Feed:
        """The feed of a method and its arguments; it begins to run."""
        if key not in self._feeds:
            self._forget()
            feed = Feed(key, lambda: self._ask(*key), self._changed)
            self._feeds[key] = feed, asyncio.create_task(feed.run())
        return self._feeds[key][0]

    def known(self) -> list[Feed]:
        """Those that run."""
        return [feed for feed, _ in self._feeds.values()]

    @contextlib.contextmanager
    def watched(self, *key: str) -> Iterator[Feed]:
        """The feed, asked for more often in this block."""
        feed = self.of(*key)
        feed.watchers += 1
        feed.look_again()
        try:
            yield feed
        finally:
            feed.watchers -= 1
            feed.left_at = time.monotonic()

    async def close(self) -> None:
        """End all."""
        remaining = {task for _, task in self._feeds.values()}
        while remaining:
            for task in remaining:
                task.cancel()
            # Before Python 3.12, `asyncio.wait_for` loses a cancellation that comes just as its answer does.
            done, remaining = await asyncio.wait(remaining, timeout=_HEARD_WITHIN)
            await asyncio.gather(*done, return_exceptions=True)  # has been seen

    def _forget(self) -> None:
        """Drop feeds of stores that nobody watches: the oldest if there are many."""
        idle = sorted(
            (feed for feed in self.known() if len(feed.key) > 1 and not feed.watchers), key=lambda one: one.left_at
        )
        now = time.monotonic()
        for place, feed in enumerate(idle):
            if now - feed.left_at > _FORGOTTEN or len(idle) - place >= _MOST:
                self._feeds.pop(feed.key)[1].cancel()
                feed.drop()
