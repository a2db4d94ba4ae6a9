"""Serves a played cluster, in a thread with an event loop of its own. Run as a program: until Ctrl-C."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

pytest.importorskip("aiohttp", reason="pip install 'outlive[dashboard]'")

from aiohttp import web

from outlive.dashboard.admission import Admission
from outlive.dashboard.server import application
from outlive.dashboard.site import Site
from outlive.dashboard.sources import SourceError
from tests.dashboard.played import Played


class InThreads:
    """Asks a source of this process."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self._pool = ThreadPoolExecutor(8)

    async def ask(self, method: str, *args: Any, progress: Any = None) -> Any:
        loop = asyncio.get_running_loop()
        if progress is not None:
            args = (*args, lambda done, total: loop.call_soon_threadsafe(progress, done, total))
        try:
            return await loop.run_in_executor(self._pool, lambda: getattr(self.source, method)(*args))
        except Exception as error:
            raise SourceError(str(error)) from error

    async def close(self) -> None:
        self._pool.shutdown(wait=False)


class Served(NamedTuple):
    url: str
    """With a slash at its end, without the token."""
    source: Played
    site: Site

    @property
    def token(self) -> str:
        return self.site.admission.token

    @property
    def opened(self) -> str:
        """The address that is printed."""
        return f"{self.url}?token={self.token}"


@contextmanager
def served(source: Played | None = None, *, port: int = 0, **options: Any) -> Iterator[Served]:
    source, loop = source or Played(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="dashboard")
    thread.start()

    def call(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    async def begin() -> tuple[Any, Site, int]:
        admission = Admission(options.pop("token", None), port)
        site = Site(InThreads(source), admission, **options)
        runner = web.AppRunner(application(site), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        listening = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
        await listening.start()
        return runner, site, runner.addresses[0][1]

    runner, site, chosen = call(begin())
    try:
        yield Served(f"http://127.0.0.1:{chosen}/", source, site)
    finally:
        source.go_on.set()
        call(runner.cleanup())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


if __name__ == "__main__":
    with served() as one:
        print(one.opened, flush=True)
        threading.Event().wait()
