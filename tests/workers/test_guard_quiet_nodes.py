"""A guard of many nodes asks those on which nothing happens less often, and lets nobody go by what it saw earlier."""

from __future__ import annotations

import pytest

from outlive.ray_internals import processes, rpc
from outlive.workers import Policy, ended, quiet_nodes, watch
from tests.workers.played import JOB, played_cluster
from tests.workers.test_guard_rounds import Clock, guard_of, idle

pytest.importorskip("grpc")
NODES, EVERY = quiet_nodes.MANY, 10


@pytest.fixture
def cluster():
    with played_cluster(NODES, 2) as cluster:
        yield cluster


@pytest.fixture
def clock():
    return Clock()


def asked(cluster, guard, clock):
    """How many nodes the next look asks."""
    clock.now += EVERY
    cluster.calls.clear()
    guard.step()
    assert guard.record["workers"] == sum(idle(cluster)) or cluster.calls["Exit"]
    return cluster.calls["GetNodeStats"]


def rested(cluster, guard, clock):
    """All nodes were the same for long, and were asked just now."""
    for _ in range(14):
        number = asked(cluster, guard, clock)
    assert number == NODES


def test_nodes_on_which_nothing_happens_are_asked_up_to_six_times_less_often(cluster, clock):
    guard = guard_of(Policy(max_idle=9), clock)
    expected = [1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert [asked(cluster, guard, clock) / NODES for _ in expected] == expected


def test_a_node_on_which_a_task_ran_is_asked_at_each_look(cluster, clock):
    guard = guard_of(Policy(max_idle=9), clock)
    rested(cluster, guard, clock)
    worker = cluster.nodes[3].workers[0]
    counted = []
    for _ in range(12):
        worker.executed += 1
        counted.append(asked(cluster, guard, clock))
    assert counted == [0] * 5 + [NODES] + [1] * 5 + [NODES]


def test_few_nodes_are_all_asked_at_each_look(clock):
    with played_cluster(NODES - 1, 1) as cluster:
        guard = guard_of(Policy(max_idle=9), clock)
        assert {asked(cluster, guard, clock) for _ in range(5)} == {NODES - 1}


def test_whoever_looks_less_often_skips_no_look(cluster, clock):
    """As if nothing is idle, or if a look takes more than its share of a core."""
    guard = guard_of(Policy(max_idle=9), clock)
    rested(cluster, guard, clock)
    clock.now += 5 * EVERY
    assert asked(cluster, guard, clock) == NODES


def test_nobody_leaves_by_what_was_seen_earlier(cluster, clock):
    guard = guard_of(Policy(max_idle_for=(13 + 2) * EVERY), clock)
    rested(cluster, guard, clock)
    active = cluster.nodes[3].workers[0]
    active.executed += 1
    counted = [asked(cluster, guard, clock) for _ in range(3)]
    assert counted[0] == counted[1] == 0
    assert counted[2] == NODES, "they were not asked before anybody was chosen"
    assert [one for node in cluster.nodes for one in node.workers] == [active]


def test_what_an_ended_job_left_on_nodes_that_rest_leaves(cluster, clock, monkeypatch):
    """Whom nobody needs is looked up once a round: these workers are chosen again once their nodes were asked."""
    guard = guard_of(Policy(max_idle=0), clock)
    cluster.ended.add(JOB)
    for node in cluster.nodes:
        for worker in node.workers:
            worker.owned = 1
    monkeypatch.setattr(ended, "unneeded_now", lambda _: set())
    guard._needs_again = clock.now + 15 * EVERY
    rested(cluster, guard, clock)
    chosen, carry_out = [], watch.carry_out

    def spied(report, choices, **options):
        chosen.append(len(choices))
        return carry_out(report, [], **options)

    monkeypatch.setattr(
        ended, "unneeded_now", lambda report: {one.worker_id for one in ended.left_over(report.workers)}
    )
    monkeypatch.setattr(watch, "carry_out", spied)
    for _ in range(3):
        asked(cluster, guard, clock)
    assert max(chosen) == 2 * NODES


def test_a_policy_that_changes_holds_for_nodes_that_rest(cluster, clock):
    guard = guard_of(Policy(max_idle=9), clock)
    rested(cluster, guard, clock)
    guard.change(lambda _: Policy(max_idle=1))
    assert asked(cluster, guard, clock) == NODES
    assert idle(cluster) == [1] * NODES


def test_a_node_that_is_silent_or_new_never_rests(cluster, clock, monkeypatch):
    for module, name in ((rpc, "PATIENCE"), (processes, "RAYLET_PATIENCE"), (processes, "PATIENCE")):
        monkeypatch.setattr(module, name, 1.0)
    guard = guard_of(Policy(max_idle=9), clock)
    rested(cluster, guard, clock)
    gone = cluster.nodes.pop()
    assert guard.record["workers"] == 2 * NODES
    cluster.nodes[0].silent = True
    clock.now += 6 * EVERY
    guard.step()
    assert guard.record["unseen"]
    clock.now += EVERY
    guard.step()
    assert guard.record["unseen"], "it was not asked again"
    cluster.nodes[0].silent = False
    clock.now += EVERY
    guard.step()
    assert guard.record["unseen"] == []
    assert guard.record["workers"] == 2 * (NODES - 1)
    cluster.nodes.append(gone)
    assert asked(cluster, guard, clock) >= 1
    assert guard.record["workers"] == 2 * NODES
