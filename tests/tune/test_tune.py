"""What `outlive tune` sees, advises, measures, changes, and takes back."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from outlive import progress
from outlive.arrays import limits, lock
from outlive.arrays.lock import FileLock
from outlive.arrays.root import default_root
from outlive.cli.app import app
from outlive.errors import StoreFull, StoreUnavailable, TuneRefused, UnsafeRoot
from outlive.tune import mount, record, speed
from outlive.tune.advice import advice
from outlive.tune.compare import _ended_in_order
from outlive.tune.facts import Facts, look
from outlive.tune.mount import Mount, mount_of
from tests.arrays.test_full_disks import REPOSITORY, namespace
from tests.arrays.test_mounts import REFUSED
from tests.waiting import eventually

GIB = 1 << 30
SHM = Mount("/dev/shm", "tmpfs", ("rw", "size=8388608k"), 8 * GIB, 8 * GIB, 10**6, 10**6)
GOOD = Facts(
    "/dev/shm/outlive-0", SHM._replace(options=("rw", "huge=within_size")), "never", 2 << 20, 1 << 20, 1 << 20, 16 * GIB
)


def kinds(**changes: Any) -> list[str]:
    return [one.kind for one in advice(GOOD._replace(**changes))]


@pytest.mark.parametrize("huge", ["never", "advise", "within_size", "always"])
def test_advice_by_the_mount(huge: str) -> None:
    found = kinds(mount=SHM._replace(options=("rw", f"huge={huge}")))
    assert found == {"never": ["small-pages"], "advise": ["pages-if-asked"]}.get(huge, [])


def test_advice_by_the_rest() -> None:
    small = SHM  # without a word of huge pages
    assert small.huge == "never"
    assert kinds() == []
    assert kinds(mount=small, kernel_setting=None) == kinds(mount=small, huge_page=0) == []
    assert kinds(mount=small, kernel_setting="force") == []
    assert kinds(kernel_setting="deny") == ["huge-pages-denied"]
    assert kinds(mount=GOOD.mount._replace(size=64 << 20)) == ["little-shared-memory"]
    assert kinds(descriptors=1024, maps=65530) == ["few-descriptors", "few-maps"]
    assert kinds(descriptors=-1, maps=None) == []


def test_the_line_for_fstab_takes_nothing_away() -> None:
    """noexec, as hardened machines have it, a limit of files, an owner; and a blank does not shift its fields."""
    shm = SHM._replace(
        folder="/a b",
        options=("rw", "seclabel", "size=8388608k", "nr_inodes=7", "mode=700", "uid=9", "huge=advise"),
        flags=("rw", "nosuid", "nodev", "noexec", "relatime"),
    )
    [one] = advice(GOOD._replace(mount=shm))
    source, folder, kind, options, *rest = one.ways[1].command.split(" ")
    assert (source, folder, kind, rest) == ("tmpfs", "/a\\040b", "tmpfs", ["0", "0"])
    wanted = "rw,nosuid,nodev,noexec,relatime,nr_inodes=7,mode=700,uid=9,size=8388608k,huge=within_size"
    assert options == wanted


def test_a_command_is_quoted() -> None:
    [one] = advice(GOOD._replace(mount=SHM._replace(folder="/a b")))
    assert one.ways[0].command == "mount --options-source mtab -o remount,huge=within_size '/a b'"


def test_a_mount_without_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As mount(2) makes one of an empty name, and the kernel then writes it."""
    device = os.stat(tmp_path).st_dev
    line = f"63 43 {os.major(device)}:{os.minor(device)} / / rw,relatime shared:1 - tmpfs  rw,huge=advise\n"
    monkeypatch.setattr(mount, "open", lambda _: io.StringIO(line), raising=False)
    found = mount_of(str(tmp_path))
    assert (found.folder, found.kind, found.huge) == ("/", "tmpfs", "advise")


