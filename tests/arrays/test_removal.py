"""What is removed gives its memory back at once, whoever has it mapped, and however it goes."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays import warm
from outlive.arrays.disk import remove as remove_disk
from outlive.arrays.draft import Draft
from outlive.arrays.info import ArrayInfo, new_id
from outlive.arrays.reader import Reader
from outlive.arrays.removal import empty
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.fsck import clear_orphans
from outlive.arrays.writer import Writer, mapped
from outlive.store.own_cluster import remove_dead_clusters

SIZE = 8 << 20


@pytest.fixture
def mount() -> Iterator[Path]:
    """A file system of our own, so that nobody else's files change what it says of its room."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    if os.geteuid() or os.system(f"mount -t tmpfs -o size=256m,mode=0700 none {folder} 2>/dev/null"):
        folder.rmdir()
        pytest.skip("needs root, to mount a file system")
    yield folder
    os.system(f"umount -l {folder}")
    shutil.rmtree(folder, ignore_errors=True)


def used(mount: Path) -> int:
    """Bytes of memory that the file system takes, in units of half a segment."""
    system = os.statvfs(mount)
    return round((system.f_blocks - system.f_bfree) * system.f_frsize / (SIZE / 2))


def warm_segment(shelf: Shelf) -> ArrayInfo:
    """A deleted one, which this process has mapped to write it again."""
    warm._maps.clear()
    for value in (0, 1):
        info = Writer(shelf).put(np.full(SIZE, value, np.uint8))
        shelf.delete(info.id)
    assert len(warm._maps) == 1
    return info


def discard(shelf: Shelf, info: ArrayInfo) -> None:
    Draft.make(shelf, info).discard()


def fail_in_create(shelf: Shelf, info: ArrayInfo) -> None:
    draft = Draft.make(shelf, info)
    out = mapped(draft)
    draft.discard()
    out[:] = 1  # a view that the caller kept by mistake does no harm
    del out, draft


def die(shelf: Shelf, info: ArrayInfo) -> None:
    child = os.fork()
    if child == 0:
        draft = Draft.make(shelf, info)
        while draft.exists():
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert [one.problem for one in clear_orphans(shelf)] == ["abandoned"]


def trim(shelf: Shelf, _: ArrayInfo) -> None:
    shelf.pool.trim()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("how", [discard, fail_in_create, die, trim])
def test_a_draft_that_comes_to_nothing(mount: Path, how: Callable[[Shelf, ArrayInfo], None]) -> None:
    shelf = Shelf(f"{mount}/shelf", budget=128 << 20)
    info = warm_segment(shelf)
    assert used(mount) == 2
    how(shelf, info._replace(id=new_id("00" * 5)))
    assert used(mount) == 0 or how is fail_in_create
    warm._maps.clear()
    assert used(mount) == 0 == shelf.ledger.used


def test_a_draft_that_a_reader_seals_as_it_is_removed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead writer's call can reach the catalog late: then a reader seals the draft that the keeper discards."""
    draft = Writer(shelf).draft_of(np.ones(SIZE, np.uint8), key="k")
    draft.settled = True
    emptied = []

    def empty_late(fd: int) -> None:
        emptied.append(shelf.finish(draft.info.id, shelf.ledger.epoch))
        empty(fd)

    monkeypatch.setattr("outlive.arrays.removal.empty", empty_late)
    removed = shelf.delete_draft(draft.path)
    assert len(emptied) == 1, "nobody sealed it at the moment that this is about"
    assert shelf.has(draft.info.id) != removed
    if not removed:
        assert (Reader(shelf).view(draft.info) == 1).all()
    assert shelf.recount() == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_who_removes_a_draft_is_killed_while_emptying_it(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.fork()
    if child == 0:
        draft = Writer(shelf).draft_of(np.ones(SIZE, np.uint8), key="k")
        monkeypatch.setattr("outlive.arrays.removal.empty", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        while True:
            shelf.delete_draft(draft.path)
    os.waitpid(child, 0)
    assert shelf.ledger.used > 0, "it is still there, and counted"
    assert [one.problem for one in clear_orphans(shelf)] == ["abandoned"]
    assert shelf.ledger.used == shelf.recount() == 0


def test_a_draft_is_removed_where_a_file_system_has_no_room_for_another_name(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = Writer(shelf).draft_of(np.ones(SIZE, np.uint8), key="k")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("os.rename", refuse)
        assert shelf.delete_draft(draft.path)
    assert shelf.ledger.used == shelf.recount() == 0
    draft.settled = True


@pytest.mark.parametrize("what", ["shelf", "dead cluster", "disk"])
def test_a_folder(mount: Path, what: str) -> None:
    (mount / "root").mkdir(mode=0o700)
    (mount / "root/cluster").mkdir(mode=0o700)
    shelf = Shelf(f"{mount}/root/cluster/node", budget=128 << 20)
    warm_segment(shelf)
    kept = Writer(shelf).put(np.ones(SIZE, np.uint8))  # in the segment that is mapped
    view = Reader(shelf).view(Writer(shelf).put(np.full(SIZE, 2, np.uint8)))
    draft = Draft.make(shelf, kept._replace(id=new_id("00" * 5)))
    draft.close()
    draft.settled = True
    assert used(mount) == 4
    if what == "shelf":
        shelf.remove()
    elif what == "disk":
        remove_disk(shelf.path)
    else:
        (mount / "root/cluster/owner").touch(mode=0o600)
        assert remove_dead_clusters(str(mount / "root")) == ["cluster"]
    assert used(mount) == 2, "what is still read, and nothing else"
    assert (view == 2).all()
    del view
    assert used(mount) == 0


def test_a_map_that_is_written_slowly_stays(shelf: Shelf) -> None:
    """As a fetch writes it, a chunk at a time, while other threads write others."""
    shelf.ledger.budget = 1 << 30
    source = np.arange(SIZE // 8)
    infos = [Writer(shelf).put(source) for _ in range(12)]
    data = Path(shelf.mem, infos[0].id).read_bytes()
    for info in infos:
        shelf.delete(info.id)
    draft = Draft.make(shelf, infos[0])

    def chunks() -> Iterator[bytes]:
        yield data[: 1 << 20]
        for _ in range(9):
            Writer(shelf).put(source)
        yield data[1 << 20 :]

    draft.write_segment(chunks())
    draft.seal()
    assert (Reader(shelf).view(infos[0]) == source).all()


def test_all_modes_are_what_they_should_be_whatever_the_umask(tmp_path: Path) -> None:
    from outlive.arrays.root import private_folder
    from outlive.arrays.tend.adopt import sign

    before = os.umask(0)
    try:
        root = private_folder(f"{tmp_path}/a/b/root")
        shelf = Shelf(f"{root}/shelf", budget=64 << 20)
        shelf.spill_to(private_folder(f"{tmp_path}/c/disk"))
        shelf.ledger.disk.budget = 64 << 20
        Writer(shelf).put(np.ones(100_000))
        shelf.seal(Writer(shelf).draft_of(np.ones(5), key="k"))
        sign(shelf.path, "127.0.0.1:1", os.getpid())
    finally:
        os.umask(before)
    found = [path for path in tmp_path.rglob("*") if not path.is_symlink() and path.lstat().st_mode & 0o077]
    assert found == []
    with contextlib.suppress(OSError):
        shelf.remove()
