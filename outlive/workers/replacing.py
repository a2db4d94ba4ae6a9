"""Replacing the content of a user's file, in one step where possible."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Replace the content of a file: by a new file beside it, with the same owner and mode, that is renamed.

    A file with several names, a file that is a mount by itself (as Docker's `-v file:file`), and one in a folder where
    nothing may be created are written in place.

    Raises
    ------
    OSError
        There is no room, or no permission. If a new file could be made, the old one is unchanged.
    """
    path = Path(os.path.realpath(path))
    about = path.stat()
    name = _beside(path) if about.st_nlink == 1 else None
    if name is None:
        _in_place(path, content)
        return
    try:
        with name.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        same = _take_over(name, about)
        if same:
            same = _rename(name, path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    if not same:
        name.unlink(missing_ok=True)
        _in_place(path, content)


def _beside(path: Path) -> Path | None:
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except PermissionError:
        return None
    os.close(handle)
    return Path(name)


def _take_over(name: Path, about: os.stat_result) -> bool:
    """Give the new file the owner and the mode of the old one, if this process may do that."""
    try:
        os.chown(name, about.st_uid, about.st_gid)
    except PermissionError:
        return False
    name.chmod(about.st_mode & 0o7777)
    return True


def _rename(name: Path, path: Path) -> bool:
    try:
        name.replace(path)
    except OSError:  # EBUSY: a mount by itself; EPERM: a sticky folder
        return False
    return True


def _in_place(path: Path, content: bytes) -> None:
    with path.open("r+b") as out:
        out.write(content)
        out.truncate()
        out.flush()
        os.fsync(out.fileno())