def test_in_a_namespace(tmp_path: Path) -> None:
    command, why_not = namespace()
    if not command:
        pytest.skip(why_not)
    body = [sys.executable, "-m", "tests.tune.mounts", tmp_path]
    done = subprocess.run([*command, *body], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=100)
    if REFUSED in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_speeds_are_measured_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_LARGEST", 8 << 20)
    monkeypatch.setattr(speed, "_ROUNDS", 1)
    found = speed.measure(str(tmp_path))
    assert found.nbytes == 8 << 20
    assert all(one > 0 for one in found)
    assert set(found.times(found).values()) == {1.0}
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(speed, "_LEAST", 1 << 60)
    with pytest.raises(TuneRefused, match="too little room"):
        speed.measure(str(tmp_path))


def test_what_a_killed_process_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_LARGEST", 8 << 20)
    monkeypatch.setattr(speed, "_ROUNDS", 1)
    for name in ("outlive-tune-dead", "outlive-tune-lives", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "outlive-tune-link").symlink_to("other")
    fd = os.open(tmp_path / "outlive-tune-lives", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    speed.measure(str(tmp_path))
    os.close(fd)
    assert sorted(os.listdir(tmp_path)) == ["other", "outlive-tune-link", "outlive-tune-lives"]
    assert os.listdir(tmp_path / "other") == ["file"]


def test_a_private_mount_is_measured_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, why_not = namespace()
    if not command:
        pytest.skip(why_not)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mounts = Path("/proc/self/mountinfo").read_text()
    try:
        found = speed.measure_private(record.WANTED)
    except TuneRefused as refused:
        if REFUSED in str(refused):
            pytest.skip(str(refused))
        raise
    assert found.nbytes >= speed._LEAST
    assert all(one > 0 for one in found)
    assert os.listdir(tmp_path) == []
    assert Path("/proc/self/mountinfo").read_text() == mounts, "no other process was to see it"
    with pytest.raises(TuneRefused, match=f"no private mount to measure on: mount: .*{REFUSED}"):
        speed.measure_private("nonsense")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("python", ["", "/nowhere/python"])
def test_a_python_that_cannot_be_started_again(monkeypatch: pytest.MonkeyPatch, python: str) -> None:
    """As below a folder that this user may not enter."""
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(TuneRefused, match=r"may not start Python \((unknown|/nowhere/python)\) once more"):
        speed.measure_private(record.WANTED)


def test_a_bar_is_drawn_while_another_process_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    written: list[int] = []

    def tick() -> None:
        if not written:
            written.append((tmp_path / "pipe").write_text("done"))

    monkeypatch.setattr(progress, "tick", tick)
    assert speed._outcome(["cat", str(tmp_path / "pipe")]) == ("done", "")
    assert written == [4]


def test_what_the_other_process_could_not_measure_is_said_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    said = ['{"refused": "there is too little free memory to measure in"}', ""]
    monkeypatch.setattr(speed, "_outcome", lambda _: said)
    with pytest.raises(TuneRefused, match="^with huge pages: there is too little free memory to measure in$"):
        speed.measure_private(record.WANTED)
    said[:] = ["", "unshare: unshare failed: Operation not permitted\n"]
    with pytest.raises(TuneRefused, match=r"unshare failed: Operation not permitted\. That takes root, or a user who"):
        speed.measure_private(record.WANTED)


MEASURES = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored
from outlive.tune import speed
from outlive.tune.advice import advice
from outlive.tune.compare import compare
from outlive.tune.facts import look

if sys.argv[1] == "private":
    speed.measure = lambda folder: None
facts = look()
small = facts.mount._replace(kind="tmpfs", folder=sys.argv[2], options=("huge=never",))
facts = facts._replace(mount=small, huge_page=2 << 20, kernel_setting="never", why_on_disk=None)
print(compare(facts, advice(facts)).refused, flush=True)
"""


@pytest.mark.parametrize("where", ["here", "private"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_ended_while_it_measures_leaves_nothing(
    tmp_path: Path, where: str, number: signal.Signals
) -> None:
    if where == "private" and not namespace()[0]:
        pytest.skip(namespace()[1])
    command = [sys.executable, "-c", MEASURES, where, str(tmp_path)]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        others: list[psutil.Process] = []

        def measures() -> bool:
            others[:] = psutil.Process(process.pid).children(recursive=True)
            return process.poll() is not None or bool(os.listdir(tmp_path) and (others or where == "here"))

        eventually(measures)
        process.send_signal(number)
        assert process.wait(60) in {128 + number, -number}
        assert process.stdout is not None
        assert process.stdout.read() == b"", "it was to be ended before it was done"
    eventually(lambda: not any(other.is_running() and other.status() != psutil.STATUS_ZOMBIE for other in others))
    if number == signal.SIGKILL:
        with speed._place(str(tmp_path)):
            pass  # the next one that measures
    assert os.listdir(tmp_path) == []


def test_a_handler_of_the_program_stays(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored
    try:
        with _ended_in_order():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
        with ThreadPoolExecutor(1) as threads:  # which may set none
            threads.submit(_ended_in_order().__enter__).result()
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGHUP, hang_up)


# --- what cannot be changed, or taken back, is not


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """/dev/shm seems to give small pages; what is remounted is only written down."""
    asked: list[str] = []
    monkeypatch.setattr(record, "mount_of", lambda _: SHM)
    monkeypatch.setattr(record, "kernel_setting", lambda: "never")
    monkeypatch.setattr(record, "remount", lambda folder, huge: asked.append(f"{folder} {huge}"))
    return asked


def test_nothing_is_changed_that_cannot_be_written_down(tmp_path: Path, small: list[str]) -> None:
    with pytest.raises(TuneRefused, match="cannot be written"):
        record.apply("/dev/shm", tmp_path / "no folder" / "record.json")
    assert small == []


def test_a_full_disk_leaves_no_half_record(tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record.json, "dump", full)
    with pytest.raises(TuneRefused, match="No space left on device.*, so nothing was changed: make room there"):
        record.apply("/dev/shm", tmp_path / "record.json")
    assert small == []
    assert os.listdir(tmp_path) == ["record.json.lock"]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EACCES, "run it as root"), (errno.EROFS, "make /run a folder that can be written to")],
)
def test_a_record_that_cannot_be_written_has_a_remedy(
    small: list[str], monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(_: FileLock) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "take", refuse)
    with pytest.raises(TuneRefused, match=f"so nothing was changed: {remedy}"):
        record.apply("/dev/shm", Path("/run/nothing.json"))
    assert small == []


def test_who_holds_the_record_is_named(tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """And not called a record that cannot be written."""
    monkeypatch.setattr(lock, "PATIENCE", 0.05)
    with FileLock(str(tmp_path / "record.json.lock")).take():
        (tmp_path / "record.json").write_text("[]")
        for attempt in (record.apply, lambda _, where: record.undo(where)):
            with ThreadPoolExecutor(1) as threads, pytest.raises(StoreUnavailable, match=f"process {os.getpid()} "):
                threads.submit(attempt, "/dev/shm", tmp_path / "record.json").result()
    assert small == []


def test_two_changes_at_once_are_both_recorded(
    tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else `--undo` could not take one of them back."""
    path, load, both = tmp_path / "record.json", record._load, threading.Barrier(2)

    def late(where: Path) -> list[record.Change]:
        changes = load(where)
        with contextlib.suppress(threading.BrokenBarrierError):  # the other is not there, as it waits for this one
            both.wait(0.5)
        return changes

    monkeypatch.setattr(record, "_load", late)
    threads = [threading.Thread(target=record.apply, args=("/dev/shm", path)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(small) == 2
    assert len(load(path)) == 2


def test_a_damaged_record_changes_nothing(tmp_path: Path, small: list[str]) -> None:
    path = tmp_path / "record.json"
    path.write_text("{")
    for attempt in (lambda: record.apply("/dev/shm", path), lambda: record.undo(path)):
        with pytest.raises(TuneRefused, match="damaged"):
            attempt()
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(TuneRefused, match="cannot be read"):
        record.undo(path)
    assert small == []


def test_what_was_refused_is_not_written_down(
    tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: str, huge: str) -> None:
        raise TuneRefused("must be superuser")

    monkeypatch.setattr(record, "remount", refuse)
    with pytest.raises(TuneRefused, match="superuser"):
        record.apply("/dev/shm", tmp_path / "record.json")
    assert os.listdir(tmp_path) == ["record.json.lock"]


def test_what_was_done_although_mount_failed_can_be_taken_back(
    tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """mount(8) may be too slow, or meet an error after the kernel has done it."""
    path = tmp_path / "record.json"

    def late(folder: str, huge: str) -> None:
        monkeypatch.setattr(record, "mount_of", lambda _: SHM._replace(options=("rw", f"huge={huge}")))
        monkeypatch.setattr(record, "remount", lambda *asked: small.append(" ".join(asked)))
        raise TuneRefused("it did not end within 30 s")

    monkeypatch.setattr(record, "remount", late)
    with pytest.raises(TuneRefused, match="did not end"):
        record.apply("/dev/shm", path)
    (change,) = record.undo(path)
    assert small == [f"/dev/shm {change.before}"]


@pytest.mark.parametrize("setting", [None, "deny"])
def test_a_kernel_without_huge_pages(
    tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    monkeypatch.setattr(record, "kernel_setting", lambda: setting)
    with pytest.raises(TuneRefused, match="no huge pages"):
        record.apply("/dev/shm", tmp_path / "record.json")
    assert small == []


def test_only_a_tmpfs_is_remounted(tmp_path: Path) -> None:
    with pytest.raises(TuneRefused, match="no tmpfs but proc"):
        record.apply("/proc", tmp_path / "record.json")


def test_mount_says_what_it_was_asked_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 32, "", "mount: must be superuser\n")

    monkeypatch.setattr(mount.subprocess, "run", refused)
    with pytest.raises(
        TuneRefused, match="mount --options-source mtab -o remount,huge=always '/x y': mount: must be superuser"
    ):
        mount.remount("/x y", "always")


@pytest.mark.parametrize(
    "words", ["mount: /dev/shm: permission denied.", "mount: /dev/shm: must be superuser to use it."]
)
def test_what_mount_refuses_has_a_remedy(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """Its hint at dmesg(1) has none. In German it would not be known again."""
    languages = []

    def refused(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        languages.append(env["LC_ALL"])
        hint = "       dmesg(1) may have more information after failed mount system call."
        return subprocess.CompletedProcess(command, 32, "", f"{words}\n{hint}\n")

    monkeypatch.setattr(mount.subprocess, "run", refused)
    with pytest.raises(TuneRefused) as caught:
        mount.remount("/dev/shm", "always")
    assert f": {words.rstrip('.')}. That takes root, and in a container" in str(caught.value)
    assert "dmesg" not in str(caught.value)
    assert languages == ["C.UTF-8"]


def test_a_system_without_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TuneRefused, match="/dev/shm: mount: No such file or directory"):
        mount.remount("/dev/shm", "always")
    monkeypatch.setattr(mount.os, "access", lambda *_: True)
    with pytest.raises(TuneRefused, match="no private mount to measure on: unshare: No such file or directory"):
        speed.measure_private("always")


# --- the command


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["tune", *arguments])


def test_command() -> None:
    shown = run("--quick")
    assert shown.exit_code == 0
    assert default_root()[0] in shown.stdout
    found = json.loads(run("--quick", "--json").stdout)
    assert found["mount"]["folder"] == mount_of(look().root).folder
    assert found["mount"]["size"] > 0
    assert [one["kind"] for one in found["advice"]] == [one.kind for one in advice(look())]
    assert found["bytes_per_second"] is found["times_faster"] is None


def test_nothing_is_measured_where_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 16000000 kB\nMemAvailable: 300000 kB\n")
    monkeypatch.setattr(limits, "_MEMINFO", str(meminfo))
    with pytest.raises(TuneRefused, match="too little free memory to measure in"):
        speed.measure("/dev/shm")


def test_nothing_is_measured_where_a_cgroup_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel would kill one of its processes, whatever the machine has left."""
    (tmp_path / "memory.max").write_text(f"{8 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{8 * GIB - (300 << 20)}\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 0\n")
    monkeypatch.setattr(limits, "_CGROUPS", str(tmp_path))
    with pytest.raises(TuneRefused, match="too little free memory to measure in"):
        speed.measure("/dev/shm")


def test_command_shows_options_and_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    mount = SHM._replace(options=("size=1g", "mode=1777"), flags=("rw", "noexec"))
    seen = GOOD._replace(mount=mount, memory=3 << 30, cores=1.5, cgroup="/kubepods/x")
    monkeypatch.setattr("outlive.tune.facts.look", lambda: seen)
    shown = " ".join(run("--quick").stdout.split())
    assert "options rw,noexec,size=1g,mode=1777" in shown
    assert "cgroup /kubepods/x: 3.0 GiB memory, 1.5 cores" in shown


def test_command_with_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = speed.Speeds(128 << 20, 2.0 * GIB, 4.0 * GIB, 4.0 * GIB, 10.0 * GIB)
    tuned = now._replace(put=9.0 * GIB, first_read=24.0 * GIB)
    monkeypatch.setattr("outlive.tune.facts.look", lambda: GOOD._replace(mount=SHM))
    monkeypatch.setattr(speed, "measure", lambda _: now)
    monkeypatch.setattr(speed, "measure_private", lambda _: tuned)
    shown = run().stdout
    assert "put 4.5 times as fast, first read 6.0 times" in shown
    assert json.loads(run("--json").stdout)["times_faster"]["put"] == 4.5

    def refuse(_: str) -> None:
        raise TuneRefused("no private mount to measure on: not permitted")

    monkeypatch.setattr(speed, "measure_private", refuse)
    shown = run().stdout
    assert "not measured: no private mount to measure on: not permitted" in shown
    assert "mount --options-source mtab -o remount,huge=within_size /dev/shm" in shown


def test_what_does_not_fit_is_said_and_the_rest_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: str) -> None:
        raise StoreFull("no room in /dev/shm")

    monkeypatch.setattr("outlive.tune.facts.look", lambda: GOOD._replace(mount=SHM))
    monkeypatch.setattr(speed, "measure", full)
    shown = run()
    assert shown.exit_code == 0
    assert "not measured: no room in /dev/shm" in shown.stdout
    assert "remount,huge=within_size /dev/shm" in shown.stdout


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "not measured: /data/x: Permission denied"),
        (OSError(errno.EMFILE, "Too many open files"), "not measured: Too many open files"),
        (MemoryError(), "not measured: there is too little memory to measure in"),
        (UnsafeRoot("/data/x is open to others"), "not measured: /data/x is open to others"),
    ],
)
def test_why_nothing_was_measured_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, error: Exception, shown: str
) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr("outlive.tune.facts.look", lambda: GOOD._replace(mount=SHM))
    monkeypatch.setattr(speed, "measure", fail)
    assert f"{shown}\n" in run().stdout


def test_command_that_changes(tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record.apply, "__defaults__", (tmp_path / "record.json",))
    monkeypatch.setattr(record.undo, "__defaults__", (tmp_path / "record.json",))
    assert run("--apply", "--undo").exit_code == 2
    assert small == []
    assert "huge=within_size, was never" in run("--apply").stdout
    monkeypatch.setattr(record, "_stands", lambda _: True)
    assert json.loads(run("--undo", "--json").stdout)["undone"][0]["before"] == "never"
    assert small == ["/dev/shm within_size", "/dev/shm never"]
    assert "nothing to take back" in run("--undo").stdout
