"""`outlive nodes` and `outlive drain`: what they print and how they end. The nodes are made up here."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import outlive
from outlive.cli.app import app
from outlive.errors import StoreUnavailable
from outlive.store.nodes import Drained, NodeRow

HEAD = NodeRow("a" * 56, "big", "10.0.0.1", "head", 12, 3 << 30, 10, 2 << 30, ("it is the head",))
BUSY = NodeRow(
    "4be1" + "0" * 52, "w1", "10.0.0.2", "may go", 1000, 5 << 20, 3, 1 << 20, ("1 actor there, as A", "CPU in use")
)
TWIN = NodeRow("4be1" + "0" * 51 + "1", "w2", "10.0.0.3", "may go", 0, 0, 0, 0)
GONE = NodeRow("dead" + "0" * 52, "w3", "10.0.0.4", "lost", 2, 100, 2, 100, (), time.time() - 7200)
ROWS = [HEAD, BUSY, TWIN, GONE]

Run = Callable[..., Result]


@pytest.fixture
def drained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of nodes that were drained; all goes well."""
    asked: list[str] = []

    def drain(node: str, progress: Callable[[int, int], None] | None = None) -> Drained:
        assert progress is not None
        progress(1, 2)
        asked.append(node)
        return Drained(3, 1 << 20, None)

    monkeypatch.setattr(outlive, "drain", drain, raising=False)
    return asked


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on a cluster of these nodes."""

    def invoke(*arguments: str, rows: list[NodeRow] = ROWS) -> Result:
        monkeypatch.setattr("outlive.cli.connection.connect", lambda address: None)
        monkeypatch.setattr(outlive, "nodes", lambda: rows, raising=False)
        return CliRunner().invoke(app, list(arguments))

    return invoke


def test_nodes_are_shown_one_a_line(run: Run) -> None:
    lines = run("nodes").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["NODE", "HOST/IP", "ROLE", "ARRAYS", "BYTES", "ONLY", "HERE", "BYTES", "WHY", "IT", "CANNOT", "GO"],
        f"{HEAD.id[:56]} big/10.0.0.1 head 12 3.0 GiB 10 2.0 GiB it is the head".split(),
        f"{BUSY.id} w1/10.0.0.2 may go 1,000 5.0 MiB 3 1.0 MiB 1 actor there, as A; CPU in use".split(),
        f"{TWIN.id} w2/10.0.0.3 may go 0 0 B 0 0 B -".split(),
        f"{GONE.id} w3/10.0.0.4 lost 2 100 B 2 100 B lost 2 h ago".split(),
    ]
    assert (
        len({line.index(word) for line, word in zip(lines[1:], ("head", "may go", "may go", "lost"), strict=True)}) == 1
    )


def test_ids_are_short_where_that_tells_them_apart(run: Run) -> None:
    lines = run("nodes", rows=[HEAD, BUSY]).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [HEAD.id[:8], BUSY.id[:8]]


def test_no_nodes_is_a_header_alone(run: Run) -> None:
    assert run("nodes", rows=[]).stdout.splitlines()[1:] == []


@pytest.mark.parametrize(
    ("until", "reasons", "remark"),
    [
        (math.inf, (), "no deadline"),
        (1e12, ("no room elsewhere",), "s left; no room elsewhere"),
        (0.0, (), "0 s left"),
    ],
)
def test_a_draining_node_says_how_long_it_has(run: Run, until: float, reasons: tuple[str, ...], remark: str) -> None:
    row = TWIN._replace(role="draining", until=until, stays_because=reasons)
    assert run("nodes", rows=[row]).stdout.rstrip().endswith(remark)
    (found,) = json.loads(run("nodes", "--json", rows=[row]).stdout)
    assert found["until"] == (None if math.isinf(until) else until)


def test_what_comes_through_ray_is_said(run: Run) -> None:
    row = TWIN._replace(stays_because=("it works",), through_ray="from 4be1c0 through Ray: Connection refused")
    assert "it works; from 4be1c0 through Ray: Connection refused" in run("nodes", rows=[row]).stdout


def test_refused_connections_are_said(run: Run) -> None:
    row = TWIN._replace(refused="its keeper refused 2 connections (too many)")
    assert run("nodes", rows=[row]).stdout.rstrip().endswith("its keeper refused 2 connections (too many)")


def test_names_cannot_act_upon_the_terminal(run: Run) -> None:
    assert "\x1b" not in run("nodes", rows=[TWIN._replace(host="w\x1b[31m", stays_because=("\x1b]0;x",))]).stdout


def test_json_has_all_fields(run: Run) -> None:
    found = json.loads(run("nodes", "--json").stdout)
    assert [NodeRow(**{**row, "stays_because": tuple(row["stays_because"])}) for row in found] == ROWS


@pytest.mark.parametrize("name", [HEAD.id, "aa", "AA", HEAD.ip, HEAD.host, "BIG", f" {HEAD.id[:10]} "])
def test_a_node_is_found_by_id_prefix_ip_or_host(run: Run, drained: list[str], name: str) -> None:
    result = run("drain", name, "--yes")
    assert (result.exit_code, drained) == (0, [HEAD.id])
    assert result.stdout == "copied 3 arrays, 1.0 MiB, from aaaaaaaa to other nodes\n"


def test_a_full_id_is_no_prefix_of_another(run: Run, drained: list[str]) -> None:
    longer = BUSY._replace(id=HEAD.id + "0")
    assert run("drain", HEAD.id, rows=[HEAD, longer]).exit_code == 0
    assert drained == [HEAD.id]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("4be1", ["'4be1' names 2 nodes", BUSY.id, TWIN.id, "give more of the id"]),
        ("nope", ["no node is named 'nope'", HEAD.id, BUSY.id]),
        ("", ["no node is named ''"]),
        ("dead", ["node dead0000 (w3/10.0.0.4) is gone"]),
        ("10.0.0.4", ["is gone: nothing can be copied from it"]),
    ],
)
def test_other_names_are_refused(run: Run, drained: list[str], name: str, words: list[str]) -> None:
    result = run("drain", name, "--yes")
    assert (result.exit_code, result.stdout, drained) == (2, "", [])
    for word in words:
        assert word in result.stderr
    error = json.loads(run("drain", name, "--yes", "--json").stderr)
    assert error["type"] == "UnknownNode"


def test_what_could_not_leave_exits_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "2 arrays (1.0 GiB) stay: no other node has room"
    monkeypatch.setattr(outlive, "drain", lambda node, progress: Drained(1, 10, why), raising=False)
    result = run("drain", BUSY.id, "--yes")
    assert (result.exit_code, result.stdout.splitlines()[1]) == (1, f"NEEDS YOU: {why}")
    result = run("drain", BUSY.id, "--yes", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"node": BUSY.id, "arrays": 1, "nbytes": 10, "stayed": why}


def test_an_error_of_the_store_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def drain(node: str, progress: object) -> Any:
        raise StoreUnavailable("the keeper of node 4be10000 does not answer")

    monkeypatch.setattr(outlive, "drain", drain, raising=False)
    result = run("drain", BUSY.id, "--yes")
    assert (result.exit_code, result.stderr) == (2, "error: the keeper of node 4be10000 does not answer\n")


@pytest.mark.parametrize(("answer", "code", "count"), [("y\n", 0, 1), ("\n", 1, 0), ("no\n", 1, 0), ("", 1, 0)])
def test_it_asks_a_person_first(
    run: Run, drained: list[str], monkeypatch: pytest.MonkeyPatch, answer: str, code: int, count: int
) -> None:
    monkeypatch.setattr("outlive.cli.node_commands._is_terminal", lambda: True)
    monkeypatch.setattr("outlive.cli.connection.connect", lambda address: None)
    monkeypatch.setattr(outlive, "nodes", lambda: ROWS, raising=False)
    result = CliRunner().invoke(app, ["drain", BUSY.id], input=answer)
    assert (result.exit_code, len(drained)) == (code, count)
    assert "Copy 3 arrays (1.0 MiB) from 4be10000 (w1/10.0.0.2) to other nodes? [y/N]" in result.stderr
