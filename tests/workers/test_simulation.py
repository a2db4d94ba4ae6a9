"""The model of Ray's pool, on traces whose outcome can be worked out by hand."""

from __future__ import annotations

import json

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
    outcome = simulate(trace(task(0)), Reaper(0, 1000, 0))
    assert outcome.idle_memory_hours == pytest.approx((98.5 + 99.5) / 3600)
    outcome = simulate(trace(task(0)), KEEP_NONE)  # gone with the first look after a second
    assert outcome.idle_memory_hours == pytest.approx((1.1 + 1.1) / 3600, rel=0.2)


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
