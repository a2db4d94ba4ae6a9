"""One that does not answer hides nobody else: a worker, a driver, a raylet, the GCS."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from outlive.cli import workers_commands
from outlive.cli.app import app
from outlive.errors import StoreUnavailable
from outlive.ray_internals import authentication, leases, node_stats, node_workers, processes, rpc
from outlive.workers import inspect, trim
from outlive.workers.trimming import Choice, carry_out
from tests.conftest import eventually
from tests.workers.played import JOB, played_cluster

pytest.importorskip("grpc")


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes, of three workers each; one is given up soon."""
    for module, name in ((rpc, "GCS_PATIENCE"), (processes, "RAYLET_PATIENCE"), (processes, "PATIENCE")):
        monkeypatch.setattr(module, name, 2.0)
    with played_cluster(2, 3) as cluster:
        yield cluster


def by_state():
    return sorted((worker.state, worker.pid) for worker in inspect().workers)


def run(cluster, *words):
    return CliRunner().invoke(app, ["workers", *words, "--address", cluster.address])


def test_a_stopped_worker_is_shown_and_hides_nobody(cluster):
    stopped, *others = [worker for node in cluster.nodes for worker in node.workers]
    stopped.silent = True
    assert by_state() == [*(("idle", worker.pid) for worker in others), ("silent", stopped.pid)]
    report = inspect()
    assert [node.error for node in report.nodes] == [None, None]
    (row,) = [worker for worker in report.workers if worker.state == "silent"]
    assert "no answer for" in row.why and "last sign of life" in row.why
    assert not row.retirable
    (line,) = report.unseen
    assert f"pid {stopped.pid} on node" in line
    first = row.silent_since
    assert first == next(worker.silent_since for worker in inspect().workers if worker.state == "silent")
    stopped.silent = False
    assert {state for state, _ in by_state()} == {"idle"}
    assert inspect().unseen == ()


def test_what_it_ran_is_known_of_its_tasks(cluster):
    """Ray 2.60 does not note in its table of workers of which job they are."""
    cluster.tasks = 3
    stopped = cluster.nodes[0].workers[0]
    stopped.silent = True
    (row,) = [worker for worker in inspect().workers if worker.state == "silent"]
    assert (row.pid, row.job, row.function) == (stopped.pid, JOB, "f0")
    shown = run(cluster, "--job", JOB, "--state", "silent")
    assert str(stopped.pid) in shown.stdout
    assert shown.exit_code == 1


def test_its_raylet_is_not_asked_again_and_again(cluster):
    cluster.nodes[0].workers[0].silent = True
    inspect()
    asked = cluster.calls["GetNodeStats"]  # a question that a raylet cannot answer stays with it
    inspect()
    assert cluster.calls["GetNodeStats"] == asked + 1  # the other node's


def test_a_stopped_driver_hides_nobody(cluster):
    (driver,) = [one for node in cluster.nodes for one in node.processes if one.kind == "DRIVER"]
    driver.silent = True
    assert len(by_state()) == 6
    assert {state for state, _ in by_state()} == {"idle"}
    look = node_stats.look(node_workers.nodes()[0])
    assert [one.pid for one in look.silent] == [driver.pid]
    assert not look.complete
    assert look.store is None


def test_a_stopped_raylet_is_an_error_and_its_workers_are_shown(cluster):
    cluster.nodes[1].silent = True
    report = inspect()
    assert report.nodes[0].error is None
    assert "did not answer (deadline exceeded)" in report.nodes[1].error
    assert {worker.state for worker in report.workers} == {"idle"}
    assert len(report.workers) == 6


def test_a_machine_that_is_gone(cluster):
    cluster.nodes[1].silent = True
    for worker in cluster.nodes[1].workers:
        worker.silent = True
    assert [state for state, _ in by_state()] == ["idle"] * 3 + ["silent"] * 3
    assert len(trim(max_idle=8).unseen) == 4


