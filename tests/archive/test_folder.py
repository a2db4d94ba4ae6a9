"""A folder: whole files or none, whoever is killed, and nothing outside it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import pickle
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.archive.files import File, bad, fill
from outlive.archive.folder import Folder
from outlive.archive.manifest import Entry, Manifest
from outlive.archive.opening import place_of
from outlive.archive.place import marked
from outlive.arrays import segment
from outlive.arrays.dtypes import encode_dtype
from outlive.errors import ArchiveNotFound, ArchiveUnavailable, CorruptArchive

Array = np.ndarray[Any, Any]
NOBODY = 65534
ARRAYS = [np.arange(6.0).reshape(2, 3), np.zeros((0, 3)), np.array(7, ">i2"), np.asfortranarray(np.ones((3, 4), "<c8"))]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    place = place_of(tmp_path / "archive")
    assert isinstance(place, Folder)
    with marked(place):
        return place


def file_of(array: Array, key: str) -> File:
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    dtype = encode_dtype(array.dtype)
    return File.of(
        segment.describe(dtype, array.shape, array.nbytes, fortran=fortran, store="s", key=key, version=1), array
    )


def written(place: Folder, array: Array, key: str = "a/b") -> Entry:
    file = file_of(array, key)
    return file.entry._replace(sha256=file.write(place))


def read(place: Folder, entry: Entry) -> Array:
    like = np.empty(entry.shape, "<c8" if entry.order == "F" else eval(entry.dtype), entry.order)  # type: ignore[call-overload]
    return fill(place, entry, lambda: like)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_files_are_plain_npy_and_are_read_back(folder: Folder, array: Array) -> None:
    entry = written(folder, array)
    for found in (np.load(f"{folder}/{entry.file}"), read(folder, entry)):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
    assert folder.sizes() == {entry.file: entry.bytes}


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_headers_of_other_programs_are_read_too(folder: Folder, version: tuple[int, int]) -> None:
    """A file that was written again by NumPy: the header has the same meaning, and other bytes."""
    entry = written(folder, ARRAYS[0])
    with open(f"{folder}/{entry.file}", "wb") as file:
        np.lib.format.write_array(file, ARRAYS[0], version)
    data = Path(f"{folder}/{entry.file}").read_bytes()
    entry = entry._replace(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    assert np.array_equal(read(folder, entry), ARRAYS[0])


LIES: dict[str, Callable[[Entry], Entry]] = {
    "size": lambda one: one._replace(bytes=one.bytes + 8, shape=(7,)),
    "shape": lambda one: one._replace(shape=(3, 2)),
    "order": lambda one: one._replace(order="F"),
    "dtype": lambda one: one._replace(dtype="'<i8'"),
    "header": lambda one: one._replace(shape=(1,)),
    "checksum": lambda one: one._replace(sha256="0" * 64),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_lies_of_a_file_is_an_error(folder: Folder, lie: str) -> None:
    entry = LIES[lie](written(folder, ARRAYS[0]))
    with pytest.raises(CorruptArchive, match="a/b"):
        read(folder, entry)


def test_bytes_that_changed_are_an_error(folder: Folder) -> None:
    entry = written(folder, ARRAYS[0])
    with open(f"{folder}/{entry.file}", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    with pytest.raises(CorruptArchive, match="SHA-256"):
        read(folder, entry)


@pytest.mark.parametrize("place", ["file", "folder", "pipe", "manifest"])
def test_links_and_pipes_are_refused(folder: Folder, tmp_path: Path, place: str) -> None:
    entry = written(folder, ARRAYS[0])
    path = Path(f"{folder}/{entry.file}")
    if place == "folder":
        shutil.move(path.parent, tmp_path / "outside")
        path.parent.symlink_to(tmp_path / "outside")
        folder.delete([entry.file])
        assert os.listdir(tmp_path / "outside"), "deleted outside the archive"
        with pytest.raises(CorruptArchive):
            written(folder, ARRAYS[1])
    elif place == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif place == "manifest":
        os.symlink(path, f"{folder}/manifest.json")
        with pytest.raises(CorruptArchive, match="link"):
            folder.manifest()
        return
    else:
        shutil.move(path, tmp_path / "outside")
        path.symlink_to(tmp_path / "outside")
    with pytest.raises(CorruptArchive):
        read(folder, entry)


def test_without_a_manifest_there_is_no_archive(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / "none/of/it"):
        with pytest.raises(ArchiveNotFound, match="nothing was saved"):
            place_of(path).existing()


def test_of_two_that_replace_the_manifest_one_is_told(folder: Folder) -> None:
    one, other = Manifest("one", {}).to_json(), Manifest("other", {}).to_json()
    assert folder.replace(one, None)
    assert not folder.replace(other, None)
    assert folder.existing().store == "one"
    assert folder.replace(other, one)
    assert folder.existing().store == "other"


def test_a_mark_is_seen_in_the_same_folder_only(folder: Folder, tmp_path: Path) -> None:
    with marked(folder) as mark:
        assert folder.sees(mark)
        assert not Folder(str(tmp_path / "other")).sees(mark)
    assert not folder.sees(mark)
    assert folder.sees("")


def _make_old(folder: Folder, mark: str) -> None:
    os.utime(f"{folder}/partial/{mark}", (1.0, 1.0))


def test_a_killed_save_s_mark_is_cleared_away_by_a_later_one(folder: Folder) -> None:
    child = os.fork()
    if not child:
        folder.mark()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = os.listdir(f"{folder}/partial")
    _make_old(folder, left)
    with marked(folder) as mark:
        assert os.listdir(f"{folder}/partial") == [mark]


def test_the_mark_of_a_save_that_goes_on_stays(folder: Folder) -> None:
    with marked(folder) as long, marked(pickle.loads(pickle.dumps(folder))) as other:
        _make_old(folder, long)
        with marked(Folder(folder.url)):
            assert folder.sees(long) and folder.sees(other)


def test_an_earlier_version_s_mark_is_not_locked_and_stays_while_it_is_new(folder: Folder) -> None:
    open(f"{folder}/partial/{'0' * 32}.mark", "x").close()
    with marked(folder):
        assert folder.sees(f"{'0' * 32}.mark")
    _make_old(folder, f"{'0' * 32}.mark")
    with marked(folder):
        assert not folder.sees(f"{'0' * 32}.mark")


@pytest.mark.parametrize("url", ["file://host/x", "", "a\0b", b"bytes"])
def test_what_is_no_path_is_refused(url: Any) -> None:
    with pytest.raises(ValueError, match=r"path|slashes"):
        place_of(url)


@pytest.mark.parametrize("url", ["s3:/bucket/x", "s3:bucket", "://x", Path("s3://bucket/x"), "file:/x", "GS:/x"])
def test_a_url_with_a_slash_too_few_is_no_folder(url: Any) -> None:
    with pytest.raises(ValueError, match="write s3://bucket/name"):
        place_of(url)


def test_a_folder_has_no_options(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        place_of(tmp_path, {"region": "us-east-1"})
    assert place_of(tmp_path, {}).url == str(tmp_path)


def test_file_urls(tmp_path: Path) -> None:
    assert place_of(f"file://{tmp_path}/a%20b").url == f"{tmp_path}/a b"
    assert place_of("relative").url == f"{os.getcwd()}/relative"


@pytest.fixture
def user() -> Iterator[Path]:
    """A folder of a user who is not root, as whom the test goes on."""
    path = Path(tempfile.mkdtemp())
    if not os.geteuid():
        os.chown(path, *[NOBODY] * 2)
    "".encode("utf-8-sig")  # read by a Python whose files another user may not see
    with contextlib.ExitStack() as end:
        end.callback(shutil.rmtree, path)
        if not os.geteuid():
            os.seteuid(NOBODY)
            end.callback(os.seteuid, 0)
        yield path


def without_empty_folders(path: Path) -> None:
    for folder in [one for one in path.rglob("*") if one.is_dir() and not any(one.iterdir())]:
        folder.rmdir()


def with_files_of_others(path: Path) -> None:
    for name in (".DS_Store", "arrays/.DS_Store", "arrays/b/._c.npy", "arrays/Thumbs.db", "partial/x", "@eaDir/y"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(b"x")


def by_git(path: Path) -> None:
    """Other modes, no empty files or folders, and other ends of lines."""
    without_empty_folders(path)
    (path / "lock").unlink()
    text = (path / "manifest.json").read_bytes()
    (path / "manifest.json").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))


def read_only_files(path: Path) -> None:
    for one in path.rglob("*"):
        if one.is_file():
            one.chmod(0o444)


def of_another_time(path: Path) -> None:
    for one in [path, *path.rglob("*")]:
        os.utime(one, (2e9, 2e9))


def linked_as_a_whole(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def hard_linked(path: Path) -> None:
    """As snapshots by rsync --link-dest are: no file may change."""
    shutil.copytree(path, path.with_name("snapshot"), copy_function=os.link)


CHANGES: list[Callable[[Path], None]] = [
    without_empty_folders, with_files_of_others, by_git, read_only_files, of_another_time, linked_as_a_whole,
    hard_linked,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_archive_is_read_and_saved_to_after_what_other_programs_do_to_it(
    user: Path, change: Callable[[Path], None]
) -> None:
    _save(place_of(user / "archive"), 1)  # type: ignore[arg-type]
    change(user / "archive")
    place = Folder(str(user / "archive"))
    entries = place.existing().entries
    assert [read(place, one)[0] for one in entries.values()] == [1, 1]
    others = {name: size for name, size in place.sizes().items() if name not in {one.file for one in entries.values()}}
    before = _contents(user / "snapshot")
    found = place.manifest()
    assert found is not None
    assert place.replace(found[0].to_json(), found[1]), "without a mark, as a save does that only drops keys"
    _save(place, 2)
    _save(place, 3)
    entries = place.existing().entries
    assert [read(place, one)[0] for one in entries.values()] == [3, 3]
    assert others.items() <= place.sizes().items()
    assert _contents(user / "snapshot") == before


def _contents(path: Path) -> dict[str, bytes]:
    return {str(one): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def test_a_folder_where_one_may_not_write_is_read_and_an_error_to_a_save(user: Path) -> None:
    _save(Folder(f"{user}/archive"), 1)
    place = Folder(f"{user}/archive")
    for one in [user / "archive", *(user / "archive").rglob("*")]:
        one.chmod(0o555 if one.is_dir() else 0o444)
    try:
        assert [read(place, one)[0] for one in place.existing().entries.values()] == [1, 1]
        with pytest.raises(PermissionError):
            _save(place, 2)
        assert place.existing().entries["a"].version == 1
    finally:
        for one in [user / "archive", *(user / "archive").rglob("*")]:
            one.chmod(0o755)


def test_a_folder_that_is_a_link_gets_no_folders_outside(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    Path(f"{folder}/arrays/a").symlink_to(tmp_path / "outside")
    with pytest.raises(CorruptArchive, match="-L"):
        written(folder, ARRAYS[0], "a/b/c")
    Path(f"{folder}/lock").symlink_to(tmp_path / "outside" / "lock")
    with pytest.raises(CorruptArchive, match="link"):
        folder.replace(b"{}", None)
    assert not list((tmp_path / "outside").iterdir())


def test_a_file_system_without_locks_is_an_error_that_says_so(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    entry = written(folder, ARRAYS[0])
    with pytest.raises(ArchiveUnavailable, match="without locks.*-o flock"):
        folder.replace(Manifest("s", {"a/b": entry}).to_json(), None)
    assert not os.listdir(f"{folder}/partial")


def test_a_process_that_is_stopped_with_the_lock_is_an_error_that_says_so(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlive.archive.folder._PATIENCE", 0.0)
    with open(f"{folder}/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ArchiveUnavailable, match="lock is locked"):
            folder.replace(b"{}", None)
    assert folder.replace(b"{}", None)


def _save(place: Folder, step: int) -> None:
    """As a save does it: a mark, files, the manifest, and what it superseded."""
    with marked(place):
        found = place.manifest()
        there, before = (Manifest("s", {}), None) if found is None else found
        saved = {}
        for key in ("a", "b/c"):
            saved[key] = written(place, np.full(1000, step), key)._replace(version=step)
        after = there.changed(saved, [], there.entries, "s")
        assert place.replace(after.to_json(), before)
        place.delete(there.superseded - after.superseded)


def _killed_at(place: Folder, step: int, call: int) -> bool:
    """Save in a child that is killed at its n-th call of a function of C. Whether it was."""
    child = os.fork()
    if not child:
        left = call

        def count(frame: Any, event: str, function: Any) -> None:
            nonlocal left
            if event == "c_call" and getattr(function, "__module__", "") in ("posix", "fcntl", "_io", None):
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        _save(place, step)
        sys.setprofile(None)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


def test_readers_see_the_archive_before_or_after_whenever_the_saver_is_killed(folder: Folder) -> None:
    _save(folder, 0)
    call, step, seen = 1, 1, {"before": 0, "after": 0}
    while True:
        was = folder.existing()
        killed = _killed_at(folder, step, call)
        for name in os.listdir(f"{folder}/partial"):
            _make_old(folder, name)
        now = folder.existing()
        values = {key: int(read(folder, entry)[0]) for key, entry in now.entries.items()}
        assert values["a"] == values["b/c"], "half of a save is seen"
        for entry in was.entries.values():
            read(folder, entry)  # a reader that has the manifest before still finds its files
        seen["before" if now == was else "after"] += 1
        if not killed:
            break
        call, step = call + 3, step + 1
    assert min(seen.values()) > 0
    _save(folder, step + 1)
    assert not os.listdir(f"{folder}/partial"), "litter of the killed"


def test_the_error_says_where(folder: Folder) -> None:
    entry = written(folder, ARRAYS[0])
    assert f"{folder}/arrays/a/b." in str(bad(folder, entry, "x"))
