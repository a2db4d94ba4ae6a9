"""The layout of a shelf is known to one module."""

from __future__ import annotations

import ast
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import outlive
from outlive.arrays import layout

PACKAGE = Path(outlive.__file__).parent
ROOMS = [path for room in ("arrays", "cluster", "store", "catalog") for path in (PACKAGE / room).rglob("*.py")]
NAME = re.compile(rf"/({'|'.join((*layout.OWN_FILES, layout.OWNER))})(/|$)|^\.(copy|new|batch|removed|moved)$")
BITS = re.compile(r"S_ISVTX|S_IX|0o600|0o700|\[22:24\]|\[24:\]|:08x\}")


def literals(tree: ast.AST) -> Iterator[str]:
    """All strings, and parts of f-strings, but no docstrings."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


@pytest.mark.parametrize("path", [path for path in ROOMS if path.name != "layout.py"], ids=lambda path: path.stem)
def test_no_other_module_has_a_literal_of_it(path: Path) -> None:
    text = path.read_text()
    assert [literal for literal in literals(ast.parse(text)) if NAME.search(literal)] == []
    assert BITS.findall(text) == []


@given(st.integers(0, 255), st.integers(0, layout.NUMBERS - 1), st.binary(min_size=11, max_size=11))
def test_ids(kind: int, number: int, random: bytes) -> None:
    array_id = random.hex() + layout.suffix(kind, number)
    assert layout.is_id(array_id)
    assert layout.is_segment(array_id) and layout.is_segment(array_id + layout.COPY)
    assert (layout.kind_of(array_id), layout.number_of(array_id)) == (kind, number)
    assert array_id.endswith(layout.scope_name(number))
    assert layout.size_in_pool(layout.in_pool(number, array_id)) == number
    assert layout.is_segment(layout.in_pool(number, array_id))
    assert layout.size_in_pool(array_id) is None
    assert layout.size_in_pool(array_id + layout.COPY) is None


def test_paths_below_a_shelf() -> None:
    for end in ("new/0123/aa", "mem/aa", "free/4096.aa", "new/0123/aa.copy"):
        assert layout.below_shelf(f"/dev/shm/outlive-0/cluster/node/{end}") == end


@given(st.integers(0, 0o7777), st.sets(st.sampled_from([layout.PINNED, layout.CACHED, layout.COPIED, layout.LEAVING])))
def test_marks_leave_a_file_its_owner(mode: int, marks: set[int]) -> None:
    every = 0
    for mark in marks:
        every |= mark
    with_all = layout.marked(stat.S_IFREG | mode | layout.PRIVATE, add=every)
    assert with_all & every == every
    without = layout.marked(with_all, remove=every)
    assert without & layout.PRIVATE == layout.PRIVATE
    assert not without & every & ~layout.PRIVATE
