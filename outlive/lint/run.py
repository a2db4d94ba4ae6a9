"""Linting files: those that mention Ray are linted, in several processes if there are many."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from outlive.lint import processes
from outlive.lint.finding import Failure, Finding
from outlive.lint.job import Job, Outcome
from outlive.lint.text import concerns_ray

STDIN = "-"
_NO_NOTEBOOKS = "notebooks are not linted; convert it first: jupyter nbconvert --to script"


@dataclass
class Report:
    """The outcome of a run."""

    findings: list[Finding] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    fixed: list[Finding] = field(default_factory=list)
    diffs: list[str] = field(default_factory=list)
    files: int = 0
    notebooks: int = 0
    output: bytes = b""  # the fixed source, of stdin

    @property
    def exit_code(self) -> int:
        """The exit code: 0 clean, 1 findings, 2 a file could not be linted."""
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
        Called with the bytes linted so far, and all bytes that are to be linted.
    """
    report = Report(output=stdin or b"")
    jobs = [Job(name, data, path, rules, fix) for name, data, path in _sources(report, files, stdin)]
    total, done = sum(len(job.data) for job in jobs), 0
    results: dict[int, Outcome] = {}
    progress(0, total)
    for number, result in _outcomes(jobs):
        results[number] = result
        done += len(jobs[number].data)
        progress(done, total)
    for number in sorted(results):
        _add(report, jobs[number], results[number])
    return report


def _sources(report: Report, files: Sequence[Path], stdin: bytes | None) -> list[tuple[str, bytes, Path | None]]:
    """Name, content and path of the sources that mention Ray. The others are only counted."""
    sources: list[tuple[str, bytes, Path | None]] = []
    if stdin is not None:
        report.files += 1
        if concerns_ray(stdin):
            sources.append((STDIN, stdin, None))
    for path in files:
        data = _read(report, path)
        report.files += data is not None
        if data is not None and concerns_ray(data):
            sources.append((str(path), data, path))
    return sources


def _outcomes(jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
    several = processes.wanted(jobs)
    if several > 1:
        yield from processes.outcomes(jobs, several)
    elif jobs:
        from outlive.lint.one import lint_one  # loads the parser

        yield from ((number, lint_one(job)) for number, job in enumerate(jobs))


def _add(report: Report, job: Job, result: Outcome) -> None:
    report.findings += result.findings
    report.fixed += result.fixed
    if result.difference:
        report.diffs.append(result.difference)
    if result.failure is not None:
        report.failures.append(result.failure)
    if job.path is None:
        report.output = result.data


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
