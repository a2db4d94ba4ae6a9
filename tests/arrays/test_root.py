"""Where the shelves of a node are, who may enter, how much they may hold."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from outlive.arrays import root as roots
from outlive.arrays.root import default_budget, default_root, private_folder
from outlive.arrays.shelf import Shelf
from outlive.errors import UnsafeRoot

GIB = 1 << 30


# --- the root folder


def shared_memory_of(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.delenv("OUTLIVE_ROOT", raising=False)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_blocks=size // 4096, f_frsize=4096, f_bavail=0))
    monkeypatch.setattr(os, "access", lambda *_: True)


def test_in_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_memory_of(monkeypatch, GIB)
    assert default_root() == (f"/dev/shm/outlive-{os.geteuid()}", None)


def test_tiny_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker's."""
    shared_memory_of(monkeypatch, 64 << 20)
    path, reason = default_root()
    assert path == f"{tempfile.gettempdir()}/outlive-{os.geteuid()}"
    assert reason is not None
    assert "64 MiB" in reason
    assert "--shm-size" in reason


def test_shared_memory_that_this_user_may_not_write_to(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_memory_of(monkeypatch, GIB)
    monkeypatch.setattr(os, "access", lambda *_: False)
    path, reason = default_root()
    assert path.startswith(tempfile.gettempdir())
    assert reason is not None
    assert "may not write to /dev/shm" in reason
    assert "MiB" not in reason, "there is enough"


def test_no_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTLIVE_ROOT", raising=False)
    monkeypatch.setattr(roots, "SHARED_MEMORY", "/nowhere/shm")
    path, reason = default_root()
    assert path.startswith(tempfile.gettempdir())
    assert reason == "this system has no /nowhere/shm"


def test_chosen_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OUTLIVE_ROOT", "here")
    monkeypatch.chdir(tmp_path)
    assert default_root() == (str(tmp_path / "here"), None)


# --- who may enter


def test_made_private_whatever_the_umask(root: Path) -> None:
    before = os.umask(0)
    try:
        shelf = Shelf(str(root / "a" / "shelf"))
    finally:
        os.umask(before)
    for path in (root / "a", root / "a" / "shelf", Path(shelf.mem), Path(shelf.new)):
        assert path.stat().st_mode & 0o777 == 0o700
    assert Path(shelf.path, "ledger").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o755, 0o701, 0o710, 0o770, 0o777, 0o1777, 0o704])
@pytest.mark.parametrize("folder", ["", "mem", "new"])
def test_open_to_others(root: Path, mode: int, folder: str) -> None:
    Shelf(str(root / "shelf"))
    (root / "shelf" / folder).chmod(mode)
    with pytest.raises(UnsafeRoot, match="chmod 700") as caught:
        Shelf(str(root / "shelf"))
    assert isinstance(caught.value, PermissionError)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
@pytest.mark.parametrize("folder", ["", "mem", "new"])
def test_of_another_user(root: Path, folder: str) -> None:
    Shelf(str(root / "shelf"))
    os.chown(root / "shelf" / folder, 65534, -1)
    with pytest.raises(UnsafeRoot, match="belongs to user 65534"):
        Shelf(str(root / "shelf"))


def test_link(root: Path) -> None:
    Shelf(str(root / "real"))
    (root / "link").symlink_to(root / "real")
    (root / "dangling").symlink_to(root / "nothing")
    (root / "file").touch()
    for name in ("link", "dangling", "file"):
        with pytest.raises(UnsafeRoot, match="not a folder"):
            private_folder(str(root / name))
    assert not (root / "nothing").exists()


@pytest.mark.parametrize("name", ["mem", "new"])
def test_link_in_a_shelf(root: Path, name: str) -> None:
    Shelf(str(root / "shelf"))
    (root / "shelf" / name).rmdir()
    (root / "shelf" / name).symlink_to(root)
    with pytest.raises(UnsafeRoot):
        Shelf(str(root / "shelf"))


def test_ledger_that_is_a_link(root: Path) -> None:
    (root / "victim").write_text("precious")
    (root / "shelf").mkdir(mode=0o700)
    (root / "shelf" / "ledger").symlink_to(root / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        Shelf(str(root / "shelf"))
    assert (root / "victim").read_text() == "precious"


def test_budget_leaves_room(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTLIVE_MEMORY", raising=False)
    system = os.statvfs(root)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < default_budget(str(root)) <= min(system.f_blocks * system.f_frsize * 0.4, memory * 0.3)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_blocks=1000, f_frsize=4096))
    assert default_budget(str(root)) == 1000 * 4096 * 4 // 10


def test_budget_of_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLIVE_MEMORY", "3 MiB")
    assert Shelf(str(root / "shelf")).ledger.budget == 3 << 20


def test_budget_is_kept_unless_given(root: Path) -> None:
    assert Shelf(str(root / "shelf"), 5 << 20).ledger.budget == 5 << 20
    assert Shelf(str(root / "shelf")).ledger.budget == 5 << 20
    assert Shelf(str(root / "shelf"), 1 << 20).ledger.budget == 1 << 20
