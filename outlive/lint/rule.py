"""A rule, and the matches that it yields."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import libcst as cst

    from outlive.lint.flow import Flow


@dataclass(frozen=True)
class Hit:
    """A rule holds at this node. `replacement` is a safe fix: the source to put in place of `node`."""

    node: cst.CSTNode
    message: str
    replacement: str | None = None


@dataclass(frozen=True)
class Rule:
    """One lifetime mistake.

    `check` names the function that finds it, as `module` or `module:function` of `outlive.lint.rules`: so the texts of
    all rules can be shown without importing the parser, which takes longer than everything else.
    """

    code: str
    name: str
    why: str
    fix: str
    check: str
    fixable: bool = False

    def hits(self, flow: Flow) -> Iterator[Hit]:
        """The places where the rule holds."""
        module, _, function = self.check.partition(":")
        found: Iterator[Hit] = getattr(importlib.import_module(f"outlive.lint.rules.{module}"), function or "check")(
            flow
        )
        return found
