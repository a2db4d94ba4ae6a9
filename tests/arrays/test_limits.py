"""How much memory and disk there is, and the defaults that follow."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from outlive.arrays import limits
from outlive.arrays.limits import (
    default_disk_budget,
    default_spill_folder,
    existing,
    is_in_memory,
    memory_left,
    memory_limit,
)
from outlive.tune import facts

PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("file", "content", "limit"),
    [
        ("memory.max", "1048576\n", 1 << 20),
        ("memory.max", "max\n", PHYSICAL),
        ("memory/memory.limit_in_bytes", "2097152\n", 2 << 20),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", PHYSICAL),
        ("other", "1\n", PHYSICAL),
    ],
)
def test_memory_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: str, limit: int) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    monkeypatch.setattr(limits, "_CGROUPS", str(tmp_path))
    assert memory_limit() == limit


@pytest.mark.parametrize("version", [1, 2])
def test_memory_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """Of the machine, and of each cgroup above; a cache of files that can be dropped is left too."""
    top, (limit, used, droppable) = tmp_path / "memory" if version == 1 else tmp_path, limits._MEMORY[version]
    nested = top / "pod" / "one"
    nested.mkdir(parents=True)
    (tmp_path / "cgroup").write_text("4:memory:/pod/one\n" if version == 1 else "0::/pod/one\n")
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable: 500 kB\n")
    monkeypatch.setattr(limits, "_OWN", str(tmp_path / "cgroup"))
    monkeypatch.setattr(limits, "_CGROUPS", str(tmp_path))
    monkeypatch.setattr(limits, "_MEMINFO", str(tmp_path / "meminfo"))
    assert memory_left() == 500 << 10

    def cgroup(folder: Path, *, most: int | str, use: int, cache: int) -> None:
        (folder / limit).write_text(f"{most}\n")
        (folder / used).write_text(f"{use}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{droppable} {cache}\nactive_file 7\n")

    cgroup(nested, most="max", use=900_000, cache=0)
    assert memory_left() == 500 << 10
    cgroup(nested, most=400_000, use=300_000, cache=50_000)
    assert memory_left() == 150_000
    cgroup(nested.parent, most=500_000, use=450_000, cache=0)
    assert memory_left() == 50_000, "the limit of a cgroup above holds for all below it"
    cgroup(nested.parent, most=500_000, use=600_000, cache=0)
    assert memory_left() == 0
    (tmp_path / "meminfo").unlink()
    assert memory_left() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups")
def test_the_least_limit_of_all_above_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if own is None:
        pytest.skip("no cgroups of version 2")
    monkeypatch.setattr(limits, "_CGROUPS", str(tmp_path))
    (tmp_path / own.strip("/")).mkdir(parents=True, exist_ok=True)
    (tmp_path / own.strip("/") / "memory.max").write_text("4096000")
    assert memory_limit() == 4096000


@pytest.mark.parametrize(
    ("lines", "own"),
    [
        ("9:name=systemd:/init\n4:cpu,memory:/jobs/a:b\n1:cpuset:/\n0::/\n", "/jobs/a:b"),
        ("1:name=systemd:/init\n0::/user.slice/a:b\n", "/user.slice/a:b"),
        ("1:name=systemd:/init\n", ""),
        ("", ""),
    ],
)
def test_own_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, own: str) -> None:
    (tmp_path / "cgroup").write_text(lines)
    monkeypatch.setattr(limits, "_OWN", str(tmp_path / "cgroup"))
    assert facts.look().cgroup == own


@pytest.mark.parametrize(
    ("lines", "version"), [("4:cpu,memory:/docker/ab/jobs/one\n", 1), ("0::/docker/ab/jobs/one\n", 2)]
)
def test_a_nested_cgroup_of_a_container_that_sees_its_own_as_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, version: int
) -> None:
    """The kernel then names the cgroup from the machine's root, but its folder is below the container's."""
    (tmp_path / "cgroup").write_text(lines)
    top = tmp_path / "memory" if version == 1 else tmp_path
    nested = top / "jobs" / "one"
    nested.mkdir(parents=True)
    name = "memory.limit_in_bytes" if version == 1 else "memory.max"
    (top / name).write_text("9000000")
    (nested / name).write_text("4096000")
    (top / "docker" / "ab" / "jobs" / "one").mkdir(parents=True)
    monkeypatch.setattr(limits, "_OWN", str(tmp_path / "cgroup"))
    monkeypatch.setattr(limits, "_CGROUPS", str(tmp_path))
    monkeypatch.setattr(limits, "_mounted", lambda: {str(top): "/docker/ab"})
    assert memory_limit() == 4096000
    monkeypatch.setattr(limits, "_mounted", lambda: {str(top): "/docker/a"})  # not above this one
    assert memory_limit() == 9000000


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no memory file system known")
def test_default_spill_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTLIVE_SPILL_TO", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/tmp")
    in_memory = {"/dev/shm"}
    monkeypatch.setattr(limits, "is_in_memory", lambda path: any(path.startswith(one) for one in in_memory))
    name = f"outlive-{os.geteuid()}-spill"
    assert default_spill_folder("/dev/shm/outlive") == f"/tmp/{name}"
    assert default_spill_folder("/data/outlive") is None  # on disk already
    in_memory.add("/tmp")
    assert default_spill_folder("/dev/shm/outlive") == f"/var/tmp/{name}"
    in_memory.add("/var/tmp")
    assert default_spill_folder("/dev/shm/outlive") is None
    monkeypatch.setenv("OUTLIVE_SPILL_TO", "here")
    assert default_spill_folder("/dev/shm/outlive") == os.path.abspath("here")


def test_default_disk_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTLIVE_DISK", raising=False)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1000, f_frsize=4096))
    assert default_disk_budget(str(tmp_path / "not" / "there")) == 1000 * 4096 // 2
    monkeypatch.setenv("OUTLIVE_DISK", "3 MiB")
    assert default_disk_budget(str(tmp_path)) == 3 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="mountinfo")
def test_is_in_memory() -> None:
    assert is_in_memory("/dev/shm/not/there")
    assert not is_in_memory("/proc")


def test_existing(tmp_path: Path) -> None:
    assert existing(str(tmp_path / "a" / "b")) == str(tmp_path)
    assert existing("/") == "/"
