"""What a rule is, and what it yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    """One lifetime mistake."""

    code: str
    name: str
    why: str
    fix: str
    check: Callable[[Flow], Iterator[Hit]]
    fixable: bool = False
