"""The model of Ray's pool, on traces whose outcome can be worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.errors import BadTrace
from outlive.workers.choosing import candidates, outcomes, pareto, pick, plan_for_trace
from outlive.workers.settings import Reaper
from outlive.workers.simulation import simulate
from outlive.workers.trace import NodeFacts, Sample, Task, Trace


def task(ready, lasts=1.0, job="01", environment="", cpus=1.0, node="n"):
    return Task(node, job, environment, cpus, ready, ready, ready + lasts)


def trace(*tasks, seconds=100.0, cpus=4.0, idle_at_first=0, at_once=9):
    facts = NodeFacts("n", cpus, start_up=0.5, start_at_once=at_once, memory=1 << 30, idle_at_first=idle_at_first)
    return Trace(tuple(tasks), (facts,), seconds)


KEEP_ALL, KEEP_NONE = Reaper(200, 1000, -1), Reaper(200, 1000, 0)


def test_a_first_task_starts_a_worker_ahead_and_one_for_itself():
    """PrestartWorkers counts no idle worker; PopWorker then finds none and starts one as well."""
    outcome = simulate(trace(task(0)), KEEP_ALL)
    assert (outcome.cold_starts, outcome.started, outcome.waited) == (1, 2, 0.5)
    assert outcome.workers_at(0.4) == 0
    assert outcome.workers_at(0.6) == 2


def test_a_warm_worker_is_taken_again():
    outcome = simulate(trace(task(0), task(3), task(6)), KEEP_ALL)
    assert (outcome.cold_starts, outcome.started) == (1, 2)


def test_the_reaper_makes_the_second_task_start_one():
    assert simulate(trace(task(0), task(10)), KEEP_NONE).cold_starts == 2
    assert simulate(trace(task(0), task(10)), Reaper(200, 60_000, 0)).cold_starts == 1
    assert simulate(trace(task(0), task(10)), Reaper(0, 1000, 0)).cold_starts == 1  # off


def test_idle_memory():
    """One worker is idle for 100 - 0.5 - 1 s, the one that was started ahead for 100 - 0.5 s, at 1 GiB each."""
    outcome = simulate(trace(task(0)), Reaper(0, 1000, -1))
    assert outcome.idle_memory_hours == pytest.approx((98.5 + 99.5) / 3600)
    outcome = simulate(trace(task(0)), KEEP_NONE)  # gone with the first look after a second; none was started ahead
    assert outcome.idle_memory_hours == pytest.approx(1.1 / 3600, rel=0.2)


def test_the_soft_limit_counts_available_cpus():
    busy = [task(0, lasts=90) for _ in range(3)] + [task(0, lasts=5)]
    outcome = simulate(trace(*busy), KEEP_ALL)
    assert outcome.workers_at(50) == 3 + 1  # one CPU is available, so one idle worker stays


def test_those_that_never_ran_a_task_go_first():
    outcome = simulate(trace(task(0), task(5), idle_at_first=3), Reaper(200, 1000, 1))
    assert outcome.cold_starts == 0


def test_jobs_and_environments_do_not_share_workers():
    alike = simulate(trace(task(0), task(5)), KEEP_ALL).cold_starts
    jobs = simulate(trace(task(0), task(5, job="02")), KEEP_ALL).cold_starts
    environments = simulate(trace(task(0), task(5, environment="x")), KEEP_ALL).cold_starts
    assert (alike, jobs, environments) == (1, 2, 2)


def test_tasks_wait_for_cpus_and_the_owner_keeps_its_worker():
    outcome = simulate(trace(*[task(0) for _ in range(10)], cpus=2.0), KEEP_ALL)
    assert outcome.cold_starts <= 2
    assert max(count for _, count in outcome.curve) <= 4


def test_starts_at_once_are_limited():
    many = [task(0, lasts=5) for _ in range(4)]
    assert simulate(trace(*many, at_once=1), KEEP_ALL).waited > simulate(trace(*many, at_once=9), KEEP_ALL).waited


def bursts():
    return trace(*[task(start + i / 10, lasts=0.5) for start in range(0, 90, 15) for i in range(4)])


def test_the_front_holds_what_nothing_beats():
    found = outcomes(bursts())
    front = pareto(found)
    assert front
    for one in found:
        assert any(
            best.cold_starts <= one.cold_starts and best.idle_memory_hours <= one.idle_memory_hours for best in front
        )
    for a in front:
        assert not any(
            b.cold_starts <= a.cold_starts and b.idle_memory_hours <= a.idle_memory_hours and b is not a for b in front
        )
    latency, balanced, memory = (pick(found, goal) for goal in ("latency", "balanced", "memory"))
    assert latency.cold_starts <= balanced.cold_starts <= memory.cold_starts
    assert latency.idle_memory_hours >= balanced.idle_memory_hours >= memory.idle_memory_hours
    assert Reaper(200, 1000, -1) in candidates(bursts())


def test_plan_from_a_trace_says_what_it_gains():
    plan = plan_for_trace(bursts(), "memory")
    assert plan.system_config()["num_workers_soft_limit"] == 0
    assert "cold starts" in plan.notes[0]
    with pytest.raises(BadTrace, match="no task"):
        plan_for_trace(trace(), "memory")


def test_files(tmp_path):
    path = tmp_path / "t.parquet"
    whole = Trace(bursts().tasks, bursts().nodes, 100.0, (Sample(1.0, "n", 3, 2, 99),))
    whole.write(path)
    assert Trace.read(path) == whole
    run = CliRunner().invoke(app, ["workers", "simulate", str(path), "--png", str(tmp_path / "front.png")])
    assert run.exit_code == 0, run.stderr
    assert "IDLE AFTER" in run.stdout
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    one = CliRunner().invoke(
        app, ["workers", "simulate", str(path), "--idle-after", "1s", "--soft-limit", "0", "--json"]
    )
    (shown,) = json.loads(one.stdout)
    assert shown["cold_starts"] == simulate(whole, KEEP_NONE).cold_starts
    planned = CliRunner().invoke(app, ["workers", "plan", "--trace", str(path), "--goal", "latency"])
    assert planned.exit_code == 0, planned.stderr
    assert "on this trace of" in planned.stdout


def test_files_that_are_no_trace(tmp_path):
    binary, empty = tmp_path / "binary", tmp_path / "empty"
    binary.write_bytes(bytes(range(256)))
    empty.touch()
    import pyarrow as pa
    import pyarrow.parquet as pq

    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    for path in (binary, empty, other, tmp_path / "none", tmp_path):
        result = CliRunner().invoke(app, ["workers", "simulate", str(path)])
        assert (result.exit_code, result.stdout) == (2, ""), path
        assert result.stderr.startswith("error: ")


def children(parent, *kids, **options):
    """A trace of a task and of those that it submitted."""
    named = dataclasses.replace(parent, id="p", function="parent")
    mine = [dataclasses.replace(kid, id=f"k{i}", parent="p", function="kid") for i, kid in enumerate(kids)]
    return trace(named, *mine, **options)


def test_a_task_that_waits_for_others_gives_its_cpu_back():
    """One CPU: the parent works for a second, waits for both children, one after the other, and works for a second."""
    whole = children(task(0, lasts=6), task(1, 2), task(1, 2), cpus=1.0, idle_at_first=2)
    outcome = simulate(whole, Reaper(0, 1000, 0))
    assert (outcome.cold_starts, outcome.started) == (0, 0)
    late = children(task(0, lasts=6), task(1, 2), dataclasses.replace(task(1), start=3, end=5), cpus=1.0)
    outcome = simulate(late, KEEP_NONE)
    assert outcome.workers_at(0.6) == 1
    assert outcome.workers_at(4) == 2  # it waits, and one child runs at a time
    assert outcome.workers_at(9) == 0


def test_a_task_that_does_not_wait_keeps_its_cpu():
    whole = children(task(0, lasts=4), task(1, 5), cpus=1.0)
    outcome = simulate(whole, KEEP_NONE)
    assert outcome.cold_starts == 1
    assert outcome.workers_at(3) == 1


def test_a_replayed_wait_lasts_as_long_as_the_replayed_children():
    """The child has to wait for a worker to start, and so has its parent."""
    whole = children(task(0, lasts=3), task(1, lasts=1, environment="x"), cpus=4.0, idle_at_first=1)
    outcome = simulate(whole, KEEP_NONE)
    assert outcome.waited == pytest.approx(0.5)
    ends = [moment for moment, _ in outcome.curve]
    assert max(ends) == pytest.approx(3 + 0.5 + 1 + 0.2, abs=0.21)


def test_more_of_a_kind_are_let_in_one_after_another():
    """Parents that wait count: with two CPUs two run, a third after a second, a fourth after two more."""
    parents = [dataclasses.replace(task(0, lasts=20), id=f"p{i}", function="parent", parent="driver") for i in range(4)]
    kids = [
        dataclasses.replace(task(0.1, lasts=19), id=f"k{i}", function="kid", parent=f"p{i}", cpus=0.1) for i in range(4)
    ]
    outcome = simulate(trace(*parents, *kids, cpus=2.0), KEEP_NONE)
    assert [outcome.workers_at(second) for second in (1.2, 2.4, 4.4)] == [4, 6, 8]


def test_workers_of_a_job_that_has_ended_go_at_once():
    stays = trace(task(0))
    ended = dataclasses.replace(stays, job_ends=(("01", 5.0),))
    assert simulate(stays, KEEP_ALL).workers_at(6) == 2
    assert simulate(ended, KEEP_ALL).workers_at(4.9) == 2
    assert simulate(ended, KEEP_ALL).workers_at(6) == 0
    assert simulate(ended, Reaper(0, 1000, -1)).workers_at(50) == 2  # the reaper is off


def test_an_actor_takes_a_worker_that_ran_nothing_and_ends_with_it():
    actor = dataclasses.replace(task(5, lasts=10, cpus=0.0), actor=True)
    outcome = simulate(trace(actor, idle_at_first=2), Reaper(0, 1000, 0))
    assert [outcome.workers_at(second) for second in (4, 6, 20)] == [2, 1, 1]
    used = simulate(trace(task(0), actor, idle_at_first=1), Reaper(0, 1000, 0))
    assert used.started == 1  # the only one has run a task
    assert used.tasks == 1


def test_what_ran_before_the_trace_began_and_after_it_ended():
    running = task(-3, lasts=8)
    endless = dataclasses.replace(task(-1), end=math.inf)
    outcome = simulate(trace(running, endless), KEEP_NONE)
    assert (outcome.workers_at(0), outcome.started) == (2, 0)
    assert outcome.workers_at(50) == 1
    assert outcome.idle_memory_hours == pytest.approx(1.1 / 3600, rel=0.2)


def test_workers_that_were_idle_when_the_trace_began_are_of_their_jobs():
    begun = trace(task(1, job="02"))
    (facts,) = begun.nodes
    mine = dataclasses.replace(begun, nodes=(dataclasses.replace(facts, idle_of_jobs=("02",)),))
    other = dataclasses.replace(begun, nodes=(dataclasses.replace(facts, idle_of_jobs=("01",)),))
    assert simulate(mine, KEEP_ALL).cold_starts == 0
    assert simulate(other, KEEP_ALL).cold_starts == 1


def test_children_on_another_node_are_waited_for_as_long_as_they_took():
    parent = dataclasses.replace(task(0, lasts=10), id="p")
    far = dataclasses.replace(task(1, lasts=8, node="far"), id="k", parent="p")
    waits = trace(parent, far, task(2), cpus=1.0)
    assert simulate(waits, KEEP_NONE).workers_at(4) == 2  # the third task has the CPU meanwhile
    alone = trace(parent, task(2), cpus=1.0)
    assert simulate(alone, KEEP_NONE).workers_at(4) == 1


def test_a_trace_of_the_first_version_is_read(tmp_path):
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    bursts().write(path)
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"outlive-workers-trace"])
    about["version"] = 1
    del about["job_ends"]
    for node in about["nodes"]:
        del node["idle_of_jobs"]
    table = table.drop_columns(["id", "parent", "function", "actor"])
    pq.write_table(table.replace_schema_metadata({b"outlive-workers-trace": json.dumps(about)}), path)
    assert Trace.read(path) == bursts()
    about["version"] = 99
    pq.write_table(table.replace_schema_metadata({b"outlive-workers-trace": json.dumps(about)}), path)
    with pytest.raises(BadTrace, match="later outlive"):
        Trace.read(path)


def test_an_actor_is_where_the_gcs_says(monkeypatch):
    """The event of the task that made it names no node, and does not tell when it died."""
    import types

    from outlive.ray_internals import rpc, task_times
    from outlive.workers.trace import from_events

    common, gcs, pb = (rpc.messages(name) for name in ("common", "gcs", "gcs_service"))
    state = gcs.ActorTableData.ActorState
    ids, node = [bytes([i]) * 16 for i in (1, 2, 3)], b"n" * 28
    table = [
        gcs.ActorTableData(actor_id=ids[0], node_id=node, state=state.ALIVE),
        gcs.ActorTableData(actor_id=ids[1], address=common.Address(node_id=node), state=state.DEAD, end_time=105_000),
        gcs.ActorTableData(actor_id=ids[2], node_id=node, state=state.DEAD, end_time=99_000),
    ]
    stub = types.SimpleNamespace(GetAllActorInfo=lambda *_, **__: pb.GetAllActorInfoReply(actor_table_data=table))
    monkeypatch.setattr(rpc, "gcs", lambda service: stub)
    events = []
    for one in ids:
        event = gcs.TaskEvents(task_id=one + b"t" * 8)
        event.task_info.type, event.task_info.actor_id = common.TaskType.ACTOR_CREATION_TASK, one
        for name, second in (("PENDING_NODE_ASSIGNMENT", 98), ("RUNNING", 98.5), ("FINISHED", 98.6)):
            event.state_updates.state_ts_ns[common.TaskStatus.Value(name)] = int(second * 1e9)
        events.append(event)
    lives, ended = from_events(events, 100, 110, actors=task_times.actor_lives())
    assert (lives.node, ended.node) == (node.hex(), node.hex())
    assert (lives.ready, lives.end, ended.end) == (-2.0, math.inf, 5.0)
    assert lives.actor
