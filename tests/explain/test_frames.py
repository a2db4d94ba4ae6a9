"""Whatever a message is put into, the answer is the same."""

from __future__ import annotations

import io

import pytest

from outlive import explain
from outlive.explain.frames import Unframer
from outlive.explain.lines import of_file
from tests.explain.frame_kinds import BROKEN, FRAMES
from tests.explain.messages import MESSAGES


def answer(text: str):
    """All that must not depend on frames."""
    reading = explain.read(text)
    return [_essence(one) for one in reading.explanations], reading.unexplained


def _essence(one: explain.Explanation):
    causes = [(cause.text, len(cause.evidence), cause.ruled_out) for cause in one.causes]
    return one.error, one.variant, one.count, [each.hex for each in one.ids], causes


@pytest.fixture(scope="module")
def plain():
    """The answers without a frame. They take a second, which whoever only collects this file is spared."""
    return {name: answer(message.text) for name, message in MESSAGES.items()}


IN_TWO = [name for name, message in MESSAGES.items() if message.kind == "plain"]
ACTOR = next(name for name in IN_TWO if "actor-crashed" in name)


def test_each_message_alone_is_explained(plain):
    assert all(plain[name][0] for name in IN_TWO)


@pytest.mark.parametrize("frame", FRAMES)
def test_in_a_frame(frame, plain):
    different = {name: answer(FRAMES[frame](message.text)) for name, message in MESSAGES.items()}
    assert different == plain


@pytest.mark.parametrize("outer", FRAMES)
def test_in_two_frames(outer, plain):
    """Each pair of frames has one of the messages, and each frame all of them."""
    for turn, inner in enumerate(FRAMES, [*FRAMES].index(outer)):
        name = IN_TWO[turn % len(IN_TWO)]
        framed = FRAMES[outer](FRAMES[inner](MESSAGES[name].text))
        assert answer(framed) == plain[name], (inner, name)


@pytest.mark.parametrize("width", BROKEN)
def test_broken_at_a_fixed_width(width, plain):
    """A line that is broken once, between two words, looks like two lines: a few answers may differ."""
    answers = {name: answer(BROKEN[width](message.text)) for name, message in MESSAGES.items()}
    assert sum(answers[name] == plain[name] for name in MESSAGES) >= 0.95 * len(MESSAGES)
    assert {name: answers[name] for name in IN_TWO} == {name: plain[name] for name in IN_TWO}


def test_lines_of_the_same_length_are_not_joined():
    for text in (
        "all is well here\n" * 9,
        "(raylet) " + "x y" * 40 + "\n",
        "=" * 80 + "\nChecking\n" + "=" * 80 + "\n",
    ):
        lines = (text * 3).split("\n")
        assert len(list(Unframer().lines(enumerate(lines)))) == len(lines)


def test_a_header_on_the_first_line_of_a_record_only(plain):
    message = MESSAGES[ACTOR].text
    record = f"2025-07-28 08:40:52,953 - app - ERROR - {message}"
    after = "2025-07-28 08:40:53,001 - app - ERROR - the actor is dead because it was killed by `ray.kill`"
    assert answer(f"{record}\n{after}") == plain[ACTOR]
    assert answer(f"{message}\n{after}") == plain[ACTOR]
    assert answer(f"{after}\n{record}\n{after}\n") == plain[ACTOR]


def test_two_records_in_one_frame(plain):
    other = "2025-07-28 08:40:53,001 - app - WARNING - its node has died"
    framed = FRAMES["logging with a time"](MESSAGES[ACTOR].text)
    assert answer(f"{framed}\n{other}") == plain[ACTOR]


def test_processes_that_write_at_the_same_time(plain):
    one, two = (
        FRAMES["kubectl --prefix"](message).split("\n") for message in (MESSAGES[ACTOR].text, "all is well\n" * 9)
    )
    two = [line.replace("ray-head", "ray-worker") for line in two]
    mixed = "\n".join(line for pair in zip(one, two) for line in pair)  # noqa: B905 - one is shorter
    assert answer(mixed) == plain[ACTOR]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding, plain):
    text = MESSAGES[ACTOR].text.replace("Worker", "Wörker\u010a", 1)
    mark = "\ufeff" if encoding.endswith("e") else ""
    for ends in ("\n", "\r\n"):
        data = (mark + text).replace("\n", ends).encode(encoding)
        reading = explain.read(of_file(io.BytesIO(data), len(data)))
        assert ([_essence(one) for one in reading.explanations], reading.unexplained) == plain[ACTOR]


NO_FRAMES = (
    "\tTimeoutError: x",
    "    raise ray.exceptions.RayActorError(x)",
    "[Errno 2] No such file",
    "- one\n- two",
    "[OBJECT_UNRECONSTRUCTABLE_PUT] The object",
    "[Timeout] Exiting because",
    "4290\t6.54\tpython run.py",
    '{"a": [1, 2',
    "E",
)


@pytest.mark.parametrize("text", NO_FRAMES)
def test_what_is_no_frame(text):
    assert [line.text for line in Unframer().lines(enumerate(text.split("\n")))] == text.split("\n")


def test_frames_are_remembered():
    framed = FRAMES["kubectl --timestamps"](FRAMES["vllm"](MESSAGES[IN_TWO[0]].text))
    (frame,) = explain.read(framed).frames
    assert frame.example == "2025-07-28T08:40:01.953000000Z ERROR 04-16 11:53:49 [core.py:387] "
    assert frame.lines == 3