@pytest.mark.parametrize("own", [True, False], ids=["of this program's job", "of another"])
@pytest.mark.parametrize("stops", ["before it grants a worker", "before it gets it back"])
def test_what_a_stopped_raylet_grants_late_is_returned_by_the_next_trim(cluster, monkeypatch, own, stops):
    """No task would get that worker for as long as this program lives."""
    if not leases._names_leases():
        pytest.skip("before Ray 2.50 a late lease cannot be returned: see docs/limits.md")
    monkeypatch.setattr(rpc, "PATIENCE", 3.0)
    monkeypatch.setattr(leases, "_is_own", lambda _: own)
    node, report = cluster.nodes[0], inspect()
    chosen = [Choice(worker, "idle") for worker in report.workers if worker.node_id == node.node_id]
    before = stops == "before it grants a worker"
    if before:
        node.silent = True
    else:
        cluster.at_exit = lambda _: setattr(node, "silent", True)
    left = [choice for choice in carry_out(report, chosen).chosen if choice.left]
    assert len(left) == (0 if before else 1)  # that worker has said that it exits
    cluster.at_exit, node.silent = lambda _: None, False
    eventually(lambda: node.leased)
    assert all(choice.left for choice in trim(max_idle=0).chosen)
    assert not node.leased and not any(one.workers for one in cluster.nodes)
    if not own:
        assert leases._guard._held == {}


@pytest.mark.parametrize("named", [True, False], ids=["Ray 2.50 and newer", "Ray 2.49"])
def test_a_worker_that_was_started_late_is_not_returned_by_its_name(cluster, monkeypatch, named):
    """Before Ray 2.50 a lease is returned by its worker, and a task may have that one once the raylet goes on."""

    def stopped(*_: object, **__: object) -> None:
        raise StoreUnavailable("stopped")

    asked_for = leases._asked_for
    monkeypatch.setattr(leases, "_asked_for", lambda *asked: (asked_for(*asked)[0], True))
    monkeypatch.setattr(leases, "_names_leases", lambda: named)
    monkeypatch.setattr(leases, "_is_own", lambda _: False)
    monkeypatch.setattr(leases, "_return", stopped)
    report = inspect()
    assert not any(choice.left for choice in carry_out(report, [Choice(report.workers[0], "idle")]).chosen)
    assert len(leases._guard._held) == named  # nobody returns it once this process is gone, either
    left = leases._guard.claim_left()
    assert ["worker_id" in entry for entry in left] == [True] * named
    for entry in left:
        leases._guard.returned(bytes.fromhex(entry["lease"]))


def test_what_the_commands_say_and_their_exit_codes(cluster):
    assert run(cluster).exit_code == 0
    stopped = cluster.nodes[0].workers[0]
    stopped.silent = True
    shown = run(cluster)
    assert shown.exit_code == 1
    (line,) = [line for line in shown.stdout.splitlines() if str(stopped.pid) in line]
    assert "silent" in line
    trimmed = run(cluster, "trim", "--max-idle", "3", "--yes")
    assert trimmed.exit_code == 1
    assert f"not seen: pid {stopped.pid} on node" in trimmed.stdout
    cluster.nodes[1].silent = True
    assert f"not seen: node {cluster.nodes[1].node_id[:8]}" in run(cluster, "trim", "--max-idle", "3", "--yes").stdout
    stopped.silent = cluster.nodes[1].silent = False
    assert run(cluster, "trim", "--max-idle", "3", "--yes").exit_code == 0


def test_a_gcs_that_does_not_answer_is_an_error(cluster):
    cluster.silent = True
    with pytest.raises(StoreUnavailable, match="the GCS did not answer"):
        inspect()
    result = run(cluster)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did not answer" in result.stderr


def test_watching_goes_on_when_the_gcs_is_back(cluster, monkeypatch):
    rounds = iter([True, True, False])

    def sleep(seconds):
        silent = next(rounds, None)
        if silent is None:
            raise KeyboardInterrupt
        cluster.silent = silent

    monkeypatch.setattr(workers_commands, "time", SimpleNamespace(sleep=sleep, strftime=time.strftime))
    result = run(cluster, "--watch", "1")
    assert result.stdout.count("  WHY") == 2
    assert result.stderr.count("the GCS did not answer") == 2
    assert result.exit_code == 130


def test_one_that_ended_meanwhile_is_not_silent(cluster):
    gone, stopped = cluster.nodes[0].workers[:2]
    gone.gone = stopped.silent = True
    assert gone.pid not in {pid for _, pid in by_state()}
    assert not node_stats.look(node_workers.nodes()[0]).complete  # who knows what it held


def test_a_proxy_of_the_environment_is_not_asked(cluster, monkeypatch):
    """Ray's own calls go to the cluster itself, whatever `http_proxy` says."""
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:9")
    assert authentication._asked(cluster.address, 10) is True
