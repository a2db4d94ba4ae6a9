"""Lint one source, and fix it. Loads the parser."""

from __future__ import annotations

import difflib

from outlive.lint import fixes
from outlive.lint.finding import Failure
from outlive.lint.job import Job, Outcome
from outlive.lint.linter import check_source
from outlive.lint.text import Text, Unreadable, decode


def lint_one(job: Job) -> Outcome:
    """Lint one source, and fix it if `job.fix`. No source makes it raise."""
    result = Outcome(job.data)
    try:
        text = decode(job.data)
        code = text.code
        if job.fix:
            code, applied = fixes.fixed(code, job.name, job.rules)
            if applied:
                result.data = _save(job, text, code)
                result.fixed = applied
                result.difference = _difference(job.name, text.code, code)
        result.findings = check_source(code, job.name, job.rules)
    except Unreadable as error:
        result.failure = Failure(job.name, error.line, error.column, str(error))
    except (OSError, UnicodeEncodeError) as error:
        result.failure = Failure(job.name, 0, 0, f"cannot be fixed: {error}")
    return result


def _save(job: Job, text: Text, code: str) -> bytes:
    if text.encoded(text.code) != job.data:
        raise OSError(f"to write it in its encoding, {text.encoding}, would change the rest of it")
    if job.path is not None:
        fixes.write(job.path, job.data, text, code)
    return text.encoded(code)


def _difference(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), name, name)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
