"""One source to lint, and its outcome: the values that travel between processes. This module loads no parser."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from outlive.lint.finding import Failure, Finding


@dataclass(frozen=True)
class Job:
    """One source to lint. `path` is None if it is not a file."""

    name: str
    data: bytes
    path: Path | None
    rules: Collection[str]
    fix: bool


@dataclass
class Outcome:
    """The outcome. `data` is the source afterwards."""

    data: bytes
    findings: list[Finding] = field(default_factory=list)
    fixed: list[Finding] = field(default_factory=list)
    difference: str = ""
    failure: Failure | None = None
