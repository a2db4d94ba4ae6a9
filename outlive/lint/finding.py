"""The findings of lint."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Edit:
    """Replace `code[start:end]` by `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, order=True)
class Finding:
    """One place where a rule holds. Lines and columns count from 1, columns in characters; the end is exclusive."""

    path: str
    line: int
    column: int
    code: str
    end_line: int
    end_column: int
    name: str
    message: str
    why: str
    fix: str
    edit: Edit | None = None


@dataclass(frozen=True, order=True)
class Failure:
    """A file that could not be linted, and why. Line 0: all of it."""

    path: str
    line: int
    column: int
    message: str
