"""Taking over the shelf of a dead node: whose is dead, what comes along, and what if it is cut short."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import lock
from outlive.arrays.clock import uptime
from outlive.arrays.layout import CACHED, COPIED, PINNED, PRIVATE, is_cached, is_copied, is_pinned
from outlive.arrays.lifetimes import JOB, SCOPE, Lifetime
from outlive.arrays.marks import mark, mode_of
from outlive.arrays.put_options import PutOptions
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend import adopt as adopting
from outlive.arrays.tend.adopt import Owner, adopt, finish_removals, live, orphaned, sign, unseen
from outlive.arrays.writer import Writer
from outlive.errors import StoreUnavailable
from tests.conftest import eventually
from tests.ports import free_ports

MIB = 1 << 20
NOBODY = "127.0.0.1:9"  # the discard port, where nobody listens


def shelf_of(root: Path, cluster: str, node: str) -> Shelf:
    (root / cluster).mkdir(mode=0o700, exist_ok=True)
    shelf = Shelf(str(root / cluster / node), budget=64 * MIB)
    Path(shelf.path, "keeper").touch(mode=0o600)
    return shelf


@pytest.fixture
def dead_raylet() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def live_raylet() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.kill()
    process.communicate()


def sign_dead(shelf: Shelf, address: str, process: int) -> None:
    """As a raylet that has ended since: it was given a number, and when it started."""
    sign(shelf.path, address, process)
    path = Path(shelf.path, "node")
    owner = json.loads(path.read_text())
    owner[2] = owner[2] or "12345"
    path.write_text(json.dumps(owner))


def found(root: Path, cluster: str = "new", node: str = "n", address: str = "127.0.0.1:10") -> list[str]:
    return sorted(os.path.relpath(path, root) for path in orphaned(str(root), cluster, node, address))


# --- whose may be adopted


def test_a_dead_node_of_a_dead_cluster(root: Path, dead_raylet: int) -> None:
    sign_dead(shelf_of(root, "old", "a"), NOBODY, dead_raylet)
    assert found(root) == ["old/a"]
    assert not unseen(str(root))


def test_a_node_whose_keeper_began_after_its_raylet_had_ended(root: Path, dead_raylet: int) -> None:
    sign(shelf_of(root, "old", "a").path, NOBODY, dead_raylet)
    sign(shelf_of(root, "old", "b").path, NOBODY, 0)  # it cannot be seen
    assert found(root) == ["old/a"]


def test_a_live_node_is_refused(root: Path, live_raylet: int) -> None:
    for cluster in ("old", "new"):
        sign(shelf_of(root, cluster, "a").path, NOBODY, live_raylet)
    assert found(root) == []


def test_a_process_that_has_the_number_of_a_dead_one_is_another(root: Path, live_raylet: int) -> None:
    sign(shelf_of(root, "old", "a").path, NOBODY, live_raylet)
    owner = json.loads((root / "old/a/node").read_text())
    owner[2] = str(int(owner[2]) - 1)  # the one whose it was had started earlier
    (root / "old/a/node").write_text(json.dumps(owner))
    assert found(root) == ["old/a"]


def test_a_dead_node_of_a_cluster_that_lives_is_its_own_matter(root: Path, dead_raylet: int) -> None:
    with socket.create_server(("127.0.0.1", *free_ports(1))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        sign_dead(shelf_of(root, "other", "a"), address, dead_raylet)
        assert found(root) == []
        assert found(root, cluster="other") == ["other/a"]  # it is this one
        assert found(root, address=address) == ["other/a"]  # its address was taken over: it is dead
    assert found(root) == ["other/a"]


def test_after_a_reboot_everything_is_dead(root: Path, live_raylet: int) -> None:
    sign(shelf_of(root, "old", "a").path, NOBODY, live_raylet)
    owner = json.loads((root / "old/a/node").read_text())
    owner[3] = "another boot"
    (root / "old/a/node").write_text(json.dumps(owner))
    assert found(root) == ["old/a"]


def in_another_container(shelf: Shelf, dead_raylet: int, address: str = NOBODY, **changed: str) -> None:
    sign_dead(shelf, address, dead_raylet)
    path = Path(shelf.path, "node")
    owner = Owner(*json.loads(path.read_text()))._replace(processes="pid:[1]", **changed)
    path.write_text(json.dumps(owner))


def silent_for(shelf: Shelf, seconds: float) -> None:
    then = uptime() - int(seconds * 1e9)
    os.utime(Path(shelf.path, "keeper"), ns=(then, then))


def test_a_node_of_another_container_may_live(root: Path, dead_raylet: int) -> None:
    shelf = shelf_of(root, "old", "a")
    in_another_container(shelf, dead_raylet)
    assert found(root) == []
    live(shelf.path)
    assert found(root) == []


def test_a_node_of_another_container_whose_keeper_is_silent_is_dead(root: Path, dead_raylet: int) -> None:
    shelf = shelf_of(root, "old", "a")
    in_another_container(shelf, dead_raylet, network="net:[1]")
    assert unseen(str(root))
    silent_for(shelf, 100)
    assert found(root) == []
    silent_for(shelf, 1000)
    with Path(shelf.path, "keeper").open("r+") as keeper:
        fcntl.flock(keeper, fcntl.LOCK_EX)
        assert found(root) == []
    assert found(root) == ["old/a"]


def test_a_node_of_another_container_that_its_cluster_takes_for_living_is_left(root: Path, dead_raylet: int) -> None:
    shelf = shelf_of(root, "new", "a")
    in_another_container(shelf, dead_raylet)
    silent_for(shelf, 1000)
    assert list(orphaned(str(root), "new", "n", "127.0.0.1:10", lambda: {"a", "n"})) == []
    assert list(orphaned(str(root), "new", "n", "127.0.0.1:10", lambda: {"n"})) == [shelf.path]


def test_a_container_that_is_started_again_has_the_address_of_the_one_before(root: Path, dead_raylet: int) -> None:
    shelf = shelf_of(root, "old", "a")
    in_another_container(shelf, dead_raylet, "127.0.0.1:10")
    live(shelf.path)
    assert found(root) == ["old/a"]
    assert found(root, cluster="old") == []  # its own cluster has that address, and the node may live
    in_another_container(shelf, dead_raylet, "127.0.0.1:10", network="net:[1]")  # where it is another's
    assert found(root) == []


@pytest.mark.parametrize("cluster", ["new", "old"])
def test_a_raylet_of_another_container_with_the_same_network_is_known_by_its_port(
    root: Path, dead_raylet: int, cluster: str
) -> None:
    shelf, living = shelf_of(root, cluster, "a"), {"a", "n"}  # the head has not noticed yet

    def orphans() -> list[str]:
        return list(orphaned(str(root), "new", "n", "127.0.0.1:10", lambda: living))

    with socket.create_server(("127.0.0.1", *free_ports(1))) as raylet:
        listens = f"127.0.0.1:{raylet.getsockname()[1]}"
        in_another_container(shelf, dead_raylet, listens=listens)
        live(shelf.path)
        assert orphans() == []  # it may be stopped, and then the kernel accepts for it
    assert orphans() == [shelf.path]
    with Path(shelf.path, "keeper").open("r+") as keeper:
        fcntl.flock(keeper, fcntl.LOCK_EX)
        assert orphans() == []
    for unknown in ("", "no address", "127.0.0.1:no port", "[::1"):
        in_another_container(shelf, dead_raylet, listens=unknown)
        assert orphans() == []
    in_another_container(shelf, dead_raylet, listens=listens, network="net:[1]")  # where nobody listens here
    assert orphans() == []


def test_a_shelf_that_an_earlier_version_signed_is_read(root: Path, dead_raylet: int) -> None:
    shelf = shelf_of(root, "old", "a")
    sign_dead(shelf, NOBODY, dead_raylet)
    path = Path(shelf.path, "node")
    for fields in (5, 6):
        path.write_text(json.dumps(json.loads(path.read_text())[:fields]))
        assert found(root) == ["old/a"]


def test_ones_own_shelf_and_those_of_programs_are_left_alone(root: Path, dead_raylet: int) -> None:
    sign_dead(shelf_of(root, "new", "n"), NOBODY, dead_raylet)
    sign_dead(shelf_of(root, "program", "a"), NOBODY, dead_raylet)
    (root / "program/owner").touch()
    assert found(root) == []


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", "nonsense", '["a", 1]', "[1, 2, 3, 4, 5, 6, 7]"])
def test_what_is_no_shelf_or_does_not_say_whose_it_is(root: Path, content: str | None) -> None:
    shelf = shelf_of(root, "old", "a")
    if content is not None:
        Path(shelf.path, "node").write_text(content)
    (root / "old/file").touch()
    (root / "stray").touch()
    assert found(root) == []


# --- what comes along


@pytest.fixture
def two(root: Path, dead_raylet: int) -> tuple[Shelf, Shelf]:
    """The shelf of a dead node, and one that adopts it."""
    old = shelf_of(root, "old", "a")
    sign_dead(old, NOBODY, dead_raylet)
    return old, shelf_of(root, "new", "n")


def spilling(shelf: Shelf, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shelf.spill_to(str(path))
    shelf.ledger.disk.budget = 100 * MIB


def test_all_that_does_not_end_with_its_owner_comes(two: tuple[Shelf, Shelf]) -> None:
    old, new = two
    stays = [Writer(old).put(np.full(50_000, 1), key="k", store="s"), Writer(old).put(np.full(3, 2))]
    pinned = Writer(old).put(np.full(50_000, 3), options=PutOptions(pin=True))
    cached, copied = Writer(old).put(np.full(50_000, 4)), Writer(old).put(np.full(50_000, 5))
    mark(old, cached.id, add=CACHED)
    mark(old, copied.id, add=COPIED)
    job = Writer(old).put(np.ones(50_000), options=PutOptions(lifetime=Lifetime(JOB, 1)))
    scope = Writer(old).put(np.ones(50_000), options=PutOptions(lifetime=Lifetime(SCOPE, 2)))
    mine = Writer(new).put(np.full(50_000, 6))
    everything = {info.id: Reader(old).view(info).copy() for info in (*stays, pinned, cached, copied)}
    assert adopt(new, old.path, same_cluster=False) == 5
    assert not os.path.exists(old.path) and not os.path.exists(os.path.dirname(old.path))
    assert set(new.ids()) == {*everything, mine.id}
    assert not {job.id, scope.id}.intersection(new.ids())
    for info in (*stays, pinned, cached, copied):
        assert np.array_equal(Reader(new).view(info), everything[info.id])
    assert mode_of(new, pinned.id) & 0o7777 == PINNED | COPIED and is_pinned(mode_of(new, pinned.id))
    assert mode_of(new, stays[0].id) & 0o7777 == PRIVATE  # it has a key, by which it is found
    assert is_cached(mode_of(new, cached.id)) and is_copied(mode_of(new, copied.id))
    assert new.recount() == 0


def test_in_the_same_cluster_job_arrays_come_too(two: tuple[Shelf, Shelf]) -> None:
    old, new = two
    job = Writer(old).put(np.ones(3), options=PutOptions(lifetime=Lifetime(JOB, 1)))
    Writer(old).put(np.ones(3), options=PutOptions(lifetime=Lifetime(SCOPE, 2)))
    assert adopt(new, old.path, same_cluster=True) == 1
    assert new.ids() == [job.id]


def test_what_is_not_wanted_does_not_come(two: tuple[Shelf, Shelf]) -> None:
    old, new = two
    Writer(old).put(np.ones(3), key="deleted")
    kept = Writer(old).put(np.ones(3), key="lost")
    assert adopt(new, old.path, same_cluster=True, wanted=lambda info: info.key == "lost") == 1
    assert new.ids() == [kept.id]


def test_a_damaged_segment_comes_along_for_check_to_tell(two: tuple[Shelf, Shelf]) -> None:
    old, new = two
    info = Writer(old).put(np.ones(3))
    path = Path(old.mem, info.id)
    path.write_bytes(path.read_bytes()[:-1])
    assert adopt(new, old.path, same_cluster=True) == 1
    assert new.ids() == [info.id]


@pytest.mark.parametrize("spills", [True, False])
def test_what_is_spilled_comes_too(two: tuple[Shelf, Shelf], root: Path, spills: bool) -> None:
    old, new = two
    spilling(old, root / "disk/old/a")
    if spills:
        spilling(new, root / "disk/new/n")
    infos = [Writer(old).put(np.full(8 * MIB, i, "uint8")) for i in range(12)]
    assert old.spilled()
    on_disk = set(old.spilled())
    assert adopt(new, old.path, same_cluster=False) == 12
    assert set(new.spilled()) == on_disk
    assert [int(Reader(new).view(info)[0]) for info in infos] == list(range(12))
    assert not (root / "disk/old/a").exists()
    assert new.recount() == 0


def test_drafts_of_the_dead_do_not_come(two: tuple[Shelf, Shelf]) -> None:
    old, new = two
    draft = Writer(old).draft_of(np.ones(50_000))
    assert adopt(new, old.path, same_cluster=False) == 0
    assert new.ids() == []
    draft.settled = True


# --- at most one adopts, and each can go on where another stopped


def test_a_shelf_whose_keeper_lives_is_refused(two: tuple[Shelf, Shelf]) -> None:
    old, new = two
    info = Writer(old).put(np.ones(3))
    with open(f"{old.path}/keeper", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert adopt(new, old.path, same_cluster=False) == 0
    assert old.ids() == [info.id] and new.ids() == []
    assert adopt(new, old.path, same_cluster=False) == 1
    assert adopt(new, old.path, same_cluster=False) == 0  # it is gone


@pytest.mark.parametrize(("step", "stop_after"), [*itertools.product(["rename", "rmtree"], range(6)), ("unlink", 2)])
def test_an_adoption_that_was_cut_short_is_continued(
    two: tuple[Shelf, Shelf], root: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int, step: str
) -> None:
    old, new = two
    spilling(old, root / "disk/old/a")
    infos = [Writer(old).put(np.full(16 * MIB, i, "uint8")) for i in range(5)]
    assert old.spilled()
    calls = 0
    where: Any = shutil if step == "rmtree" else os
    real: Callable[..., Any] = getattr(where, step)

    def killed(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > stop_after:
            raise KeyboardInterrupt
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(where, step, killed)
        with contextlib.suppress(KeyboardInterrupt):
            adopt(new, old.path, same_cluster=False)
    again = Shelf(new.path)  # the next keeper
    again.recount()
    for path in orphaned(str(root), "new", "n", "127.0.0.1:10"):
        adopt(again, path, same_cluster=False)
    assert sorted(again.ids()) == sorted(info.id for info in infos)
    assert [int(Reader(again).view(info)[0]) for info in infos] == list(range(5))
    assert again.recount() == 0
    assert again.ledger.adopted >= 5  # whoever moved them: the catalog is told
    assert found(root) == []
    assert not os.path.exists(old.path)


def test_a_shelf_whose_removal_was_cut_off_is_not_adopted(two: tuple[Shelf, Shelf], root: Path) -> None:
    """Its arrays were deleted. Small ones would come back, and large ones without their bytes."""
    old, new = two
    Writer(old).put(np.zeros(3), key="k", store="s")
    os.rename(old.path, f"{old.path}.01234567.removed")  # as `Shelf.remove` begins
    assert found(root) == []
    finish_removals(str(root))
    finish_removals(str(root))
    assert os.listdir(root) == [os.path.basename(os.path.dirname(new.path))]
    assert os.path.isdir(new.path)


def test_across_file_systems(two: tuple[Shelf, Shelf], monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = two
    info = Writer(old).put(np.arange(50_000), options=PutOptions(pin=True))
    rename = os.rename

    def refuse(source: str, target: str) -> None:
        if os.path.dirname(source) == old.mem:
            raise OSError(18, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(adopting.os, "rename", refuse)
    assert adopt(new, old.path, same_cluster=False) == 1
    assert Reader(new).view(info).sum() == np.arange(50_000).sum()
    assert is_pinned(mode_of(new, info.id))


def test_an_adoption_from_another_file_system_that_is_cut_short_anywhere_loses_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    rename, left = os.rename, 0

    def other_file_system(source: str, target: str) -> None:
        nonlocal left
        if "/old/n/mem/" in source:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        left -= 1
        if left < 0:
            raise Killed
        rename(source, target)

    old, new = shelf_of(root, "old", "n"), shelf_of(root, "new", "n")
    info = Writer(old).put(np.arange(10))
    monkeypatch.setattr(os, "rename", other_file_system)
    with pytest.raises(Killed):
        adopt(new, old.path, same_cluster=True)
    assert new.has(info.id) or old.has(info.id)
    left = 10
    adopt(new, old.path, same_cluster=True)
    assert Reader(new).view(info).tolist() == list(range(10))
    assert os.listdir(new.mem) == [info.id]


def test_an_adoption_from_another_file_system_that_has_no_room_leaves_nothing_uncounted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(source: str, target: str, **_: Any) -> None:
        Path(target).write_bytes(b"a part of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    rename = os.rename

    def other_file_system(source: str, target: str) -> None:
        if "/old/n/mem/" in source:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    old, new = shelf_of(root, "old", "n"), shelf_of(root, "new", "n")
    info = Writer(old).put(np.arange(10))
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", other_file_system)
        patched.setattr(shutil, "copy2", no_room)
        with pytest.raises(OSError, match="No space left"):
            adopt(new, old.path, same_cluster=True)
    assert os.listdir(new.mem) == []
    assert adopt(new, old.path, same_cluster=True) == 1
    assert Reader(new).view(info).tolist() == list(range(10))


# --- the shelf that adopts is in use meanwhile


def test_a_shelf_that_is_removed_as_it_adopts_takes_nothing_along(
    two: tuple[Shelf, Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keeper leaves the node. It has looked whether anything is kept there, and the array comes after that."""
    old, new = two
    info = Writer(old).put(np.ones(3), key="k")
    waits, wait_for = threading.Event(), lock._wait_for

    def waiting(*args: Any) -> None:
        waits.set()
        wait_for(*args)

    def adopting_too() -> None:
        with contextlib.suppress(StoreUnavailable):
            adopt(new, old.path, same_cluster=True)

    thread = threading.Thread(target=adopting_too)

    def nothing_kept() -> bool:
        assert new.ids() == []
        thread.start()
        eventually(lambda: waits.is_set() or not thread.is_alive())
        return True

    monkeypatch.setattr(lock, "_wait_for", waiting)
    assert new.leave(nothing_kept)
    thread.join()
    assert old.has(info.id)


def test_every_byte_is_counted_as_it_comes(two: tuple[Shelf, Shelf], root: Path) -> None:
    old, new = two
    for shelf, name in (old, "old/a"), (new, "new/n"):
        spilling(shelf, root / "disk" / name)
    for number in range(12):
        Writer(old).put(np.full(8 * MIB, number, "uint8"))
    assert old.spilled()
    seen: list[int] = []

    def look(_: Any) -> bool:
        seen.append(Shelf(new.path).recount())
        return True

    adopt(new, old.path, same_cluster=False, wanted=look)
    assert seen == [0] * 12 and new.recount() == 0


def test_a_cached_copy_is_kept_if_the_kept_one_is_what_the_dead_node_left(two: tuple[Shelf, Shelf]) -> None:
    old, new = two
    info = Writer(old).put(np.arange(50_000))
    shutil.copy2(f"{old.mem}/{info.id}", f"{new.mem}/{info.id}")
    new.recount()
    mark(new, info.id, add=CACHED)
    assert adopt(new, old.path, same_cluster=True) == 1
    assert not is_cached(mode_of(new, info.id)) and is_copied(mode_of(new, info.id))
    assert new.recount() == 0
