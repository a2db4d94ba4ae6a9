"""What the page reads and does, of a played cluster of 1,000 workers and 10,000 arrays."""

from __future__ import annotations

import json

import pytest

from tests.conftest import eventually
from tests.dashboard.conftest import Client
from tests.dashboard.played import HOSTILE, Played
from tests.dashboard.serving import Served, served


def test_pages_of_arrays(client: Client) -> None:
    seen = []
    for offset in range(0, 10_000, 200):
        found = client.get("/api/arrays", offset=offset, limit=200).json
        assert (found["total"], found["all"], len(found["rows"])) == (10_000, 10_000, 200)
        seen += [row["key"] for row in found["rows"]]
    assert len(set(seen)) == 10_000
    assert client.get("/api/arrays", offset=10_000).json["rows"] == []


def test_each_window_is_small(client: Client) -> None:
    assert len(client.get("/api/arrays", limit=200).body) < 200_000
    assert len(client.get("/api/workers", limit=200).body) < 200_000


def test_sorted_and_found_by_prefix(client: Client) -> None:
    found = client.get("/api/arrays", prefix="ct/study-0012/", sort="nbytes", order="down").json
    sizes = [row["nbytes"] for row in found["rows"]]
    assert (len(sizes), sizes) == (found["total"], sorted(sizes, reverse=True))
    assert all(row["key"].startswith("ct/study-0012/") for row in found["rows"])
    assert found["nbytes"] == sum(sizes)
    for sort in ("key", "put_at", "node", "replicas", "dtype"):
        values = [row[sort] for row in client.get("/api/arrays", sort=sort).json["rows"]]
        assert values == sorted(values)


def test_rows_without_a_value_come_last(client: Client) -> None:
    for order in ("up", "down"):
        values = [row["idle_for"] for row in client.get("/api/workers", sort="idle_for", order=order).json["rows"]]
        assert values[0] is not None
        last = client.get("/api/workers", sort="idle_for", order=order, offset=900).json["rows"]
        assert last[-1]["idle_for"] is None


def test_workers_by_state_and_text(client: Client) -> None:
    found = client.get("/api/workers", state="idle", limit=200).json
    assert 0 < found["total"] < found["all"] == 1000
    assert {row["state"] for row in found["rows"]} == {"idle"}
    assert client.get("/api/workers", q="1234").json["rows"][0]["pid"] == 1234
    assert found["totals"]["free"] <= found["totals"]["idle_unique"]


@pytest.mark.parametrize(
    "query",
    [{"offset": -1}, {"limit": 0}, {"limit": 201}, {"limit": "x"}, {"offset": "9" * 40}, {"sort": "id; drop"},
     {"sort": "__class__"}, {"offset": "٣"}],
)  # fmt: skip
def test_wrong_windows(client: Client, query: dict[str, object]) -> None:
    answer = client.get("/api/workers", **query)
    assert answer.status == 400
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys_are_data(client: Client, key: str) -> None:
    found = client.get("/api/arrays", prefix=key).json["rows"]
    assert [row["key"] for row in found] == [key]
    answer = client.get("/api/array", key=key)
    assert answer.json["row"]["key"] == key
    assert answer.headers["Content-Type"].startswith("application/json")
    shown = client.get("/api/picture", key=key, id=found[0]["id"])
    assert shown.body.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "name", ["../server.py", "..%2fserver.py", "%2e%2e/api.py", "main.js%00", "", "server.py", "."]
)
def test_no_other_file(client: Client, name: str) -> None:
    assert client.get(f"/static/{name}").status == 404


def test_a_picture_of_a_slice(client: Client) -> None:
    row = next(row for row in client.get("/api/arrays", limit=200).json["rows"] if len(row["shape"]) == 3)
    answer = client.get("/api/picture", key=row["key"], id=row["id"], at=3)
    assert (answer.headers["X-At"], answer.headers["X-Slices"]) == ("3", str(row["shape"][0]))
    assert client.get("/api/picture", key="no such", id="x").status == 404
    assert client.get("/api/picture", key=row["key"], at="x").status == 400


def test_trim_is_shown_first(one: Served, client: Client) -> None:
    shown = client.post("/api/trim/preview", {"max_idle": 0}).json
    assert shown["chosen"] and shown["freed"] == sum(row["unique"] for row in shown["chosen"])
    assert client.post("/api/trim", {"preview": "another"}).status == 409
    assert client.post("/api/trim", {"max_idle": 0}).status == 409
    assert (
        client.post("/api/drain", {"preview": client.post("/api/trim/preview", {"max_idle": 0}).json["preview"]}).status
        == 409
    )
    gone = shown["chosen"].pop()["id"]
    one.source._workers = [row for row in one.source._workers if row["id"] != gone]
    new = {**one.source._workers[0], "id": "new", "retirable": True}
    one.source._workers.append(new)
    done = client.post("/api/trim", {"preview": shown["preview"]}).json
    assert {row["id"] for row in done["chosen"]} == {row["id"] for row in shown["chosen"]}
    assert new in one.source._workers  # nobody saw it in the preview
    assert client.post("/api/trim", {"preview": shown["preview"]}).status == 409  # a preview is good for once


