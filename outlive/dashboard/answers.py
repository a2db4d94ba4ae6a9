"""The answers that the page reads: windows of the feeds, the history, and pictures. Nothing here changes anything."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from outlive.dashboard import array_columns, worker_columns
from outlive.dashboard.feeds import Feed
from outlive.dashboard.rows import BadRequest, Row, whole, window
from outlive.dashboard.site import Site
from outlive.dashboard.sources import SourceError

SITE: Any = web.AppKey("site", Site)
_NODES = ("host", "role", "used", "arrays", "alone_bytes")


def routes() -> list[Any]:
    """The addresses."""
    return [
        web.get("/api/session", session),
        web.get("/api/workers", workers),
        web.get("/api/arrays", arrays),
        web.get("/api/array", array),
        web.get("/api/picture", picture),
        web.get("/api/nodes", nodes),
        web.get("/api/doctor", doctor),
        web.get("/api/history", history),
    ]


async def session(request: Any) -> Any:
    """Versions, and whether something may be changed."""
    site: Site = request.app[SITE]
    try:
        about = await site.about()
    except SourceError as error:
        about = {"address": None, "ray": None, "outlive": None, "error": str(error)}
    return web.json_response({**about, "read_only": site.read_only})


async def workers(request: Any) -> Any:
    """A window of the workers, and totals of all."""
    feed = await _feed(request, "workers")
    query = request.query
    state, text, node, job = (query.get(name, "") for name in ("state", "q", "node", "job"))

    def keep(row: Row) -> bool:
        fits = (not state or row["state"] == state) and row["node"].startswith(node)
        return fits and (not job or row["job"] == job) and worker_columns.mentions(row, text)

    found = feed.value["workers"] if feed.value else []
    more = {
        "totals": worker_columns.totals(found),
        "nodes": feed.value["nodes"] if feed.value else [],
        "unseen": feed.value["unseen"][:20] if feed.value else [],
    }
    return _answer(feed, {**_window(query, found, worker_columns.SORTABLE, keep), **more})


async def arrays(request: Any) -> Any:
    """A window of a store's arrays whose keys begin with `prefix`, with when each was last read and ends."""
    query = request.query
    feed = await _feed(request, "arrays", _store(query))
    prefix = query.get("prefix", "")
    found = feed.value["rows"] if feed.value else []
    part = _window(query, found, array_columns.SORTABLE, lambda row: row["key"].startswith(prefix))
    part["rows"] = await _with_times(request.app[SITE], part["rows"])
    stores = feed.value["stores"] if feed.value else {}
    part["nbytes"] = sum(row["nbytes"] for row in found if row["key"].startswith(prefix))
    left_out = feed.value["left_out"] if feed.value else 0
    return _answer(feed, {**part, "stores": stores, "left_out": left_out})


async def array(request: Any) -> Any:
    """One array."""
    feed = await _feed(request, "arrays", _store(request.query))
    key, array_id = request.query.get("key", ""), request.query.get("id", "")
    rows = [row for row in (feed.value or {"rows": []})["rows"] if row["key"] == key]
    row = next((row for row in rows if row["id"] == array_id), rows[0] if rows else None)
    if row is None:
        raise web.HTTPNotFound(text="the store has no such key any more")
    [row] = await _with_times(request.app[SITE], [row])
    return _answer(feed, {"row": row})


async def picture(request: Any) -> Any:
    """A PNG; or 404 with the reason why there is none. The headers say which slice it shows, and of how many."""
    query = request.query
    at = whole(query["at"], 0, "at") if "at" in query else None
    asked = _store(query), query.get("key", ""), query.get("id", ""), at
    try:
        found = await request.app[SITE].asker.ask("picture", *asked)
    except SourceError as error:
        raise web.HTTPNotFound(text=str(error)) from None
    if found["png"] is None:
        raise web.HTTPNotFound(text=found["said"])
    shown = {"X-Slices": found["slices"], "X-At": found["at"], "X-Said": found["said"]}
    headers = {name: str(value) for name, value in shown.items() if value is not None}
    return web.Response(body=base64.b64decode(found["png"]), content_type="image/png", headers=headers)


async def nodes(request: Any) -> Any:
    """A window of the nodes, and the drains that run."""
    feed = await _feed(request, "nodes")
    text = request.query.get("q", "")

    def keep(row: Row) -> bool:
        return any(text.lower() in str(row[name]).lower() for name in ("id", "host", "ip", "role"))

    found = feed.value["nodes"] if feed.value else []
    scales = feed.value["autoscaler"] if feed.value else None
    drains = request.app[SITE].drains
    return _answer(feed, {**_window(request.query, found, _NODES, keep), "autoscaler": scales, "drains": drains})


async def doctor(request: Any) -> Any:
    """The findings, all of them: there are seldom many."""
    feed = await _feed(request, "doctor")
    return _answer(feed, {"diagnosis": feed.value})


async def history(request: Any) -> Any:
    """The last hour, in columns."""
    return web.json_response(request.app[SITE].history.document())


async def _feed(request: Any, *key: str) -> Feed:
    feed: Feed = request.app[SITE].feeds.of(*key)
    return await feed.fresh()


def _store(query: Mapping[str, str]) -> str:
    store = query.get("store", "default")
    if not 0 < len(store) <= 1024:
        raise BadRequest("store is a name of up to 1024 characters")
    return store


def _window(query: Mapping[str, str], found: list[Row], sortable: Any, keep: Any) -> dict[str, Any]:
    offset, limit = whole(query.get("offset"), 0, "offset"), whole(query.get("limit"), 100, "limit")
    descending = query.get("order") == "down"
    sort = query.get("sort", "")
    return window(found, offset=offset, limit=limit, sort=sort, descending=descending, keep=keep, sortable=sortable)


async def _with_times(site: Site, rows: list[Row]) -> list[Row]:
    """Add what only the shelves know. A node that does not answer leaves them open."""
    pairs = [(row["id"], node) for row in rows if not row["lost_at"] for node in row["nodes"][:4]]
    try:
        times = await site.asker.ask("details", pairs) if pairs else {}
    except SourceError:
        times = {}
    unknown = {"read_at": None, "ends_at": None, "on_disk": None}
    return [{**row, **times.get(row["id"], unknown)} for row in rows]


def _answer(feed: Feed, document: dict[str, Any]) -> Any:
    return web.json_response({**document, "state": feed.state()})
