"""Errors that this Ray cannot be made to raise from outside: the text is what Ray's own class says of itself.

Why each cannot: see the reason beside it. Programs raise all others (`programs/`).
"""

from __future__ import annotations

import pytest
from ray import exceptions

from outlive import explain

TASK_RETURN = "c8ef45ccd0112571ffffffffffffffffffffffff0100000001000000"
PUT = "00ef45ccd0112571ffffffffffffffffffffffff0100000002e1f505"
REASONS = {
    "PUT": "the owner of a put is on the node of its only copy, since ray.put(_owner=) is gone (2.56)",
    "BORROWED": "a borrower is given the owner's reason instead",
    "REF_NOT_FOUND": "needs a race within the owner",
    "TASK_CANCELLED": "needs a cancellation between loss and resubmission",
}


def text_of(error: BaseException) -> str:
    return f"Traceback (most recent call last):\n{type(error).__module__}.{type(error).__name__}: {error}\n"


def only(text: str) -> explain.Explanation:
    (explanation,) = explain.read(text).explanations
    return explanation


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.skipif(
    not hasattr(exceptions.ObjectReconstructionFailedError, "REASON_MESSAGES"), reason="this Ray gives no reasons"
)
def test_cannot_be_raised_here_reconstruction_failed_because(reason):
    from ray.core.generated.common_pb2 import ErrorType

    number = ErrorType.Value(f"OBJECT_UNRECONSTRUCTABLE_{reason}")
    error = exceptions.ObjectReconstructionFailedError(PUT if reason == "PUT" else TASK_RETURN, reason=number)
    explanation = only(text_of(error))
    assert explanation.variant == f"unreconstructable-{reason.lower().replace('_', '-')}"
    if reason == "PUT":
        assert "it comes from ray.put" in explanation.causes[0].evidence[0]


@pytest.mark.skipif(
    not hasattr(exceptions.ObjectReconstructionFailedError, "REASON_MESSAGES"), reason="this Ray gives no reasons"
)
def test_every_reason_that_ray_has_is_known():
    from ray.core.generated.common_pb2 import ErrorType

    for number in exceptions.ObjectReconstructionFailedError.REASON_MESSAGES:
        error = exceptions.ObjectReconstructionFailedError(TASK_RETURN, reason=number)
        name = ErrorType.Name(number).removeprefix("OBJECT_UNRECONSTRUCTABLE_").lower().replace("_", "-")
        expected = {"max-attempts-exceeded": "attempts-exceeded"}.get(name, name)
        assert only(text_of(error)).variant == f"unreconstructable-{expected}"


@pytest.mark.parametrize(
    ("name", "message", "variant"),
    [  # word for word from python/ray/exceptions.py of Ray 2.49.1
        (
            "ObjectReconstructionFailedError",
            "because it was created by an actor, ray.put() call, or its ObjectRef was created by a different worker.",
            "unreconstructable",
        ),
        (
            "ObjectReconstructionFailedMaxAttemptsExceededError",
            "because the maximum number of task retries has been exceeded.",
            "unreconstructable-attempts-exceeded",
        ),
        (
            "ObjectReconstructionFailedLineageEvictedError",
            "because its lineage has been evicted to reduce memory pressure.",
            "unreconstructable-lineage-evicted",
        ),
    ],
)
def test_classes_of_older_ray_that_newer_ray_cannot_raise(name, message, variant):
    own = getattr(exceptions, name, None)
    text = f"ray.exceptions.{name}: Failed to retrieve object {PUT}. \n\nThe object cannot be reconstructed {message}\n"
    if own is not None and not hasattr(own, "REASON_MESSAGES"):
        text = text_of(own(PUT, None, ""))
    explanation = only(text)
    assert (explanation.error, explanation.variant) == (name, variant)


def test_cannot_be_raised_since_ray_has_no_free_object_freed():
    explanation = only(text_of(exceptions.ObjectFreedError(PUT, None, "")))
    assert (explanation.error, explanation.variant) == ("ObjectFreedError", "freed-by-hand")


def test_cannot_be_raised_here_object_lost_since_ray_gives_the_reason_instead():
    explanation = only(text_of(exceptions.ObjectLostError(PUT, None, "")))
    assert (explanation.error, explanation.variant) == ("ObjectLostError", "copies-lost")


def test_cannot_be_raised_here_object_store_full_since_ray_overflows_to_disk_and_then_raises_out_of_disk():
    explanation = only(text_of(exceptions.ObjectStoreFullError("Failed to put object of size 999999999 bytes")))
    assert not any(cause.evidence for cause in explanation.causes)
    explanation = only(text_of(exceptions.ObjectStoreFullError("The object is larger than the object store")))
    assert (explanation.error, explanation.variant) == ("ObjectStoreFullError", "object-store-full")
    assert "larger than the store" in explanation.causes[0].text
    assert explanation.causes[0].evidence


def test_cannot_be_raised_here_local_raylet_died_since_its_workers_die_first():
    explanation = only(text_of(exceptions.LocalRayletDiedError()))
    assert (explanation.error, explanation.variant) == ("LocalRayletDiedError", "local-raylet-died")


@pytest.mark.parametrize(
    ("exit_type", "detail", "variant", "cause"),
    [
        ("INTENDED_SYSTEM_EXIT", "Worker exited because it was idle for a long time", "by-ray", "idle"),
        ("INTENDED_SYSTEM_EXIT", "Exited because worker reached max_calls=2", "by-ray", "max_calls"),
        ("INTENDED_USER_EXIT", "Worker exits by an user request. exit_actor() is called.", "by-user", "exit_actor"),
        ("USER_ERROR", "there was an exception in the initialization method", "init-raised", "__init__"),
        ("NODE_OUT_OF_MEMORY", "1 worker(s) were killed due to memory pressure (OOM)", "out-of-memory", "memory"),
        ("SYSTEM_ERROR", "connection error code 2. End of file", "crashed", ""),  # whatever ended it
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "form",
    ["Worker ID: 12 Worker exit type: {} Worker exit detail: {}", "worker id = 12, exit_type = {}, exit_detail = {}"],
)
def test_exit_types_in_the_words_of_ray(exit_type, detail, variant, cause, form):
    """Details as in the raylet of Ray 2.60 (`strings`), in the two forms in which its logs have them."""
    explanation = only(form.format(exit_type, detail))
    assert explanation.variant == f"exit-{variant}"
    assert cause in explanation.causes[0].text
    assert bool(explanation.causes[0].evidence) == (exit_type != "SYSTEM_ERROR")
