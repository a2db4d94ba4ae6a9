"""No source, however odd, makes lint raise anything but `Unreadable`, or makes a fix that breaks a program."""

from __future__ import annotations

import ast
import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outlive.lint import Unreadable, check_source
from outlive.lint.fixes import fixed
from outlive.lint.text import decode
from tests.lint.pages import ALL, programs
from tests.long import few

SOURCES = [program.code for rule in ALL for program in programs(rule)]
SOURCES += [path.read_text() for path in Path(__file__).parent.rglob("*.py")]
WORDS = """ray ray.put ray.get .remote .options ( ) [ ] { } _owner= = None for in if else lambda yield return await
async def class self @ray.remote max_calls=1 refs ref , : * ** -> . global import from as with try except
"x" 0 not := 😀"""
PIECES = [*WORDS.split(), "\n", "\t", "# noqa"]
OFTEN = settings(max_examples=few(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def survives(code: str) -> None:
    try:
        findings = check_source(code)
    except Unreadable:
        return
    lines = code.count("\n") + code.count("\r") + 1
    assert all(1 <= finding.line <= finding.end_line <= lines for finding in findings)
    result, _ = fixed(code, "a.py")
    assert fixed(result, "a.py")[0] == result
    if parses(code):
        assert parses(result)


def parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


@OFTEN
@given(st.text())
def test_any_text(text):
    survives(f"import ray\n{text}")


@OFTEN
@given(st.binary())
def test_any_bytes(data):
    with contextlib.suppress(Unreadable):
        survives(decode(data).code)


@OFTEN
@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_any_order_of_tokens(pieces):
    survives("import ray\n" + " ".join(pieces))


@OFTEN
@given(st.sampled_from(SOURCES), st.randoms(use_true_random=False))
def test_mutated_programs(source, chance: random.Random):
    lines = source.splitlines(keepends=True)
    for _ in range(chance.randint(1, 6)):
        if not lines:
            break
        here, there = chance.randrange(len(lines)), chance.randrange(len(lines))
        kind = chance.randrange(5)
        if kind == 0:
            del lines[here]
        elif kind == 1:
            lines.insert(here, lines[there])
        elif kind == 2:
            lines[here], lines[there] = lines[there], lines[here]
        elif kind == 3:
            lines[here] = "    " + lines[here]
        else:
            words = lines[here].split(" ")
            words[chance.randrange(len(words))] = chance.choice(PIECES)
            lines[here] = " ".join(words)
    survives("".join(lines))


@pytest.mark.parametrize(
    "code",
    [
        "import ray\nx = " + "-" * 600 + "1",
        "import ray\nx = " + "1 + " * 600 + "1",
        "import ray\nx = y" + ".a" * 600,
        "import ray\nx = y" + "()" * 600,
        "import ray\nx = " + "not " * 600 + "1",
        "import ray\nx = " + "lambda: " * 600 + "1",
        "import ray\nx = " + "[" * 140 + "]" * 140,
        "import ray\nif 1: pass\n" + "elif 1: pass\n" * 600,
        "import ray\n" + "".join(" " * i + "if 1:\n" for i in range(99)) + " " * 99 + "pass",
        "import ray\nx = [ray.put(1)]\n" + "x = [x, x]\n" * 500,
        "import ray\n@ray.remote\ndef f(): return f.remote()\nf.remote()",
        "import ray\nclass A:\n    def __init__(self): self.a = A()\nA().a.a",
    ],
    ids=range(12),
)
def test_deep_and_circular_source(code):
    survives(code)