@pytest.mark.parametrize(
    ("limits", "status"),
    [({"max_idle": 0, "min_idle": 4}, 502), ({"force": True}, 400), ([], 400), ("x", 400)],
)  # fmt: skip
def test_wrong_limits(client: Client, limits: object, status: int) -> None:
    assert client.post("/api/trim/preview", limits).status == status


def test_bodies_that_are_too_much(client: Client) -> None:
    given = {**client.cookie, **client.origin, "Content-Type": "application/json"}
    assert client.raw("POST", "/api/trim/preview", given, b"[" * 60_000).status == 400
    assert client.raw("POST", "/api/trim/preview", given, b" " * 100_000).status == 413


def test_drain_tells_how_far_it_is(one: Served, client: Client) -> None:
    node = client.get("/api/nodes").json["rows"][2]["id"]
    shown = client.post("/api/drain/preview", {"node": node}).json
    assert (shown["others"], shown["answered"]) == (39, 38)
    one.source.go_on.clear()
    assert client.post("/api/drain", {"preview": shown["preview"]}).status == 200
    eventually(lambda: client.get("/api/nodes").json["drains"].get(node, {}).get("done") == 1 << 30)
    again = client.post("/api/drain/preview", {"node": node}).json["preview"]
    assert client.post("/api/drain", {"preview": again}).status == 409  # it is under way
    one.source.go_on.set()
    result = eventually(lambda: client.get("/api/nodes").json["drains"][node].get("result"))
    assert result == {"arrays": 16, "nbytes": 4 << 30, "stayed": None}


def test_a_drain_that_fails(one: Served, client: Client) -> None:
    node = client.get("/api/nodes").json["rows"][3]["id"]
    preview = client.post("/api/drain/preview", {"node": node}).json["preview"]
    one.source.error = "it is gone"
    assert client.post("/api/drain", {"preview": preview}).status == 200
    eventually(lambda: client.get("/api/nodes").json["drains"][node].get("error") == "it is gone")


def test_the_end_of_a_drain_is_told_for_a_while(one: Served, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlive.dashboard.actions._SHOWN_FOR", 0.0)
    node = client.get("/api/nodes").json["rows"][4]["id"]
    preview = client.post("/api/drain/preview", {"node": node}).json["preview"]
    assert client.post("/api/drain", {"preview": preview}).status == 200
    eventually(lambda: node not in client.get("/api/nodes").json["drains"])
    assert ("drain, its end", node) in [(call, args[0]) for call, args in one.source.calls if args]


def test_read_only() -> None:
    with served(Played(20, 20, 2), read_only=True) as one:
        client = Client(one)
        assert client.get("/api/session").json["read_only"] is True
        for path in ("trim/preview", "trim", "drain/preview", "drain"):
            answer = client.post(f"/api/{path}", {"max_idle": 0, "node": "x", "preview": "x"})
            assert (answer.status, "--read-only" in answer.text) == (403, True)
        assert client.post("/api/look", {}).status == 200
        assert not {call for call, _ in one.source.calls} & {"trim", "preview_trim", "drain", "preview_drain"}


def test_a_cluster_that_does_not_answer(one: Served, client: Client) -> None:
    before = client.get("/api/workers").json
    one.source.error = "the GCS does not answer"
    client.post("/api/look", {})
    state = eventually(lambda: (s := client.get("/api/workers").json["state"])["error"] and s)
    assert state["error"] == "the GCS does not answer"
    assert state["since"] >= state["at"] > 0
    assert client.get("/api/workers").json["total"] == before["total"]  # what was seen stays
    assert client.post("/api/trim/preview", {"max_idle": 0}).status == 502
    assert client.get("/api/arrays").status == 200
    one.source.error = None
    client.post("/api/look", {})
    eventually(lambda: client.get("/api/workers").json["state"]["error"] is None)


def test_the_history(one: Served, client: Client) -> None:
    found = eventually(lambda: (h := client.get("/api/history").json)["times"] and h)
    assert all(len(values) == len(found["times"]) for values in found["series"].values())
    assert 10_000 in found["series"]["arrays"]


def test_answers_are_json_that_browsers_read(client: Client) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    for path in ("workers", "arrays", "nodes", "doctor", "history", "session"):
        json.loads(client.get(f"/api/{path}").text, parse_constant=refuse)  # NaN and Infinity are none
