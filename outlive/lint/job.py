"""One source to lint, and what came out of it: what goes from process to process. Loads no parser."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from outlive.lint.finding import Failure, Finding


@dataclass(frozen=True)
class Job:
    """One source to lint. `path` is None for what is no file."""

    name: str
    data: bytes
    path: Path | None
    rules: Collection[str]
    fix: bool


@dataclass
class Outcome:
    """What came out. `data` is the source afterwards."""

    data: bytes
    findings: list[Finding] = field(default_factory=list)
    fixed: list[Finding] = field(default_factory=list)
    difference: str = ""
    failure: Failure | None = None
