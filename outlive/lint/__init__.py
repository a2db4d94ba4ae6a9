"""Find lifetime mistakes in programs that use Ray, by reading their source. Nothing is imported or run."""

from __future__ import annotations

from outlive.lint.check import check_source
from outlive.lint.finding import Edit, Failure, Finding
from outlive.lint.rule import Rule
from outlive.lint.rules import RULES
from outlive.lint.source import Unreadable

__all__ = ["RULES", "Edit", "Failure", "Finding", "Rule", "Unreadable", "check_source"]
