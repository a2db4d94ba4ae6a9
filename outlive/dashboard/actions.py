"""The changes that the page can make: trim and drain. Each is shown first, and done by the name of what was shown."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Any

from aiohttp import web

from outlive.dashboard.answers import SITE
from outlive.dashboard.rows import BadRequest
from outlive.dashboard.site import Site
from outlive.dashboard.sources import SourceError

_VALID = 300.0  # seconds between a preview and its confirmation
_MOST = 50  # previews that are remembered
_LIMITS = {"min_idle", "max_idle", "max_memory", "job", "workers"}
_SHOWN_FOR = 600.0  # seconds for which the result of a drain is told


class Previews:
    """The previews that were shown, by random names. Each is good for one confirmation."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, Any]] = {}

    def keep(self, what: Any) -> str:
        """Remember a preview; its name."""
        while len(self._kept) >= _MOST:
            self._kept.pop(next(iter(self._kept)))
        name = secrets.token_urlsafe(16)
        self._kept[name] = time.monotonic(), what
        return name

    def take(self, name: Any) -> Any:
        """The preview of a name. Raises HTTPConflict if it was used, or is too old."""
        at, what = self._kept.pop(name, (0.0, None)) if isinstance(name, str) else (0.0, None)
        if what is None or time.monotonic() - at > _VALID:
            raise web.HTTPConflict(text="what was shown is out of date: look at it again")
        return what


PREVIEWS: Any = web.AppKey("previews", Previews)


def routes() -> list[Any]:
    """The addresses."""
    return [
        web.post("/api/look", look),
        web.post("/api/trim/preview", preview_trim),
        web.post("/api/trim", trim),
        web.post("/api/drain/preview", preview_drain),
        web.post("/api/drain", drain),
    ]


async def look(request: Any) -> Any:
    """Ask the cluster at once."""
    for feed in request.app[SITE].feeds.known():
        feed.look_again()
    return web.json_response({})


async def preview_trim(request: Any) -> Any:
    """The workers that would leave, and the name of this preview."""
    site, limits = _changing(request), await _body(request)
    if unknown := set(limits) - _LIMITS:
        raise BadRequest(f"no limit {sorted(unknown)}")
    found = await _asked(site, "preview_trim", limits)
    ids = [one["id"] for one in found["chosen"]]
    return web.json_response({**found, "preview": request.app[PREVIEWS].keep(("trim", limits, ids))})


async def trim(request: Any) -> Any:
    """Let workers go that the preview named. Others are not touched, whatever has changed meanwhile."""
    site = _changing(request)
    limits, ids = _shown(request, "trim", (await _body(request)).get("preview"))
    done = await _asked(site, "trim", limits, ids)
    site.feeds.of("workers").look_again()
    return web.json_response(done)


async def preview_drain(request: Any) -> Any:
    """The arrays that would be copied, whether there is room for them, and why the node cannot go."""
    site, node = _changing(request), _node(await _body(request))
    found = await _asked(site, "preview_drain", node)
    return web.json_response({**found, "preview": request.app[PREVIEWS].keep(("drain", node, None))})


async def drain(request: Any) -> Any:
    """Begin to drain a node. Events tell how far it is, and how it ended."""
    site = _changing(request)
    node, _ = _shown(request, "drain", (await _body(request)).get("preview"))
    if "result" not in site.drains.get(node, {"result": None}):
        raise web.HTTPConflict(text="this node is being drained already")
    site.drains[node] = {"done": 0, "total": 0, "at": time.time()}
    site.spawn(_drain(site, node))
    return web.json_response({"node": node})


async def _drain(site: Site, node: str) -> None:
    def moved(done: int, total: int) -> None:
        site.drains[node] = {"done": done, "total": total, "at": time.time()}
        site.tell({"feed": "drain", "node": node, **site.drains[node]})

    result, error = None, None
    try:
        result = await site.asker.ask("drain", node, progress=moved)
    except SourceError as problem:
        error = str(problem)
    site.drains[node] = {**site.drains[node], "result": result, "error": error, "at": time.time()}
    site.tell({"feed": "drain", "node": node, **site.drains[node]})
    site.feeds.of("nodes").look_again()
    asyncio.get_running_loop().call_later(_SHOWN_FOR, _forget, site, node, site.drains[node])


def _forget(site: Site, node: str, told: dict[str, Any]) -> None:
    if site.drains.get(node) is told:  # else it is drained again
        del site.drains[node]


def _changing(request: Any) -> Site:
    site: Site = request.app[SITE]
    if site.read_only:
        raise web.HTTPForbidden(text="this dashboard was started with --read-only")
    return site


async def _asked(site: Site, *question: Any) -> Any:
    try:
        return await site.asker.ask(*question)
    except SourceError as error:
        raise web.HTTPBadGateway(text=str(error)) from None


def _shown(request: Any, kind: str, name: Any) -> tuple[Any, Any]:
    what, *rest = request.app[PREVIEWS].take(name)
    if what != kind:
        raise web.HTTPConflict(text="what was shown is another thing: look at it again")
    return rest[0], rest[1]


async def _body(request: Any) -> dict[str, Any]:
    """The JSON object of a request. Raises BadRequest."""
    if request.content_type != "application/json":  # a form of another site cannot send this
        raise web.HTTPUnsupportedMediaType(text="send application/json")
    try:
        found = json.loads(await request.text())
    except (ValueError, RecursionError):
        raise BadRequest("the body is no JSON") from None
    if not isinstance(found, dict):
        raise BadRequest("the body is no JSON object")
    return found


def _node(body: dict[str, Any]) -> str:
    node = body.get("node")
    if not isinstance(node, str) or not 0 < len(node) <= 64:
        raise BadRequest("node is the id of a node")
    return node
