"""Which pages shared memory has is seen, and not believed; and what is done where large ones cannot be had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import __main__ as program
from benchmarks import page_size, pages
from benchmarks.page_size import LARGE, SMALL
from outlive.arrays.huge import kernel_setting
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
NO_PRIVATE_MOUNT = "no private mount here: "


def found_with(setting: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(pages, "SETTING", setting)
    command = pages.covered([sys.executable, "-m", "benchmarks.page_size"])
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        pytest.skip(NO_PRIVATE_MOUNT + done.stderr)
    return done.stdout.strip()


def test_pages_are_those_that_a_file_of_outlive_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    never, advise, within_size, always = (
        found_with(setting, monkeypatch) for setting in ("never", "advise", "within_size", "always")
    )
    assert never == (LARGE if kernel_setting() == "force" else SMALL)
    assert advise == within_size == always, "outlive asks for large pages where a mount gives them if asked"
    assert always == (SMALL if kernel_setting() in (None, "deny") else LARGE)


def test_what_a_mount_was_asked_for_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SETTING", "never")
    why = pages.refused()
    if why is None or "mount" not in why or "huge=never" not in why:
        pytest.skip(f"{NO_PRIVATE_MOUNT}{why}")
    assert why == "files of a private mount with huge=never have pages of 4 KiB here"


def test_where_there_is_no_shared_memory_pages_are_small(tmp_path: Path) -> None:
    assert page_size.pages_in(str(tmp_path / "none")) == SMALL


def test_a_mount_has_no_more_than_half_of_the_memory_that_is_free() -> None:
    (options,) = (part for part in pages.covered(["true"]) if "size=" in part)
    size = int(options.partition("size=")[2].partition(",")[0])
    assert 64 << 20 < size <= psutil.virtual_memory().available * 0.6


class TestPlan:
    @pytest.fixture(autouse=True)
    def small_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(page_size, "pages", lambda: SMALL)
        monkeypatch.setattr(pages, "refused", lambda: None)

    def test_rows_of_large_arrays_are_measured_on_both(self) -> None:
        assert program.planned(["put", "world"], program.BOTH) == (["put", "world"], ["put"], "", False)
        assert program.planned(["put", "world"], program.LARGE) == ([], ["put"], "", False)
        assert program.planned(["put", "world"], program.HERE) == (["put", "world"], [], "", False)

    @pytest.mark.parametrize(("asked", "here"), [(program.BOTH, ["put", "world"]), (program.LARGE, ["put"])])
    def test_each_is_measured_once_where_pages_are_large_already(
        self, asked: str, here: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(page_size, "pages", lambda: LARGE)
        plan = program.planned(["put", "world"], asked)
        assert (plan.here, plan.private, plan.failed) == (here, [], False)
        assert "measured once" in plan.said

    @pytest.mark.parametrize(("asked", "failed"), [(program.BOTH, False), (program.LARGE, True)])
    def test_a_mount_that_is_refused_is_an_error_only_if_it_was_asked_for(
        self, asked: str, failed: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pages, "refused", lambda: "unshare: not permitted")
        plan = program.planned(["put", "world"], asked)
        assert (plan.private, plan.failed) == ([], failed)
        assert "left out: unshare: not permitted" in plan.said

    def test_a_program_of_which_nothing_is_left_fails(self) -> None:
        assert program.planned(["world"], program.LARGE).failed


def test_a_refusal_ends_the_program_with_one_only_if_large_pages_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page_size, "pages", lambda: SMALL)
    monkeypatch.setattr(pages, "refused", lambda: "unshare: not permitted")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(program.report, "save", lambda *_, **__: None)
    line = program.Line("put", "put", "warm", [1.0], pages=SMALL)
    monkeypatch.setattr(program, "_measure", lambda names, quick: iter([("put", (0.0, [line]))] if names else []))
    monkeypatch.setattr(program.draw, "curves", lambda _: [])
    for asked, code in (("both", 0), ("large", 1)):
        monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "put", "--pages", asked, "--output", f"{tmp_path}/f"])
        assert program.main() == code
        assert "unshare: not permitted" in capsys.readouterr().out


CHILD = """
import sys, time
from benchmarks import pages
pages.end_with(int(sys.argv[1]))
print("it waits", flush=True)
time.sleep(999)
"""
PARENT = f"""
import os, subprocess, sys
from benchmarks import pages
with subprocess.Popen(pages.covered([sys.executable, "-c", {CHILD!r}, str(os.getpid())]), stdout=-1) as child:
    print(child.pid if child.stdout.readline() else 0, flush=True)
"""


def test_the_child_ends_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if not pid:
            pytest.skip(NO_PRIVATE_MOUNT)
        child = psutil.Process(pid)
        parent.kill()
    try:
        eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    finally:
        if child.is_running():
            os.kill(pid, signal.SIGKILL)
