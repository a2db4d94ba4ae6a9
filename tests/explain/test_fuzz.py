"""Any text whatever: never an exception, and work in proportion to its length."""

from __future__ import annotations

import io
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlive import explain
from outlive.explain.evidence import SIGNALS
from outlive.explain.ids import decode
from outlive.explain.lines import LONGEST, of_file, of_text
from outlive.explain.literals import required_words
from outlive.explain.reader import CLASSES, Reader
from tests.long import SHORT, few

HEX = st.text("0123456789abcdefABCDEF", max_size=80)
PIECES = st.sampled_from(
    [
        "Traceback (most recent call last):\n",
        '  File "x.py", line 3, in f\n',
        "\x1b[36m",
        "\x1b[0m",
        "(f pid=1, ip=10.0.0.1) ",
        "(raylet) ",
        " [repeated 3x across cluster]",
        "ray.exceptions.",
        "RayTaskError(",
        ")",
        ": ",
        "('",
        "', '')",
        "Failed to retrieve object ",
        "Worker exit type: SYSTEM_ERROR Worker exit detail: ",
        "1 worker(s) were killed due to the node running low on memory",
        "has been marked dead because",
        "[OBJECT_UNRECONSTRUCTABLE_PUT] ",
        "\n",
        "\r\n",
        "\0",
        *sorted(CLASSES),
    ]
)


@given(st.text() | HEX | st.builds("{}({}){}".format, st.sampled_from(["ObjectRef", "WorkerID", "x"]), HEX, st.text()))
@settings(max_examples=few(500), deadline=None)
def test_ids(text):
    try:
        decoded = decode(text)
    except explain.NotAnId:
        pass
    else:
        assert "".join(field.hex for field in decoded.fields) == decoded.hex
        assert decoded.hex in text.lower()
        assert decoded.sentence


@given(st.binary(min_size=4, max_size=40))
@settings(max_examples=few(500), deadline=None)
def test_ids_of_all_sizes(data):
    try:
        decoded = decode(data.hex())
    except explain.NotAnId:
        assert len(data) not in {4, 16, 18, 24, 28, 32}
    else:
        assert decoded.hex == data.hex()


@given(st.lists(st.text(max_size=30) | HEX | PIECES, max_size=60).map("".join))
@settings(max_examples=few(500), deadline=None)
def test_texts(text):
    reading = explain.read(text)
    assert all(one.count >= 1 and one.what and one.fix and one.sources for one in reading.explanations)
    assert all(one.error in text or not one.error.endswith("Error") for one in reading.explanations)  # nothing made up


@given(st.binary(max_size=2000))
@settings(max_examples=few(200), deadline=None)
def test_bytes(data):
    reader = Reader()
    reader.read(of_file(io.BytesIO(data), len(data)))
    reader.reading()


LOG = """\
2026-01-01 00:00:00,000 INFO step {n} done, memory 3.2 GiB, no error
(f pid={n}, ip=10.0.0.1) working on {n}
Traceback (most recent call last):
  File "x.py", line {n}, in f
    ray.get(ref)
ray.exceptions.OwnerDiedError: Failed to retrieve object 00ef45ccd011{n:04x}ffffffffffffffffffffffff0100000002e1f505.

The object's owner has exited.
(raylet) A worker died or was killed. Worker ID: {n:056x} Worker exit type: SYSTEM_ERROR Worker exit detail: End of file
"""


def _calls(text: str) -> int:
    """How many calls reading takes, those of built-in functions (regular expressions, too) included."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in {"call", "c_call"}

    reader = Reader()
    lines = list(of_text(text))
    sys.setprofile(profile)
    try:
        reader.read(lines)
        reader.reading()
    finally:
        sys.setprofile(None)
    return count


def test_work_is_proportional_to_the_number_of_lines():
    count = 250 if SHORT else 500
    short = "".join(LOG.format(n=n) for n in range(count))
    long = "".join(LOG.format(n=n) for n in range(4 * count))
    assert _calls(long) < 4.4 * _calls(short)


@pytest.mark.parametrize(
    "piece", ["a", "(", "[", " ", "0", "ray.exceptions.", "OwnerDiedError", "\x1b[", "Error: ", 'File "']
)
def test_endless_lines_are_cut(piece):
    text = piece * (3 * LONGEST // len(piece))
    lines = list(of_text(text))
    assert max(map(len, lines)) <= LONGEST
    assert explain.read(text).lines == len(lines)


@pytest.mark.parametrize(
    "line",
    [
        "ray \\n" + "\\" * LONGEST,
        "ray \\n ray" + "\\x" * 9 + "\\" * LONGEST,
        '"a\\n"' + " " * LONGEST + "x",
        " " * LONGEST + "\\n",
        "across cluster]" + " " * LONGEST + "x",
        "(1) the " + " " * LONGEST + "x",
        "raylet " * (LONGEST // 7),
        "GCS " * (LONGEST // 4),
        "based on the policy: " * (LONGEST // 21),
        "has been marked dead " * (LONGEST // 21),
        "because the detector has missed too many heartbeats from it." * (LONGEST // 60),
    ],
    ids=lambda line: repr(line[:20]),
)
def test_a_long_line_of_what_begins_a_pattern_takes_no_time_by_its_square(line):
    def time_of(length):
        begin = time.process_time()
        explain.read(line[:length])
        return time.process_time() - begin

    explain.read(line[:100])
    short, whole = time_of(LONGEST // 8), time_of(LONGEST)
    assert whole < 32 * max(short, 0.02)  # by its square, it would be 64 times as long


def test_memory_does_not_grow_with_the_log():
    reader = Reader()
    reader.read(of_text("".join(LOG.format(n=n) for n in range(30_000))))
    group = reader._groups["owner-died"]
    assert len(group._kept) == len(group._numbers) == 20
    assert len(group._ids) <= 10_000
    assert len(reader._signals) < 2000
    assert len(reader._open) <= 1000
    assert reader.reading().explanations[0].count == 30_000


SEARCHABLE = [pattern for pattern in dict.fromkeys(SIGNALS) if "(?!" not in pattern and "(?<!" not in pattern]


@given(st.sampled_from(SEARCHABLE).flatmap(lambda pattern: st.tuples(st.just(pattern), st.from_regex(pattern))))
@settings(max_examples=few(500), deadline=None)
def test_whatever_a_sign_matches_contains_one_of_its_words(case):
    pattern, text = case
    assert any(word in text for word in required_words(pattern))


def test_most_signs_have_words():
    assert sum(required_words(pattern) == ("",) for pattern in SIGNALS) <= 5
