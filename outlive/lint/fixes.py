"""Applying safe fixes to the text, and to the file in one atomic step."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from outlive.lint.finding import Edit, Finding
from outlive.lint.linter import check_source, on_deep_stack
from outlive.lint.source import Source
from outlive.lint.text import Text, Unreadable

_ROUNDS = 10  # rounds: a fix may uncover another one; no rule needs more than two


class ChangedMeanwhile(OSError):
    """Another program changed the file while it was linted. The file was not touched: lint it again."""


def fixed(code: str, path: str, rules: Collection[str] | None = None) -> tuple[str, list[Finding]]:
    """`code` with all safe fixes applied, and the findings that were fixed.

    Applied to its own result it changes nothing. Raises `Unreadable` as `check_source` does.
    """
    applied: list[Finding] = []
    for _ in range(_ROUNDS):
        chosen = _disjoint(check_source(code, path, rules))
        edits = [finding.edit for finding in chosen if finding.edit is not None]
        changed = _apply(code, edits)
        if not edits or changed == code:
            break
        try:
            on_deep_stack(lambda changed=changed: Source(changed))  # type: ignore[misc]
        except Unreadable:  # a fix broke the source, which was never seen: drop the fix
            break
        code = changed
        applied += chosen
    return code, applied


def _disjoint(findings: Sequence[Finding]) -> list[Finding]:
    chosen: list[Finding] = []
    end = -1
    for finding in sorted((f for f in findings if f.edit is not None), key=lambda f: f.edit or Edit(0, 0, "")):
        if finding.edit is not None and finding.edit.start >= end:
            chosen.append(finding)
            end = finding.edit.end
    return chosen


def _apply(code: str, edits: Sequence[Edit]) -> str:
    for edit in sorted(edits, reverse=True):
        code = code[: edit.start] + edit.text + code[edit.end :]
    return code


def write(path: Path, before: bytes, text: Text, code: str) -> None:
    """Replace the content of a file in one step. A symbolic link stays one; mode, owner and extended attributes stay.

    Raises
    ------
    ChangedMeanwhile
        The content is no longer `before`.
    OSError
        The file cannot be written, or it has another name too (a hard link).
    """
    target = Path(os.path.realpath(path))
    data = text.encoded(code)
    about = target.stat()
    if not stat.S_ISREG(about.st_mode):  # a pipe has been read, and to read it again could wait for ever
        raise OSError(f"{path} is no regular file")
    if about.st_nlink > 1:
        # A new file would part the names. Written in place, the source would be lost if this process died in the
        # middle; and the other name may be a file that must not change, as in the cache of a package manager.
        raise OSError(f"{path} has another name too (a hard link): mend it by hand, or lint a copy of it")
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".outlive", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            with contextlib.suppress(PermissionError):  # else what root mends would be root's
                os.fchown(file.fileno(), about.st_uid, about.st_gid)
            os.fchmod(file.fileno(), about.st_mode & 0o7777)
            _copy_attributes(target, file.fileno())
            os.fsync(file.fileno())
        if target.read_bytes() != before:
            raise ChangedMeanwhile(f"{path} was changed meanwhile; it was not touched")
        if not os.access(target, os.W_OK):
            raise PermissionError(13, "Permission denied", str(path))
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _copy_attributes(source: Path, target: int) -> None:
    """Give an open file the extended attributes (an ACL is one) of another, but those that the system refuses."""
    with contextlib.suppress(OSError):  # the filesystem has none
        for name in os.listxattr(source):
            with contextlib.suppress(OSError):
                os.setxattr(target, name, os.getxattr(source, name))
