"""An archive in a folder.

manifest.json    replaced by rename(2), under the lock
arrays/          the files; each is written to partial/ first, synced, and renamed
partial/         files that are being written, and the marks of saves: locked by their writers, so what is not locked is
                 a dead one's
lock             locked by who replaces the manifest

A copy may lack the last two, and other programs may have left files beside them: only the manifest says what belongs to
the archive.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator
from io import FileIO

from outlive.archive import manifest
from outlive.archive.names import FOLDER
from outlive.archive.place import Piece, Place
from outlive.arrays.lock import is_at, try_lock
from outlive.errors import ArchiveUnavailable, CorruptArchive

_PARTIAL, _LOCK, _MARK = "partial", "lock", ".mark"
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe must not block
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_CANNOT = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}
"""The file system has no such call: locks on Lustre, as many mount it, and folders that are synced on some others."""
_OLD = 24 * 3600.0
"""Seconds after which a mark that is not locked is a dead saver's: earlier versions do not lock theirs."""
_PATIENCE, _PAUSE = 60.0, 0.01  # seconds to wait for the lock, and between two tries
_LINK = "copy the archive with what its links lead to, as by cp -rL or rsync -L"


class Folder(Place):
    """A folder of the file system. Everybody who reads it needs to see the same one, at the same path."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._marks: dict[str, FileIO] = {}  # of this process, locked

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        return Folder, (self.url,)

    def mark(self) -> str:
        for folder in (FOLDER, _PARTIAL):
            _make_folder(f"{self.url}/{folder}")
        self._sweep()
        name = f"{os.urandom(16).hex()}{_MARK}"
        file = FileIO(os.open(f"{self.url}/{_PARTIAL}/{name}", _MAKE, 0o666), "wb")
        _lock(file)
        self._marks[name] = file
        return name

    def sees(self, mark: str) -> bool:
        return not mark or os.path.lexists(f"{self.url}/{_PARTIAL}/{mark}")

    def unmark(self, mark: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.url}/{_PARTIAL}/{mark}")
        if (file := self._marks.pop(mark, None)) is not None:
            file.close()

    def sizes(self) -> dict[str, int]:
        found = {}
        for folder, _, names in os.walk(f"{self.url}/{FOLDER}"):
            for name in names:
                path = f"{folder}/{name}"
                with contextlib.suppress(FileNotFoundError):
                    status = os.lstat(path)
                    if stat.S_ISREG(status.st_mode):
                        found[os.path.relpath(path, self.url)] = status.st_size
        return found

    def has(self, name: str, nbytes: int) -> bool:
        try:
            status = os.lstat(self._path(name))  # upper and lower case may be the same here
        except (OSError, CorruptArchive):
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == nbytes

    def write(self, name: str, pieces: Iterable[Piece], nbytes: int) -> None:
        target = self._path(name)
        _make_folder(os.path.dirname(target))
        with self._partial() as (path, file):
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
            if os.fstat(file.fileno()).st_size != nbytes:
                raise AssertionError(f"{name} has not {nbytes} bytes")
            self._put(path, file, target)

    @contextlib.contextmanager
    def read(self, name: str) -> Iterator[_FolderReader]:
        with _opened(self._path(name)) as file:
            yield _FolderReader(file)

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError, CorruptArchive):
                os.unlink(self._path(name))

    def text(self) -> tuple[bytes, bytes] | None:
        try:
            with _opened(f"{self.url}/{manifest.NAME}") as file:
                data = file.read(manifest.LARGEST + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(data) > manifest.LARGEST:
            raise CorruptArchive(f"{self.url}/{manifest.NAME} is too large for a manifest")
        return data, data

    def replace(self, data: bytes, before: bytes | None) -> bool:
        with self._locked():
            there = self.text()
            if (None if there is None else there[1]) != before:
                return False
            with self._partial() as (path, file):
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                self._put(path, file, f"{self.url}/{manifest.NAME}")
            return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else replaces the manifest meanwhile. Raises ArchiveUnavailable."""
        path, how = f"{self.url}/{_LOCK}", os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | how, 0o666), "r+b")
        except PermissionError:  # another user's, or copied from a medium whose files may be read only
            file = FileIO(os.open(path, os.O_RDONLY | how), "rb")
        except OSError as error:
            raise _as_link(error, path) from None
        with file:
            self._wait_for(file)
            try:
                yield
            finally:
                fcntl.flock(file.fileno(), fcntl.LOCK_UN)  # a child that was forked meanwhile has the file too

    def _wait_for(self, lock: FileIO) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                if try_lock(lock):
                    return
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                raise ArchiveUnavailable(
                    f"{self.url} is on a file system without locks ({error.strerror}), and the manifest is replaced "
                    "under one. Nothing was changed: mount it with them (on Lustre: -o flock), or save to another"
                ) from None
            if time.monotonic() > deadline:
                raise ArchiveUnavailable(
                    f"{self.url}/{_LOCK} is locked by another process for {_PATIENCE:.0f} s now, which is stopped "
                    "or hangs. Nothing was changed: look which (lslocks), and save again"
                )
            time.sleep(_PAUSE)

    @contextlib.contextmanager
    def _partial(self) -> Iterator[tuple[str, FileIO]]:
        """A new file, locked. It is gone after the block, unless it got another name."""
        while True:
            path = f"{self.url}/{_PARTIAL}/{os.urandom(16).hex()}"
            try:
                file = FileIO(os.open(path, _MAKE, 0o666), "wb")
            except FileNotFoundError:  # copies may lack a folder that is empty
                _make_folder(os.path.dirname(path))
                file = FileIO(os.open(path, _MAKE, 0o666), "wb")
            with file:
                if _lock(file) and not is_at(path, file.fileno()):  # before that, it was taken for a dead writer's
                    continue
                try:
                    yield path, file
                finally:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
                return

    def _path(self, name: str) -> str:
        """The path of a file. Raises CorruptArchive if a link on the way leads out of the archive."""
        folder = os.path.dirname(name)
        if os.path.realpath(f"{self.url}/{folder}") != f"{os.path.realpath(self.url)}/{folder}":
            raise CorruptArchive(f"{self.url}/{name} is outside the archive: a folder on the way is a link. {_LINK}")
        return f"{self.url}/{name}"

    @staticmethod
    def _put(path: str, file: FileIO, target: str) -> None:
        """Give a whole file its name. Both survive a power cut."""
        os.fsync(file.fileno())
        os.rename(path, target)
        _sync_folder(os.path.dirname(target))

    def _sweep(self) -> None:
        """Remove what killed writers have left."""
        for entry in os.scandir(f"{self.url}/{_PARTIAL}"):
            if not entry.is_file(follow_symlinks=False) or (entry.name.endswith(_MARK) and not _is_old(entry)):
                continue
            with contextlib.suppress(OSError), FileIO(os.open(entry.path, _OPEN), "rb") as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)


