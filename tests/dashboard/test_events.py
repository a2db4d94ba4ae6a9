"""Server-sent events: each connection begins with the state of all views, so that one made anew misses nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any

from tests.conftest import eventually
from tests.dashboard.conftest import Client
from tests.dashboard.serving import Served


@contextlib.contextmanager
def stream(client: Client, query: str = "view=workers") -> Iterator[Iterator[dict[str, Any]]]:
    connection = http.client.HTTPConnection(client.host, timeout=60)
    connection.request("GET", f"/api/events?{query}", headers=client.cookie)
    answer = connection.getresponse()
    assert answer.headers["Content-Type"].startswith("text/event-stream")

    def read() -> Iterator[dict[str, Any]]:
        while line := answer.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    try:
        yield read()
    finally:
        answer.close()
        connection.close()


def test_state_first_and_then_what_is_new(one: Served, client: Client) -> None:
    client.get("/api/workers")
    with stream(client) as found:
        first = next(event for event in found if event["feed"] == "workers")
        assert first["error"] is None
        one.source.error = "gone"
        client.post("/api/look", {})
        assert next(event for event in found if event.get("error"))["error"] == "gone"
    one.source.error = None
    client.post("/api/look", {})
    with stream(client) as found:  # connected again: what was missed is told
        assert next(event for event in found if event["feed"] == "workers" and not event["error"])


def test_a_view_is_asked_for_while_it_is_watched(one: Served, client: Client) -> None:
    with stream(client, "view=arrays&store=masks") as found:
        assert next(event for event in found if event["feed"] == "arrays")["of"] == "masks"
        assert one.site.feeds.of("arrays", "masks").watchers == 1
    eventually(lambda: one.site.feeds.of("arrays", "masks").watchers == 0 or (client.post("/api/look", {}) and None))


def test_a_listener_that_takes_nothing_holds_up_nobody(one: Served, client: Client) -> None:
    with one.site.listening() as queue:
        for number in range(3000):
            one.site.tell({"feed": "x", "n": number})
        assert queue.full()


def test_wrong_and_too_many(client: Client, monkeypatch) -> None:
    from outlive.dashboard import events

    assert client.get("/api/events", view="<script>").status == 400
    monkeypatch.setattr(events, "MOST", 0)
    assert client.get("/api/events").status == 503
