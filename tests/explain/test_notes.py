"""Notes on Ray's own exceptions: same class, same traceback, nothing swallowed."""

from __future__ import annotations

import sys
import threading
import traceback

import pytest
from ray import exceptions

from outlive import explain

NOTE = "outlive explains: "


def notes(error):
    return [note for note in getattr(error, "__notes__", []) if note.startswith(NOTE)]


def fail():
    raise exceptions.WorkerCrashedError


def test_errors_adds_a_note(plain):
    before = plain("reference_counting").error
    with pytest.raises(exceptions.ReferenceCountingAssertionError) as caught, explain.errors():
        raise before
    assert caught.value is before
    (note,) = notes(before)
    assert "The owner is alive and answered" in note
    assert "A process in the middle died" in note
    assert "of a method of actor" in note
    assert "fix:" in note
    if sys.version_info >= (3, 11):
        assert note in "".join(traceback.format_exception(before))


def test_the_traceback_stays():
    with pytest.raises(exceptions.WorkerCrashedError) as caught, explain.errors():
        fail()
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-1] == "fail"


def test_only_one_note():
    error = exceptions.WorkerCrashedError()
    for _ in range(3):
        with pytest.raises(exceptions.WorkerCrashedError), explain.errors():
            raise error
    assert len(notes(error)) == 1


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3), exceptions.RayError("unknown")])
def test_other_exceptions_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, explain.errors():
        raise error
    assert caught.value is error
    assert notes(error) == []
    assert explain.why(error) is None


def test_a_cause_of_ray_is_found():
    try:
        try:
            fail()
        except exceptions.WorkerCrashedError as error:
            raise RuntimeError("my own") from error
    except RuntimeError as error:
        explanation = explain.why(error)
    assert explanation is not None
    assert explanation.variant == "worker-crashed"


def test_no_error_gets_hidden_when_explaining_fails(monkeypatch):
    monkeypatch.setattr("outlive.explain.notes.why", lambda error: 1 / 0)
    with pytest.raises(exceptions.WorkerCrashedError), explain.errors():
        fail()


def test_install_for_uncaught_exceptions(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: seen.append(arguments.exc_value))
    undo = explain.install()
    try:
        fail()
    except exceptions.WorkerCrashedError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    printed = capsys.readouterr().err
    assert "ray.exceptions.WorkerCrashedError: The worker died" in printed
    assert printed.count(NOTE) == 1
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert len(notes(seen[0])) == 1
    undo()
    assert sys.excepthook is sys.__excepthook__