def _opened(path: str) -> FileIO:
    """Open a file, and nothing else, to read it. Raises CorruptArchive."""
    try:
        file = FileIO(os.open(path, _OPEN), "rb")
    except OSError as error:
        raise _as_link(error, path) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise CorruptArchive(f"{path} is no file")
    return file


def _as_link(error: OSError, path: str) -> Exception:
    """The error to raise for a file that was not opened."""
    if error.errno != errno.ELOOP:
        return error
    return CorruptArchive(f"{path} is a link, and no file of an archive. {_LINK}")


def _lock(file: FileIO) -> bool:
    """Lock a new file; False if its file system has no locks: then nobody takes it for a dead writer's either."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    return True


def _is_old(mark: os.DirEntry[str]) -> bool:
    try:
        return time.time() - mark.stat(follow_symlinks=False).st_mtime > _OLD
    except FileNotFoundError:
        return False


def _make_folder(path: str) -> None:
    """Make a folder, and those above it. They survive a power cut."""
    while True:
        try:
            os.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
        except FileNotFoundError:
            _make_folder(os.path.dirname(path))
            continue
        else:
            _sync_folder(os.path.dirname(path))
        return


def _sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    finally:
        os.close(folder)


class _FolderReader:
    def __init__(self, file: FileIO) -> None:
        self._file, self.size = file, os.fstat(file.fileno()).st_size

    def read_into(self, target: memoryview) -> int:
        done = 0
        while done < len(target) and (count := self._file.readinto(target[done:])):
            done += count
        return done
