"""The examples of the docs and docstrings run."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "explain.md"


def test_page():
    assert doctest.testfile(str(PAGE), module_relative=False) == (0, 5)


@pytest.mark.parametrize("module", ["outlive.explain", "outlive.explain.ids", "outlive.explain.literals"])
def test_docstrings(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
