"""Each error that one node can be made to raise, raised by a program of its own, and what `explain` says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from outlive import explain
from tests.explain.conftest import provoke

EXPECTED = {
    "owner_died": ("OwnerDiedError", "owner-died"),
    "reference_counting": ("ReferenceCountingAssertionError", "owner-let-go"),
    "worker_exited": ("WorkerCrashedError", "worker-crashed"),
    "worker_segfault": ("WorkerCrashedError", "worker-crashed"),
    "actor_killed": ("ActorDiedError", "actor-killed"),
    "actor_never_started": ("ActorDiedError", "actor-killed"),
    "actor_exited": ("ActorDiedError", "actor-exited"),
    "actor_init_raised": ("ActorDiedError", "actor-init-raised"),
    "actor_crashed": ("ActorDiedError", "actor-crashed"),
    "actor_owner_died": ("ActorDiedError", "actor-owner-died"),
    "actor_out_of_scope": ("ActorDiedError", "actor-out-of-scope"),
    "actor_unavailable": ("ActorUnavailableError", "actor-unavailable"),
    "task_cancelled": ("TaskCancelledError", "task-cancelled"),
    "task_cancelled_queued": ("TaskCancelledError", "task-cancelled"),
    "task_force_cancelled": ("TaskCancelledError", "task-cancelled"),
    "system_error": ("RaySystemError", "cannot-be-unpickled"),
    "get_timeout": ("GetTimeoutError", "get-timeout"),
    "returned_lock": ("return-cannot-be-pickled", "return-cannot-be-pickled"),
    "returned_lock_of_actor": ("return-cannot-be-pickled", "return-cannot-be-pickled"),
    "yielded_lock": ("return-cannot-be-pickled", "return-cannot-be-pickled"),
}
TOP_CAUSE = {
    "owner_died": "A pooled worker owned it",
    "actor_never_started": "before it had ever run",
    "actor_exited": "exit_actor()",
    "actor_init_raised": "raised by __init__",
    "actor_owner_died": "crashed or was killed",
    "actor_out_of_scope": "only handles by name are left",
    "actor_unavailable": "Ray starts it again",
    "system_error": "not installed",
    "returned_lock": "belongs to one process",
    "returned_lock_of_actor": "belongs to one process",
    "yielded_lock": "belongs to one process",
}
if not hasattr(ray.exceptions.ObjectReconstructionFailedError, "REASON_MESSAGES"):  # Ray before 2.54
    EXPECTED["actor_owner_died"] = ("ActorDiedError", "actor-out-of-scope")  # is what it says itself
    TOP_CAUSE.pop("actor_owner_died")


@pytest.mark.parametrize("name", EXPECTED)
def test_explained_from_its_traceback(plain, name):
    raised = plain(name)
    (explanation,) = explain.read(raised.text).explanations
    assert (explanation.error, explanation.variant) == EXPECTED[name]
    assert explanation.count == 1
    if name in TOP_CAUSE:
        top = explanation.causes[0]
        assert TOP_CAUSE[name] in top.text
        assert top.evidence, raised.text
        assert not top.ruled_out


@pytest.mark.parametrize("name", EXPECTED)
def test_explained_from_the_exception(plain, name):
    explanation = explain.why(plain(name).error, live=False)
    assert explanation is not None
    assert (explanation.error, explanation.variant) == EXPECTED[name]


@pytest.mark.filterwarnings("ignore:`free` is a deprecated API:DeprecationWarning")
def test_object_freed(plain):
    try:
        from ray._private.internal_api import free  # noqa: F401
    except ImportError:
        pytest.skip(f"Ray {ray.__version__} has no free() any more; see test_cannot_be_raised")
    raised = provoke("object_freed")
    (explanation,) = explain.read(raised.text).explanations
    assert (explanation.error, explanation.variant) == ("ObjectFreedError", "freed-by-hand")


def test_the_object_is_decoded(plain):
    (explanation,) = explain.read(plain("owner_died").text).explanations
    (decoded,) = explanation.ids
    assert (decoded.kind, decoded.maker, decoded.put, decoded.attempt) == ("ObjectID", "normal task", True, 0)
    (explanation,) = explain.read(plain("reference_counting").text).explanations
    assert [decoded.maker for decoded in explanation.ids] == ["actor task"]


def test_a_driver_cannot_be_blamed_for_what_a_task_owned(plain):
    (explanation,) = explain.read(plain("owner_died").text).explanations
    (driver,) = (cause for cause in explanation.causes if "was a driver that ended" in cause.text)
    assert driver.ruled_out
    assert driver is explanation.causes[-1]


def test_several_errors_in_one_log(plain):
    log = "".join(plain(name).text + "\n2026-01-01 00:00:00,000 INFO next\n" for name in EXPECTED)
    reading = explain.read(log + log)
    assert {(one.error, one.variant) for one in reading.explanations} == set(EXPECTED.values())
    assert sum(one.count for one in reading.explanations) == 2 * len(EXPECTED)
    assert reading.unexplained == {}


def test_a_log_with_prefixes_and_colours_says_the_same(plain):
    text = plain("owner_died").text
    prefixed = "".join(f"\x1b[36m(make pid=77, ip=10.0.0.1)\x1b[0m {line}\r\n" for line in text.split("\n"))
    (before,), (after,) = explain.read(text).explanations, explain.read(prefixed).explanations
    assert (after.variant, after.ids, after.lines) == (before.variant, before.ids, before.lines)


def test_a_dead_worker_in_the_log_is_evidence(plain, logs):
    """The raylet's own log, which names the owner, tells why the owner died."""

    raised = plain("owner_died")
    raylet = Path(logs, "gcs_server.out").read_text(errors="replace") + Path(logs, "raylet.out").read_text(
        errors="replace"
    )
    explanations = explain.read(raylet + raised.text).explanations
    (owner,) = (one for one in explanations if one.variant == "owner-died")
    assert any("names the same id" in evidence for cause in owner.causes for evidence in cause.evidence)
