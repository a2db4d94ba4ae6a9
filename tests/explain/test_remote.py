"""What two lines of a task's traceback say together, in texts that hold several errors."""

from __future__ import annotations

from collections import Counter

import pytest

from outlive import explain
from tests.explain.messages import MESSAGES

LOCK = "a task returns a lock"


def of(source: str) -> str:
    return next(message.text for message in MESSAGES.values() if message.source == source)


def counts(text: str) -> dict[str, int]:
    return {one.variant: one.count for one in explain.read(text).explanations}


def test_errors_of_pickling_are_counted_once_each():
    sources = [message.source for message in MESSAGES.values() if "cannot-be-pickled" in message.variant]
    text = "\n".join(map(of, sources))
    variants = [message.variant for message in MESSAGES.values() if message.source in sources]
    assert counts(text) == Counter(variants)
    assert counts(text + "\n" + text) == {variant: 2 * count for variant, count in Counter(variants).items()}


@pytest.mark.parametrize("after", ["", "\n\n", "\nall is well", "\nTraceback (most recent call last):", "\n$ "])
def test_it_is_counted_whatever_follows(after):
    assert counts(of(LOCK) + after) == {"return-cannot-be-pickled": 1}


def test_another_exception_that_was_raised_from_it_is_the_error():
    chain = "\n\nDuring handling of the above exception, another exception occurred:\n\n"
    raised = (
        'ray::make() (pid=11464, ip=10.0.2.2)\n  File "/app/t.py", line 7, in make\n    raise KeyError\nKeyError: 7'
    )
    assert counts(of(LOCK) + chain + raised) == {}


def test_a_traceback_that_is_cut_is_not_explained():
    lines = of(LOCK).split("\n")
    for length in range(len(lines)):
        assert counts("\n".join(lines[:length])) == {}


def test_tasks_that_write_at_the_same_time():
    one, two = (of(source).split("\n") for source in (LOCK, "a task puts a lock"))
    two = [*two, *[""] * (len(one) - len(two))]
    mixed = [line for pair in zip(one, two) for line in (f"(a pid=1) {pair[0]}", f"(b pid=2) {pair[1]}")]  # noqa: B905
    mixed += [f"(b pid=2) {line}" for line in two[len(one) :]]
    assert counts("\n".join(mixed)) == {"return-cannot-be-pickled": 1, "cannot-be-pickled": 1}


def test_ray_says_how_often():
    text = "\n".join(f"(a pid=1) {line} [repeated 3x across cluster]" for line in of(LOCK).split("\n"))
    assert counts(text) == {"return-cannot-be-pickled": 3}


def test_the_whole_says_what_returned_it():
    (one,) = explain.read(of("an actor's method returns a lock")).explanations
    assert "ray::A.am()" in one.message
    assert [(each.label, each.id.kind) for each in one.mentions] == [("actor_id", "ActorID")]
