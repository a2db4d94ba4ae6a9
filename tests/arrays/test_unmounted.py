"""The file system that a shelf spills to is not mounted for a while: below its mount point nothing is made."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays import disk as disks
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import KEEPER
from outlive.arrays.reader import Reader
from outlive.arrays.settings import Settings, apply
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import spill
from outlive.arrays.tend.adopt import adopt
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer
from outlive.cluster.tending import Tending
from outlive.errors import ArrayNotFound, StoreFull

from .conftest import MIB
from .local_store import assert_counted

SAID = "the file system that it was made on is not mounted now"


class Mount:
    """A folder that a file system seems to be mounted at: its device has another number than what is below it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._aside, self.device = folder, folder.with_name("aside"), 1234
        self._patch, self._below = monkeypatch, disks.device_of
        folder.mkdir(mode=0o700)
        self._patch.setattr(disks, "device_of", lambda path: self.device)

    def unmount(self) -> None:
        self.folder.rename(self._aside)
        self.folder.mkdir(mode=0o700)
        self._patch.setattr(disks, "device_of", self._below)

    def mount(self, device: int = 1234) -> None:
        """Mount it again. A network's file system has another number then."""
        self.folder.rmdir()  # nothing was made below it
        self._aside.rename(self.folder)
        self.device = device
        self._patch.setattr(disks, "device_of", lambda path: self.device)


@pytest.fixture
def mount(root: Path, monkeypatch: pytest.MonkeyPatch) -> Mount:
    return Mount(root / "mount", monkeypatch)


@pytest.fixture
def shelf(root: Path, mount: Mount) -> Shelf:
    shelf = Shelf(str(root / "cluster" / "node"), budget=4 * MIB)
    apply(settings(mount), shelf, str(root), "cluster", "node")
    return shelf


def settings(mount: Mount) -> Settings:
    return Settings(4 * MIB, 64 * MIB, str(mount.folder))


def put(shelf: Shelf, value: int) -> ArrayInfo:
    return Writer(shelf).put(np.full(MIB, value, np.uint8))


def put_on_disk(shelf: Shelf, value: int) -> ArrayInfo:
    info = put(shelf, value)
    assert shelf.disk is not None
    assert spill(shelf, shelf.disk, info.id)
    return info


def test_nothing_goes_below_the_mount_point(shelf: Shelf, mount: Mount) -> None:
    """Arrays filled the root file system, and were not to be found once the disk was mounted again."""
    info = put_on_disk(shelf, 1)
    mount.unmount()
    with pytest.raises(ArrayNotFound, match="is that disk mounted"):
        Reader(shelf).view(info)
    kept = [put(shelf, value) for value in (2, 3)]
    with pytest.raises(StoreFull, match=f"Nothing is spilled to {shelf.disk and shelf.disk.path}, as {SAID}"):
        put(shelf, 4), put(shelf, 5)
    with pytest.raises(StoreFull, match=SAID):
        Writer(shelf).put(np.zeros(5 * MIB, np.uint8))
    assert [Reader(shelf).view(one)[0] for one in kept] == [2, 3]
    mount.mount()
    assert Reader(shelf).view(info)[0] == 1
    assert_counted(shelf)
    assert put(shelf, 6) and put(shelf, 7) and shelf.spilled() != [info.id]
    assert_counted(shelf)


@pytest.mark.parametrize("who", ["the keeper", "another process", "a program that names the folder", "check"])
def test_nobody_makes_folders_below_the_mount_point(shelf: Shelf, mount: Mount, root: Path, who: str) -> None:
    info = put_on_disk(shelf, 1)
    mount.unmount()
    if who == "the keeper":
        Tending(shelf, "node", None).trim()  # type: ignore[arg-type]
    elif who == "another process":
        other = Shelf(shelf.path)
        assert other.ids() == [] and not other.spills()
    elif who == "a program that names the folder":
        apply(settings(mount), Shelf(shelf.path), str(root), "cluster", "node")
    else:
        check(shelf)
    assert os.listdir(mount.folder) == []
    mount.mount()
    assert Reader(Shelf(shelf.path)).view(info)[0] == 1
    assert_counted(shelf)


def test_check_and_the_log_of_the_keeper_say_it(shelf: Shelf, mount: Mount, caplog: pytest.LogCaptureFixture) -> None:
    tending = Tending(shelf, "node", None)  # type: ignore[arg-type]
    put_on_disk(shelf, 1)
    assert shelf.disk is not None
    for _ in range(2):
        mount.unmount()
        with caplog.at_level(logging.WARNING):
            tending.trim()
            tending.trim()
        [defect] = check(shelf)
        assert (defect.problem, defect.subject, defect.mended) == ("unmounted", shelf.disk.path, False)
        assert SAID in defect.action
        mount.mount()
        tending.trim()
        assert check(shelf) == []
    assert [record.getMessage().count(SAID) for record in caplog.records] == [1, 1]


def test_a_network_s_file_system_has_another_number_each_time(shelf: Shelf, mount: Mount) -> None:
    info = put_on_disk(shelf, 1)
    mount.unmount()
    mount.mount(device=99)
    assert check(shelf) == []
    assert Reader(shelf).view(info)[0] == 1
    assert shelf.disk is not None
    shutil.rmtree(mount.folder / "cluster")  # it is still the same disk, and somebody cleared it
    put_on_disk(shelf, 2)


def test_the_disk_is_gone_for_good(shelf: Shelf, mount: Mount) -> None:
    """What `check` says to do is done."""
    put_on_disk(shelf, 1)
    mount.unmount()
    assert shelf.disk is not None
    path = Path(shelf.disk.path)
    with pytest.raises(ValueError, match="which is not mounted"):
        shelf.spill_to(f"{path}-2")
    path.parent.mkdir(mode=0o700)
    path.mkdir(mode=0o700)
    (path / "shelf").touch(0o600)
    assert [defect.problem for defect in check(shelf)] == ["miscounted"]
    info = put_on_disk(shelf, 2)
    assert Reader(shelf).view(info)[0] == 2
    assert_counted(shelf)


def test_the_shelf_of_a_removed_disk_goes(shelf: Shelf, mount: Mount) -> None:
    put_on_disk(shelf, 1)
    assert shelf.disk is not None
    shelf.remove()
    assert os.listdir(mount.folder) == []


@pytest.mark.parametrize("whose", ["the dead node's", "the new node's", "both"])
def test_a_dead_node_s_shelf_waits_for_the_disk(shelf: Shelf, mount: Mount, root: Path, whose: str) -> None:
    """It was removed, and nobody knew any more of the arrays on that disk."""
    kept, info = put(shelf, 1), put_on_disk(shelf, 2)
    Path(shelf.path, KEEPER).touch(0o600)
    new = Shelf(str(root / "cluster" / "new"), budget=8 * MIB)
    if whose != "the dead node's":
        new.spill_to(str(mount.folder / "cluster" / "new"))
        new.ledger.disk.budget = 64 * MIB
    mount.unmount()
    if whose == "the new node's":  # the other one spills elsewhere
        os.rename(mount._aside / "cluster" / "node", root / "there")
        disks.choose(shelf.path, str(root / "there"))
    assert [adopt(new, shelf.path, same_cluster=True) for _ in range(2)] == [1, 0]
    assert Reader(new).view(kept)[0] == 1
    mount.mount()
    assert adopt(new, shelf.path, same_cluster=True) == 1
    assert Reader(new).view(info)[0] == 2
    assert not os.path.exists(shelf.path)
    assert_counted(new)
