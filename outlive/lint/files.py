"""The files that a path stands for."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SUFFIXES = (".py", ".pyi")
_SKIPPED = frozenset(
    {"node_modules", "venv", "__pycache__", "__pypackages__", "site-packages", "buck-out", "_build", "build", "dist"}
)


@dataclass
class Found:
    """The files to lint, in order and each once, and the folders that were left out."""

    files: list[Path] = field(default_factory=list)
    notebooks: int = 0
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


def find(paths: Iterable[Path], exclude: Sequence[str] = ()) -> Found:
    """All Python files in these files and directories.

    A file that is named itself is always taken. In directories, these are skipped unless they are named themselves:
    hidden ones, virtual environments, `node_modules`, build products and `site-packages`.

    Parameters
    ----------
    exclude
        Patterns as in a shell, for a name or for a path below the current directory.
    """
    found, seen = Found(), set()
    for path in paths:
        for file in _below(path, exclude, found) if path.is_dir() else [path]:
            identity = os.path.realpath(file)
            if identity not in seen:
                seen.add(identity)
                found.files.append(file)
    return found


def _below(top: Path, exclude: Sequence[str], found: Found) -> Iterator[Path]:
    def refused(error: OSError) -> None:
        found.unreadable.append((Path(error.filename or top), error.strerror or str(error)))

    for folder, folders, files in os.walk(top, onerror=refused):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not _skips(here / name) and not _excluded(here / name, exclude))
        for name in sorted(files):
            if name.startswith(".") or _excluded(here / name, exclude):
                continue
            if name.endswith(_SUFFIXES):
                yield here / name
            elif name.endswith(".ipynb"):
                found.notebooks += 1


def _skips(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in _SKIPPED or (folder / "pyvenv.cfg").exists()


def _excluded(path: Path, patterns: Sequence[str]) -> bool:
    if not patterns:
        return False
    relative = Path(os.path.relpath(path)).as_posix()
    return any(
        fnmatch.fnmatch(path.name, pattern) or fnmatch.fnmatch(relative, pattern) or relative.startswith(f"{pattern}/")
        for pattern in (pattern.rstrip("/") for pattern in patterns)
    )
