"""What `outlive tune` prints for people to copy: it is what their systems take, and it does what it says."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from outlive.tune.advice import Advice, advice
from outlive.tune.mount import Mount
from tests.tune.test_tune import GIB, GOOD, SHM, run

DISK = Mount("/", "ext4", ("rw",), 100 * GIB, 100 * GIB, 0, 0)
SMALL = GOOD.mount._replace(size=64 << 20)


def only(**changes: Any) -> Advice:
    (one,) = advice(GOOD._replace(**changes))
    return one


def way(one: Advice, where: str) -> str:
    (found,) = (way.command for way in one.ways if way.where.startswith(where))
    return found


def test_the_init_container_is_that_of_the_example() -> None:
    (shown,) = yaml.safe_load(way(only(mount=SHM), "Kubernetes"))["initContainers"]
    lines = (Path(__file__).parents[2] / "examples" / "kubernetes" / "raycluster.yaml").read_text().splitlines()
    text = "\n".join(line.partition("# ")[2] for line in lines)
    (example,) = yaml.safe_load(text[text.index("initContainers") :].partition("\n\n")[0])["initContainers"]
    assert {**example, "image": "IMAGE"} == shown
    assert shown["command"][2] == way(only(mount=SHM), "now")


@pytest.mark.parametrize("folder", ["/a 'b'", '/a "b"', "/a\\b", "/a: b"])
def test_a_folder_stays_one_in_a_shell_and_in_yaml(folder: str) -> None:
    one = only(mount=SHM._replace(folder=folder))
    assert shlex.split(way(one, "now"))[-1] == folder
    (container,) = yaml.safe_load(way(one, "Kubernetes"))["initContainers"]
    assert shlex.split(container["command"][2])[-1] == folder
    assert container["volumeMounts"] == [{"name": "shm", "mountPath": folder}]
    assert shlex.split(way(one, "Docker").splitlines()[1])[-2] == f"type=volume,src=shm,dst={folder}"


def test_maps_are_raised_where_there_is_no_sysctl() -> None:
    """Slim images have no sysctl(8)."""
    (container,) = yaml.safe_load(way(only(maps=65530), "Kubernetes"))["initContainers"]
    assert container["command"] == ["sh", "-c", "echo 262144 > /proc/sys/vm/max_map_count"]
    assert container["securityContext"]["privileged"] is True


def test_more_descriptors_than_the_hard_limit_take_root() -> None:
    """`ulimit -n` of a user cannot raise it."""
    found = only(descriptors=1024)
    assert way(found, "the shell") == "sudo prlimit --pid $$ --nofile=65536"
    assert way(found, "/etc/security").splitlines() == ["* - nofile 65536", "root - nofile 65536"]


def test_a_kernel_that_denies_them_is_changed_to_last() -> None:
    found = only(kernel_setting="deny")
    assert way(found, "now, as root").startswith("echo never > /sys/")
    assert way(found, "/etc/tmpfiles.d").startswith("w /sys/")


# --- shared memory that is too small, or none


def test_docker_s_default_names_the_folder_that_is_used_instead() -> None:
    found = only(root="/tmp/outlive-0", mount=DISK, why_on_disk="/dev/shm has only 64 MiB", shared_memory=SMALL)
    assert (found.kind, found.what) == (
        "little-shared-memory", "outlive keeps arrays on disk, in /tmp/outlive-0: /dev/shm has only 64 MiB"
    )  # fmt: skip
    assert way(found, "now") == "mount --options-source mtab -o remount,size=8g /dev/shm", "nothing else changes"
    volumes, mounts = map(yaml.safe_load, way(found, "Kubernetes").splitlines())
    assert volumes == {"volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}]}
    assert mounts == {"volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}]}


@pytest.mark.parametrize("shared", [None, DISK._replace(folder="/dev/shm")])
def test_where_no_tmpfs_is_there_one_is_mounted(shared: Mount | None) -> None:
    changes: dict[str, Any] = {"mount": shared} if shared else {"mount": DISK, "why_on_disk": "no /dev/shm"}
    found = only(shared_memory=shared, **changes)
    assert way(found, "now").startswith("mkdir -p /dev/shm && mount -t tmpfs -o rw,nosuid,nodev,mode=1777,size=8g ")


def test_shared_memory_that_others_alone_may_write_to_is_not_called_small() -> None:
    found = only(root="/tmp/outlive-1", mount=DISK, why_on_disk="this user may not write", shared_memory=SHM)
    assert (found.kind, way(found, "now")) == ("shared-memory-closed", "chmod 1777 /dev/shm")


def test_a_root_that_was_chosen_on_disk_is_named() -> None:
    found = only(root="/data/arrays", mount=DISK, shared_memory=SHM)
    assert found.kind == "root-on-disk"
    assert "in /data/arrays, as OUTLIVE_ROOT says" in found.what
    assert way(found, "where Ray starts") == "unset OUTLIVE_ROOT"


def test_a_small_mount_that_was_chosen_is_the_one_that_grows() -> None:
    found = only(root="/mnt/arrays", mount=SMALL._replace(folder="/mnt"), shared_memory=SHM)
    assert (found.kind, "/mnt has only 64.0 MiB" in found.what) == ("little-shared-memory", True)
    assert way(found, "now").endswith(" /mnt")


@pytest.mark.skipif(not shutil.which("findmnt"), reason="findmnt of util-linux")
def test_the_lines_for_fstab_are_lines_of_fstab(tmp_path: Path) -> None:
    lines = [
        way(only(mount=SHM._replace(folder=str(tmp_path), flags=("rw", "nosuid", "relatime"))), "/etc/fstab"),
        way(only(mount=DISK, why_on_disk="it is small", shared_memory=SMALL), "/etc/fstab"),
    ]
    for line in lines:
        (tmp_path / "fstab").write_text(f"{line}\n")
        command = ["findmnt", "--tab-file", tmp_path / "fstab", "--verify"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


# --- how it is shown


@pytest.mark.parametrize("columns", [60, 200])
def test_what_is_to_be_read_fits_and_what_is_to_be_copied_is_whole(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = GOOD._replace(mount=SHM, maps=65530, descriptors=1024, cgroup="/kubepods/burstable/pod1")
    monkeypatch.setattr("outlive.tune.facts.look", lambda: seen)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run("--quick").stdout.splitlines()
    copied = {f"         {line}" for one in advice(seen) for each in one.ways for line in each.command.splitlines()}
    assert copied <= set(lines)
    assert max(len(line) for line in lines if line not in copied) <= columns
    monkeypatch.delenv("COLUMNS")
    assert advice(seen)[0].why in run("--quick").stdout, "in a pipe it is one line, and can be searched"


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"kernel_setting": None}, "huge pages   this kernel has none for shared memory"),
        ({"huge_page": 0}, "huge pages   this kernel has none for shared memory"),
        ({"mount": DISK}, "huge pages   none on ext4"),
        ({"descriptors": -1}, "a process    any number of descriptors"),
    ],
)
def test_what_is_not_there_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], shown: str
) -> None:
    monkeypatch.setattr("outlive.tune.facts.look", lambda: GOOD._replace(**changes))
    assert shown in run("--quick").stdout
