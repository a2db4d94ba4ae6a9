"""Lint files: read, check, and if asked, fix each of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from outlive.lint import fixes
from outlive.lint.check import check_source
from outlive.lint.finding import Failure, Finding
from outlive.lint.source import Text, Unreadable, decode

STDIN = "-"
_NO_NOTEBOOKS = "notebooks are not linted; convert it first: jupyter nbconvert --to script"


@dataclass
class Report:
    """What came out."""

    findings: list[Finding] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    fixed: list[Finding] = field(default_factory=list)
    diffs: list[str] = field(default_factory=list)
    files: int = 0
    notebooks: int = 0
    output: bytes = b""  # the fixed source, of stdin

    @property
    def exit_code(self) -> int:
        """0 clean, 1 findings, 2 something could not be linted."""
        return 2 if self.failures else int(bool(self.findings))


def run(
    files: Sequence[Path],
    rules: Collection[str],
    *,
    fix: bool = False,
    stdin: bytes | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Report:
    """Lint `files`, and `stdin` if it is given.

    Parameters
    ----------
    fix
        Apply safe fixes to the files; for stdin, to `Report.output`.
    progress
        Called with the bytes linted so far, and all bytes.
    """
    report = Report()
    if stdin is not None:
        report.output = _one(report, STDIN, stdin, rules, None, fix=fix)
    sizes = [_size(path) for path in files]
    done = 0
    for path, size in zip(files, sizes, strict=True):
        progress(done, sum(sizes))
        data = _read(report, path)
        if data is not None:
            _one(report, str(path), data, rules, path, fix=fix)
        done += size
    return report


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(report: Report, path: Path) -> bytes | None:
    if path.suffix == ".ipynb":
        report.failures.append(Failure(str(path), 0, 0, _NO_NOTEBOOKS))
        return None
    try:
        if not (path.is_file() or path.is_fifo()) and path.exists():
            report.failures.append(Failure(str(path), 0, 0, "neither a file nor a directory"))
            return None
        return path.read_bytes()
    except OSError as error:
        report.failures.append(Failure(str(path), 0, 0, f"cannot be read: {(error.strerror or str(error)).lower()}"))
        return None


def _one(report: Report, name: str, data: bytes, rules: Collection[str], path: Path | None, *, fix: bool) -> bytes:
    """Lint one source. Returns it, fixed if asked."""
    report.files += 1
    try:
        text = decode(data)
        code = text.code
        if fix:
            code, applied = fixes.fixed(code, name, rules)
            if applied:
                data = _save(path, data, text, code)
                report.fixed += applied
                report.diffs.append(_difference(name, text.code, code))
        report.findings += check_source(code, name, rules)
    except Unreadable as error:
        report.failures.append(Failure(name, error.line, error.column, str(error)))
    except (OSError, UnicodeEncodeError) as error:
        report.failures.append(Failure(name, 0, 0, f"cannot be fixed: {error}"))
    return data


def _save(path: Path | None, before: bytes, text: Text, code: str) -> bytes:
    if path is not None:
        fixes.write(path, before, text, code)
    return text.encoded(code)


def _difference(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), name, name)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
