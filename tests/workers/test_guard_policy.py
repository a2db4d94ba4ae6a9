"""A guard's policy: what it takes, what it refuses and how it says so, and whom its bounds choose."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.cli.workers_guard import _fields
from outlive.errors import BadSetting
from outlive.workers import JobPolicy, Policy
from outlive.workers.bounds import Bounds, Candidate, choose, choose_of_job
from outlive.workers.guard_actor import amended

GIB = 1 << 30
OPTIONS = dict.fromkeys(
    (
        "max_idle", "min_idle", "max_memory", "max_node_memory", "max_job_memory", "max_idle_for", "min_idle_for",
        "every", "cpu_share", "dry_run", "spare", "bounds_for",
    )
)  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "nothing to guard: give one of max_idle, max_memory, max_node_memory, max_job_memory, max_idle_for"),
        ({"min_idle": 2}, "nothing to guard"),
        ({"max_idle": -1}, "max_idle=-1 is no number of workers: write 0 or more, or None"),
        ({"max_idle": True}, "max_idle=True is no number"),
        ({"max_idle": 2.5}, "max_idle=2.5 is no number"),
        ({"max_idle": "4"}, "max_idle='4' is no number"),
        ({"max_idle": 1, "min_idle": None}, "min_idle=None is no number of workers: write 0 or more$"),
        ({"max_idle": 1, "min_idle": 2}, "max_idle=1 is below min_idle=2.*raise max_idle"),
        ({"max_memory": "much"}, "max_memory='much' is not a size"),
        ({"max_node_memory": 0}, "max_node_memory=0 is not a size"),
        ({"max_job_memory": "-1"}, "max_job_memory='-1' is not a size"),
        ({"max_idle_for": "soon"}, "max_idle_for='soon' is no length of time"),
        ({"max_idle_for": "1s", "min_idle_for": "1min"}, "max_idle_for=1.0 s is less than min_idle_for=1.0 min"),
        ({"max_idle": 1, "every": "1ms"}, "every='1ms'.*50 ms or more"),
        ({"max_idle": 1, "dry_run": 1}, "dry_run=1: write True or False"),
        ({"max_idle": 1, "cpu_share": 0}, "cpu_share=0 is no part of a core"),
        ({"max_idle": 1, "cpu_share": float("nan")}, "cpu_share=nan is no part"),
        ({"max_idle": 1, "jobs": ["a"]}, "write a dict of a JobPolicy"),
        ({"max_idle": 1, "jobs": {"a": Policy(max_idle=1)}}, "jobs: 'a'"),
        ({"max_idle": 1, "jobs": {"": JobPolicy()}}, "write a job's id"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields, message):
    with pytest.raises(BadSetting, match=message):
        Policy(**fields)


def test_it_travels_as_plain_data():
    policy = Policy(
        max_memory="1GiB", min_idle_for="1min", every="5s", jobs={"a": JobPolicy(max_idle=2, max_job_memory="2GiB")}
    )
    assert Policy.from_json(policy.to_json()) == policy
    with pytest.raises(BadSetting, match="no field 'max_idel': there are .*max_idle"):
        Policy.from_json({"max_idel": 3})
    with pytest.raises(BadSetting, match="no bound 'dry_run'"):
        Policy.from_json({"max_idle": 3, "jobs": {"a": {"dry_run": True}}})


def test_some_fields_are_changed_and_the_others_stay():
    policy = Policy(max_idle=4, max_memory="1GiB", jobs={"a": JobPolicy(), "b": JobPolicy(max_idle=1)})
    changed = amended(policy, {"max_memory": None, "dry_run": True, "jobs": {"a": None, "c": {"max_idle": 0}}})
    assert changed == Policy(max_idle=4, dry_run=True, jobs={"b": JobPolicy(max_idle=1), "c": JobPolicy(max_idle=0)})
    with pytest.raises(BadSetting, match="nothing to guard"):
        amended(Policy(max_idle=1), {"max_idle": None})


def test_whose_exception_holds():
    policy = Policy(max_idle=1, jobs={"python train*": JobPolicy(), "02000000": JobPolicy(max_idle=2)})
    assert policy.exception("02000000", "python train.py") == "02000000"
    assert policy.exception("03000000", "python train.py") == "python train*"
    assert policy.exception("03000000", "python serve.py") is None
    assert policy.exception(None, "") is None


def test_options_of_the_commands():
    given = OPTIONS | {"max_idle": "2", "max_memory": "none", "min_idle": "none", "cpu_share": "0.5", "dry_run": False}
    given |= {"spare": ["a"], "bounds_for": ["python x.py:y*:max-idle=8,max_memory=4GiB", "b:none"]}
    assert _fields(given) == {
        "max_idle": 2,
        "max_memory": None,
        "min_idle": 0,
        "cpu_share": 0.5,
        "dry_run": False,
        "jobs": {"a": {}, "python x.py:y*": {"max_idle": 8, "max_memory": "4GiB"}, "b": None},
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_idle": "many"}, "max_idle='many' is no number of workers: write 0 or more, or 'none'"),
        ({"max_idle": "-1"}, "write 0 or more"),
        ({"cpu_share": "some"}, "cpu_share='some' is no part of a core"),
        ({"bounds_for": ["max_idle=8"]}, "write JOB:BOUNDS"),
        ({"bounds_for": ["a:8"]}, "'8' is no bound: write NAME=VALUE"),
    ],
)
def test_options_that_cannot_be(given, message):
    with pytest.raises(BadSetting, match=message):
        _fields(OPTIONS | given)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("start", "nothing to guard: give one of max_idle"),
        ("start --max-idle some", "max_idle='some' is no number of workers"),
        ("start --max-idel 3", "--max-idle"),
        ("strat", "start"),
        ("set", "nothing to change"),
        ("start --max-idle 1 --address 127.0.0.1:9", "no Ray cluster at 127.0.0.1:9"),
        ("set --max-idle 1 --address 127.0.0.1:9", "no Ray cluster at 127.0.0.1:9"),
        ("status --address 127.0.0.1:9", "no Ray cluster at 127.0.0.1:9"),
        ("log --address 127.0.0.1:9", "no Ray cluster at 127.0.0.1:9"),
        ("stop --address 127.0.0.1:9", "no Ray cluster at 127.0.0.1:9"),
    ],
)
def test_commands_that_cannot_be(words, message):
    result = CliRunner().invoke(app, ["workers", "guard", *words.split()])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


SIZES = [Candidate("small", 10, 50.0), Candidate("large", 90, 10.0), Candidate("middle", 50, 99.0)]


@pytest.mark.parametrize(
    ("limits", "memory", "expected"),
    [
        (Bounds(max_node_memory=60), 150, ["large"]),
        (Bounds(max_node_memory=60), 250, ["large", "middle", "small"]),  # another keeps 100, and must stay
        (Bounds(max_node_memory=60, min_idle=3), 250, []),
        (Bounds(max_node_memory=150), 150, []),
        (Bounds(max_idle_for=40.0), 150, ["middle", "small"]),
        (Bounds(max_idle_for=40.0, min_idle=2), 150, ["middle"]),
        (Bounds(max_idle=0, min_idle_for=20.0), 150, ["middle", "small"]),
        (Bounds(max_idle=1, max_idle_for=60.0), 150, ["middle", "large"]),
        (Bounds(max_memory=40, max_node_memory=5, min_idle_for=60.0), 150, ["middle"]),
    ],
)
def test_whom_the_bounds_of_a_node_choose(limits, memory, expected):
    assert [one.worker_id for one, _ in choose(SIZES, 3, limits, memory)] == expected


def test_a_job_that_has_no_exception_any_more_may_be_named():
    assert Policy.from_json({"max_idle": 2, "jobs": {"04000000": None}}) == Policy(max_idle=2)
    assert amended(Policy(max_idle=2), {"jobs": None}) == Policy(max_idle=2)


def test_whom_the_bound_of_a_job_chooses():
    spread = [Candidate("a", 90, 10.0, "one"), Candidate("b", 50, 10.0, "two"), Candidate("c", 40, 10.0, "one")]
    limits = Bounds(min_idle=1, max_job_memory=100)
    chosen = choose_of_job(spread, {"one": 2, "two": 1}, limits, 180)
    assert [(one.worker_id, why) for one, why in chosen] == [("a", "the job's idle workers keep 180 B, 100 B may stay")]
    assert [one.worker_id for one, _ in choose_of_job(spread, {"one": 3, "two": 1}, limits, 250)] == ["a", "c"]
    assert choose_of_job(spread, {"one": 3, "two": 1}, Bounds(max_job_memory=180), 180) == []
