"""Dtypes as text. tests/arrays/test_values.py and others have which arrays can be stored."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from outlive.arrays.dtypes import literal


def test_a_literal_is_read_although_another_thread_disturbs_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    parse, failed = ast.parse, list[Any]()

    def disturbed(*args: Any, **kwargs: Any) -> Any:
        if len(failed) < 3:
            failed.append(args)
            raise SystemError("AST constructor recursion depth mismatch (before=33, after=31)")
        return parse(*args, **kwargs)

    monkeypatch.setattr(ast, "parse", disturbed)
    assert literal("{'shape': (3,)}") == {"shape": (3,)}
    assert len(failed) == 3
