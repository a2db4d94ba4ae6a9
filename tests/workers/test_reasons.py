"""Why a worker is still here, from facts alone."""

from __future__ import annotations

import pytest

from outlive.workers.reasons import Facts, Pool, explain, killable, spent
from outlive.workers.settings import Reaper, in_force, reaper


def kinds(facts, pool):
    return [reason.kind for reason in explain(facts, pool)]


def facts(**changes):
    return Facts(**{"state": "idle", "owned": 0, "borrowed": 0, "pending": 0, "idle_for": 60.0, **changes})


def pool(killable=1, keeps=4, unused=0, **settings):
    return Pool(Reaper(**settings), keeps, killable, unused)


@pytest.mark.parametrize(
    ("worker", "where", "expected"),
    [
        (facts(state="running"), pool(), ["not idle"]),
        (facts(state="actor"), pool(), ["not idle"]),
        (facts(state="io"), pool(), ["not counted"]),
        (facts(), pool(interval_ms=0), ["reaper off"]),
        (facts(idle_for=0.5), pool(), ["below threshold"]),
        (facts(), pool(), ["within soft limit"]),
        (facts(), pool(killable=4, keeps=4), ["within soft limit"]),
        (facts(), pool(killable=5, keeps=4), ["due"]),
        (facts(idle_for=None), pool(killable=5), ["due"]),
        (facts(owned=2), pool(killable=5), ["owns objects"]),
        (facts(owned=2), pool(interval_ms=0), ["owns objects", "reaper off"]),
        (facts(borrowed=1), pool(), ["holds borrowed refs", "within soft limit"]),
        (
            facts(owned=1, borrowed=1, pending=3),
            pool(9),
            ["owns objects", "holds borrowed refs", "waits for its tasks"],
        ),
        (facts(state="leaving", owned=2, spent="max_calls=2"), pool(), ["owns objects, max_calls spent"]),
        (facts(state="leaving", borrowed=1, spent="max_calls=2"), pool(), ["holds borrowed refs"]),
        (facts(state="leaving", spent="max_calls=2"), pool(), ["due"]),
        (facts(job_ended=True), pool(interval_ms=0), ["job ended"]),
        (facts(job_ended=True, owned=1), pool(), ["job ended", "owns objects"]),
        (facts(job_ended=True, heir="'root'"), pool(interval_ms=0), ["job ended", "reaper off"]),
        (facts(job_ended=True, heir="'root'"), pool(killable=5), ["job ended", "due"]),
        (facts(unused=True), pool(killable=5, unused=5), ["started ahead"]),
        (facts(unused=True), pool(killable=4, unused=4), ["within soft limit"]),
        (facts(unused=True), pool(interval_ms=0, killable=5, unused=5), ["reaper off"]),
        (facts(), pool(killable=6, unused=2), ["within soft limit"]),
        (facts(), pool(killable=7, unused=2), ["due"]),
    ],
)
def test_reasons(worker, where, expected):
    assert kinds(worker, where) == expected


def test_the_text_names_numbers_and_settings():
    assert "2 live objects" in explain(facts(owned=2), pool())[0].text
    assert "1 live object," in explain(facts(owned=1), pool())[0].text
    assert explain(facts(), pool(killable=3))[0].text == "within the soft limit: 3 idle, 4 kept (CPUs available)"
    assert "num_workers_soft_limit" in explain(facts(), pool(soft_limit=7))[0].text
    assert "500 ms, less than the threshold of 1.0 s" in explain(facts(idle_for=0.5), pool())[0].text


def test_calls_of_several_functions_of_one_name_are_spent_only_if_one_of_them_must_be():
    """Ray counts each function by itself, and its task events tell the name alone."""
    assert spent(1, [2]) is None
    assert spent(2, [2]) == "max_calls=2"
    assert spent(4, [4, 4]) is None  # each may have run twice
    assert spent(6, [4, 4]) is None
    assert spent(7, [4, 4]) == "max_calls=4"
    assert spent(5, [2, 4]) == "max_calls=2 or 4"
    assert spent(99, [2, 0]) is None
    assert spent(99, []) is None


def test_what_the_reaper_counts():
    assert killable(facts(), Reaper())
    assert killable(facts(owned=3), Reaper())  # it learns only from the refusal
    assert not killable(facts(idle_for=0.9), Reaper())
    assert not killable(facts(state="running"), Reaper())
    assert not killable(facts(state="leaving"), Reaper())


def test_system_config_overrides_environment_overrides_default():
    environment = {
        "num_workers_soft_limit": "3",
        "kill_idle_workers_interval_ms": "500",
        "enable_worker_prestart": "True",
    }
    found = {s.name: s for s in in_force({"num_workers_soft_limit": 0}, environment, "2.60.0")}
    assert (found["num_workers_soft_limit"].value, found["num_workers_soft_limit"].source) == (0, "system-config")
    assert (found["kill_idle_workers_interval_ms"].value, found["kill_idle_workers_interval_ms"].source) == (
        500,
        "environment",
    )
    assert found["enable_worker_prestart"].value is True
    assert found["idle_worker_killing_time_threshold_ms"].source == "default"
    assert reaper(list(found.values())) == Reaper(500, 1000, 0)


def test_settings_that_a_version_lacks_are_left_out():
    names = [{s.name for s in in_force({}, {}, version)} for version in ("2.49.1", "2.60.0")]
    assert names[1] - names[0] == {"idle_worker_killing_memory_threshold_bytes"}


def test_an_environment_variable_that_is_no_number_leaves_the_default():
    found = {s.name: s for s in in_force({}, {"num_workers_soft_limit": "many"}, "2.60.0")}
    assert (found["num_workers_soft_limit"].value, found["num_workers_soft_limit"].source) == (-1, "default")
