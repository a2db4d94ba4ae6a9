"""Server-sent events: which view has something new. The page then asks for the rows that it shows.

An event is small and says all that matters, so one that is missed, or a connection that is made anew, needs no memory
of what was sent: each connection begins with the state of all views.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from aiohttp import web

from outlive.dashboard.answers import SITE
from outlive.dashboard.rows import BadRequest
from outlive.dashboard.site import Site

MOST = 64  # listeners
_BEAT = 15.0  # seconds between two signs of life, so that a server in between does not close the connection
_RETRY = 2000  # milliseconds until a browser connects again
_VIEWS = ("workers", "nodes", "doctor", "arrays", "history")


def routes() -> list[Any]:
    """The address."""
    return [web.get("/api/events", events)]


async def events(request: Any) -> Any:
    """Events for one page, for as long as it is open. `view` is asked for more often meanwhile."""
    site: Site = request.app[SITE]
    view, store = request.query.get("view", "workers"), request.query.get("store", "default")
    if view not in _VIEWS:
        raise BadRequest(f"view is one of {', '.join(_VIEWS)}")
    if site.listeners >= MOST:
        raise web.HTTPServiceUnavailable(text=f"{MOST} pages are open already")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    key = (view, store) if view == "arrays" else (view,)
    with contextlib.ExitStack() as stack:
        queue = stack.enter_context(site.listening())
        watched = [key] if view != "history" else [("workers",), ("nodes",)]
        for one in watched:
            stack.enter_context(site.feeds.watched(*one))
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            await response.write(f"retry: {_RETRY}\n\n".encode())
            for feed in site.feeds.known():
                if feed.version:
                    await _send(response, feed.state())
            await _pass_on(site, queue, response)
    return response


async def _pass_on(site: Site, queue: asyncio.Queue[dict[str, Any]], response: Any) -> None:
    ending = asyncio.create_task(site.ending.wait())
    try:
        while not ending.done():
            coming = asyncio.create_task(queue.get())
            done, _ = await asyncio.wait({coming, ending}, timeout=_BEAT, return_when=asyncio.FIRST_COMPLETED)
            if coming in done:
                await _send(response, coming.result())
                continue
            coming.cancel()
            if not done:
                await response.write(b": here\n\n")
    finally:
        ending.cancel()


async def _send(response: Any, event: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(event)}\n\n".encode())
