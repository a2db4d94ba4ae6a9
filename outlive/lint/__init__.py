"""Find lifetime mistakes in programs that use Ray, by reading their source. Nothing is imported or run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outlive.lint.finding import Edit, Failure, Finding
from outlive.lint.rule import Rule
from outlive.lint.rules import RULES
from outlive.lint.text import Unreadable

if TYPE_CHECKING:
    from outlive.lint.linter import check_source

__all__ = ["RULES", "Edit", "Failure", "Finding", "Rule", "Unreadable", "check_source"]


if not TYPE_CHECKING:  # to a type checker, a name that is not here is an error

    def __getattr__(name: str) -> Any:
        if name == "check_source":  # loads the parser
            from outlive.lint.linter import check_source

            return check_source
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
