"""How a report is shown: as wide as the terminal, in part, in order; from plain data, without Ray."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.cli.text import styled
from outlive.cli.workers_table import lines
from outlive.cli.workers_trim import _table
from outlive.errors import BadSetting
from outlive.ray_internals import functions as functions_of_ray
from outlive.workers import inspect
from outlive.workers.rows import NodeReport, Reason, Report, Worker
from outlive.workers.selection import Selection
from outlive.workers.settings import in_force

WHY = Reason("owns objects", "owns 2 live objects, which would be lost with it; it refuses to exit")
IDLE = Reason("within soft limit", "within the soft limit: 2 idle, 4 kept (CPUs available)")
SETTINGS = tuple(in_force({}, {}, "2.60.0"))


def worker(pid, node, job="01000000", state="idle", reason=IDLE, function="segment", unique=100 << 20):
    about = {"title": "ray::IDLE", "idle_for": 61.0, "shared": 37 << 20, "owned": 2, "borrowed": 0, "tasks": 3}
    return Worker(
        node * 56, f"{pid:056x}", pid, job, state=state, unique=unique, reasons=(reason,), function=function, **about
    )


def report():
    nodes = tuple(NodeReport(letter * 56, f"host-{letter}", 4, 4, SETTINGS, 4, True) for letter in "ab")
    workers = (
        worker(10, "a", reason=WHY, unique=300 << 20),
        worker(11, "a", function="a_function_with_a_name_that_is_longer_than_any_column"),
        worker(12, "b", job="02000000", state="running", function=None),
    )
    return Report(0.0, "2.60.0", workers, nodes, {"01000000": "python segment_all_scans.py", "02000000": "python b.py"})


def shown(room, by=None, before=None):
    return list(lines(report(), by, before, room))


@pytest.mark.parametrize("room", [80, 100, 120, 160, 200])
@pytest.mark.parametrize("by", [None, "node", "job", "function"])
def test_no_line_is_longer_than_the_terminal_and_nothing_is_lost(room, by):
    text = shown(room, by, {"0" * 54 + "0a": 200 << 20})
    assert max(map(len, text)) <= room
    if by is None:
        flat = " ".join(" ".join(text).split())
        assert "10" in flat and "300.0 MiB" in flat and "+100.0 MiB" in flat
        words = {word for line in text for word in line.split()}
        assert set(WHY.text.split()) | set(IDLE.text.split()) <= words  # wrapped, or told below


COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("room", [None, 60, 80, 120, 200])
@pytest.mark.parametrize("by", [None, "job"])
def test_colour_changes_nothing_of_what_is_seen(room, by):
    before = {"0" * 54 + "0a": 200 << 20, "0" * 54 + "0b": 200 << 20}
    painted = list(lines(report(), by, before, room, styled))
    assert [COLOUR.sub("", line) for line in painted] == shown(room, by, before)
    assert painted[0].startswith("\x1b[1m")
    if by is None:
        assert typer.style("idle", fg="yellow") in painted[1]
        assert typer.style("running", fg="green") in "".join(painted)
        assert typer.style("+100.0 MiB", fg="red") in painted[1]
        assert typer.style("-100.0 MiB", fg="green") in "".join(painted)
        assert "\x1b[31mowns" in painted[1]


@pytest.mark.parametrize("room", [None, 70, 80, 120])
def test_what_trim_did_is_as_wide_as_the_terminal(room):
    rows = [
        ("10", "01000000", "300.0 MiB", "left", "4 idle, at most 2 may stay"),
        ("1100", "-", "?", "stays: it has come to hold an object or a reference", "above 100.0 MiB of unique memory"),
        ("12", "01000000", "1.0 GiB", "spared", "owns 2 live objects, which would be lost with it; it refuses to exit"),
    ]
    text = [COLOUR.sub("", line) for line in _table(rows, room)]
    if room is None:
        assert len(text) == 4
    else:
        assert max(map(len, text)) <= room
    words = " ".join(text).split()
    assert words == " ".join(["PID JOB UNIQUE OUTCOME BECAUSE", *(" ".join(row) for row in rows)]).split()
    begin = text[0].index("BECAUSE")
    assert all(any(line[begin:].startswith(row[-1].split()[0]) for line in text) for row in rows)
    assert typer.style("left", fg="green") in "".join(_table(rows, room))


def test_a_reason_that_is_told_below_the_table_begins_with_its_name_once():
    home = worker(13, "a", reason=Reason("not idle", "not idle: it is the home of an actor"))
    text = list(lines(replace(report(), workers=(home,)), None, None, 60))
    assert "not idle: it is the home of an actor" in text


def test_what_goes_to_a_pipe_is_one_line_a_worker():
    text = shown(None)
    assert sum(WHY.text in line for line in text) == 1
    assert "a_function_with_a_name_that_is_longer_than_any_column" in text[2]


def test_settings_of_nodes_that_agree_are_one_line_and_the_entrypoint_is_told():
    text = shown(None)
    assert sum(line.startswith("settings on") for line in text) == 1
    assert text[-1].startswith("settings on 2 nodes (aaaaaaaa, bbbbbbbb): kill_idle_workers_interval_ms=200 (default)")
    assert any(line.startswith("job 01000000 (python segment_all_scans.py): 2 workers") for line in text)


def pids(**which):
    return [one.pid for one in Selection(**which).of(report()).workers]


def test_selection_and_order():
    assert pids() == [10, 11, 12]
    assert pids(node="aaaa") == pids(node="host-a") == pids(job="01000000") == pids(state="idle") == [10, 11]
    assert pids(sort="unique", top=1) == [10]
    assert pids(sort="function") == [12, 11, 10]
    assert {total.name: total.workers for total in report().by_function()}["none"] == 1
    assert report().to_json()["workers"][0]["function"] == "segment"


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ({"node": "zz"}, "no node 'zz': there are aaaaaaaa \\(host-a\\), bbbbbbbb"),
        ({"job": "99"}, "no job '99' has workers: there are 01000000, 02000000"),
        ({"state": "sleeping"}, "state='sleeping': there are running, idle"),
        ({"sort": "size"}, "sort='size': there are unique, idle"),
    ],
)
def test_what_there_is_not_is_an_error_that_lists_what_there_is(which, said):
    with pytest.raises(BadSetting, match=said):
        pids(**which)


@pytest.mark.parametrize("option", [["--sort", "size"], ["--state", "sleeping"], ["--by", "size"]])
def test_a_bad_option_is_said_before_anything_is_looked_at(option):
    result = CliRunner().invoke(app, ["workers", *option, "--address", "127.0.0.1:1"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there are " in result.stderr


@pytest.fixture
def played():
    pytest.importorskip("grpc")
    from tests.workers.played import played_cluster

    with played_cluster(2, 3) as cluster:
        yield cluster


def run(cluster, *words):
    return CliRunner().invoke(app, ["workers", *words, "--address", cluster.address])


def test_the_command_shows_a_part_and_tells_scripts_the_same(played):
    result = run(played, "--state", "idle", "--sort", "pid", "--top", "2", "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    first, second = shown["workers"]
    assert first["pid"] < second["pid"]
    assert {first["function"], second["function"]} == {"f0"}
    assert [(total["name"], total["workers"]) for total in shown["by_function"]] == [("f0", 2)]
    assert "LAST TASK" in run(played).stdout
    table = run(played, "--by", "function").stdout.splitlines()
    assert table[0].split()[:3] == ["FUNCTION", "WORKERS", "IDLE"]
    assert table[1].split()[:3] == ["f0", "6", "6"]


def test_no_such_job_or_node(played):
    for words in (["--job", "99"], ["--node", "zz"], ["trim", "--max-idle", "0", "--job", "99"]):
        result = run(played, *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{words[-1]!r}" in result.stderr


def test_functions_of_one_name_do_not_spend_a_worker_together(played, monkeypatch):
    """Four calls, of two functions with `max_calls` 4 each."""
    played.tasks = 4
    for functions, state in ((1, "leaving"), (2, "idle")):
        played.mark = f"{functions}" * 40  # another cluster: its functions are read anew
        monkeypatch.setattr(functions_of_ray, "_known", {})
        monkeypatch.setattr(functions_of_ray, "_declared", lambda key, record: (("01000000", "f0"), 4))
        played.functions = functions
        assert {worker.state for worker in inspect().workers} == {state}


def test_no_color(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def said():
        monkeypatch.setattr(sys, "stderr", Terminal())
        with pytest.raises(SystemExit):
            app(["workers", "--sort", "size"])
        return sys.stderr.getvalue()

    assert "\x1b[" in said()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in said()
    assert "sort='size'" in said()
