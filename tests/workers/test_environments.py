"""Trim asks for a worker in the runtime environment that it has: asked for another, the raylet would start one."""

from __future__ import annotations

from collections import Counter

import pytest

from outlive.ray_internals import job_actors, leases, node_workers, rpc
from outlive.ray_internals.leases import Lease
from outlive.ray_internals.node_workers import Job, LiveNode, TaskHistory
from outlive.workers import trimming
from outlive.workers.rows import Report, Worker
from outlive.workers.trimming import Choice

JOB = "02000000"
NODE = LiveNode("a" * 56, "127.0.0.1:1", "127.0.0.1", "host")


def environment(text: str) -> bytes:
    record = rpc.messages("gcs").JobTableData()
    record.config.runtime_env_info.serialized_runtime_env = text
    return record.config.runtime_env_info.SerializeToString(deterministic=True)


OWN, X, Y = environment("{}"), environment('{"env_vars": {"X": "1"}}'), environment('{"env_vars": {"Y": "1"}}')


class PlayedRaylet:
    """Idle workers, each of an environment; counts those that it has to start."""

    def __init__(self, **workers: bytes) -> None:
        self.idle = dict(workers)
        self.started: list[bytes] = []

    def take(self, node, pool):
        found = next((name for name, has in reversed(self.idle.items()) if has == pool.runtime_env), None)
        if found is None:
            self.started.append(pool.runtime_env)
            return None
        del self.idle[found]
        return Lease(node, pool.runtime_env, found, 1, 1, "127.0.0.1:2")

    def give_back(self, lease, *, exiting=False):
        if not exiting:
            self.idle[lease.worker_id] = lease.lease_id


@pytest.fixture
def trimmed(monkeypatch):
    """Lets all workers of a raylet go; of some it is known what they ran. Returns who left."""

    def trim(raylet: PlayedRaylet, **histories: bytes) -> set[str]:
        record = rpc.messages("gcs").JobTableData()
        record.config.runtime_env_info.serialized_runtime_env = "{}"
        job = Job(JOB, dead=False, driver_pid=1, entrypoint="", record=record)
        known = {
            name: TaskHistory(calls=Counter({(JOB, "work"): 1}), runtime_env=has) for name, has in histories.items()
        }
        monkeypatch.setattr(node_workers, "jobs", lambda: [job])
        monkeypatch.setattr(node_workers, "nodes", lambda: [NODE])
        monkeypatch.setattr(node_workers, "task_histories", lambda: known)
        monkeypatch.setattr(job_actors, "by_job", lambda **_: {})
        monkeypatch.setattr(leases, "take", raylet.take)
        monkeypatch.setattr(leases, "let_exit", lambda _: True)
        monkeypatch.setattr(leases, "give_back", raylet.give_back)
        workers = [
            Worker(NODE.node_id, name, 1, JOB, "ray::IDLE", "idle", 1.0, 1, 1, 0, 0, int(name in histories))
            for name in raylet.idle
        ]
        report = Report(0.0, "2.60.0", tuple(workers))
        done = trimming.carry_out(report, [Choice(worker, "") for worker in workers])
        return {choice.worker.worker_id for choice in done.chosen if choice.left}

    return trim


def test_those_that_ran_tasks_are_asked_for_as_what_they_are(trimmed):
    raylet = PlayedRaylet(a=X, b=Y, c=OWN, d=X)
    assert trimmed(raylet, a=X, b=Y, c=OWN, d=X) == {"a", "b", "c", "d"}
    assert raylet.started == []


def test_one_that_was_started_ahead_is_tried_as_the_jobs_own_first(trimmed):
    raylet = PlayedRaylet(a=X, ahead=OWN)
    assert trimmed(raylet, a=X) == {"a", "ahead"}
    assert raylet.started == []


def test_and_then_as_most_others_of_its_job(trimmed):
    raylet = PlayedRaylet(a=X, b=X, c=Y, ahead=X)
    assert trimmed(raylet, a=X, b=X, c=Y) == {"a", "b", "c", "ahead"}
    assert raylet.started == [OWN]


def test_what_cannot_be_had_is_not_asked_for_twice(trimmed):
    raylet = PlayedRaylet(a=OWN, ahead=X)
    assert trimmed(raylet, a=OWN) == {"a"}
    assert raylet.started == [OWN]
