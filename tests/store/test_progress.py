"""Progress bars: for a person who watches, after two seconds, and at no cost before."""

from __future__ import annotations

import contextlib
import gc
import os
import pty
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from outlive import progress
from outlive.cluster import ray_port

ROOT = Path(__file__).parents[2]


class Clock:
    """Time that passes by itself alone."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


class Screen:
    """Notes what is drawn."""

    def __init__(self, label: str, unit: str | None) -> None:
        self.said: list[Any] = [(label, unit)]
        screens.append(self)

    def show(self, done: int, total: int | None) -> None:
        self.said.append((done, total))

    def close(self) -> None:
        self.said.append("closed")


screens: list[Screen] = []


@pytest.fixture(autouse=True)
def _watched(monkeypatch: pytest.MonkeyPatch) -> None:
    screens.clear()
    monkeypatch.setattr(progress, "watcher", lambda: Screen)


def test_a_short_call_draws_nothing_and_a_long_one_goes_on(clock: Clock) -> None:
    with progress.of("storing", total=10) as bar:
        clock.now += 1.9
        bar.add(3)
        assert screens == []
        clock.now += 0.2
        bar.add(3)
        clock.now += 0.1
        bar.add(1)  # too soon to draw again
        clock.now += 0.2
        progress.tick()
    assert [screen.said for screen in screens] == [[("storing", None), (6, 10), (7, 10), "closed"]]


def test_items_are_counted_as_the_next_is_asked_for(clock: Clock) -> None:
    with progress.of("storing", unit="values", total=3) as bar:
        for _ in bar.each(range(3)):
            clock.now += 2
    assert screens[0].said == [("storing", "values"), (1, 3), (2, 3), (3, 3), "closed"]


def test_a_call_inside_another_one_draws_into_its_bar(clock: Clock) -> None:
    with progress.of("reading", unit="arrays", total=2) as bar:
        with progress.of("copying") as inner:
            clock.now += 3
            inner.add(5)
            assert screens == []
            progress.tick()
        bar.add()
    assert screens[0].said[:2] == [("reading", "arrays"), (0, 2)]
    assert len(screens) == 1


def test_what_waits_is_told_how_long_until_the_next_look(clock: Clock) -> None:
    assert progress.pause(10.0) == 10.0
    with progress.of("copying"):
        assert progress.pause(10.0) == 2.0
        assert progress.pause(0.5) == 0.5
        clock.now += 2
        progress.tick()
        assert progress.pause(10.0) == pytest.approx(0.2)
    assert progress.pause(10.0) == 10.0
    progress.tick()


def test_of_several_threads_one_draws(clock: Clock) -> None:
    with progress.of("one") as bar:
        clock.now += 3
        bar.tick()

        def other() -> None:
            with progress.of("other") as its:
                clock.now += 3
                its.tick()
                assert progress.pause(10.0) == 10.0  # it does not look again

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert [screen.said[0][0] for screen in screens] == ["one"]
    with progress.of("next") as bar:
        clock.now += 3
        bar.tick()
    assert [screen.said[0][0] for screen in screens] == ["one", "next"]


def test_a_command_with_a_bar_of_its_own_hides_the_others(clock: Clock) -> None:
    with progress.hidden():
        with progress.of("storing") as bar:
            clock.now += 3
            bar.add(1)
        progress.tick()
        assert progress.pause(10.0) == 10.0
    assert screens == []


def test_a_screen_that_fails_does_not_fail_the_call(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("the terminal is gone")

    for method in ("__init__", "show", "close"):
        with monkeypatch.context() as patch:
            patch.setattr(Screen, method, fail)
            with progress.of("storing") as bar:
                clock.now += 3
                bar.add(1)
                clock.now += 3
                bar.add(1)
        assert not progress._drawing.locked()


def test_an_error_takes_the_bar_off_the_screen(clock: Clock) -> None:
    def call() -> None:
        with progress.of("storing") as bar:
            clock.now += 3
            bar.add(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call()
    assert screens[0].said[-1] == "closed"
    assert progress.pause(10.0) == 10.0


def test_a_bar_whose_call_was_interrupted_before_it_was_closed_is_forgotten(clock: Clock) -> None:
    call = progress.of("storing")
    bar = call.__enter__()
    progress._here.bar = weakref.ref(bar)
    del bar, call
    gc.collect()
    assert progress.pause(10.0) == 10.0


class Ray:
    """An actor that answers at some moment."""

    def __init__(self, clock: Clock, answers_at: float) -> None:
        self.clock, self.answers_at, self.calls = clock, clock.now + answers_at, list[str]()

    def wait(self, refs: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        self.calls.append("wait")
        self.clock.now = min(self.clock.now + timeout, max(self.answers_at, self.clock.now))
        return (refs, []) if self.clock.now >= self.answers_at else ([], refs)

    def get(self, _: Any, timeout: float) -> str:
        self.calls.append("get")
        if self.clock.now + timeout < self.answers_at:
            self.clock.now += timeout
            raise GetTimeoutError
        self.clock.now = max(self.clock.now, self.answers_at)
        return "answer"


@pytest.mark.parametrize("answers_at", [0.0, 1.5, 2.1, 9.0])
def test_an_actor_is_waited_for_in_steps_while_there_is_a_bar(
    clock: Clock, answers_at: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for watched in (False, True):
        screens.clear()
        played = Ray(clock, answers_at)
        began = clock.now
        monkeypatch.setattr(ray_port, "ray", played)
        monkeypatch.setattr(ray_port, "time", clock)
        with progress.of("copying") if watched else contextlib.nullcontext():
            assert ray_port._get(object(), 10.0) == "answer"
        assert clock.now - began == pytest.approx(answers_at)
        assert bool(screens) is (watched and answers_at > 2)
        if not watched:
            assert played.calls == ["get"]


@pytest.mark.parametrize("watched", [False, True])
def test_an_actor_that_does_not_answer_is_given_up_in_time(
    clock: Clock, watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = clock.now
    monkeypatch.setattr(ray_port, "ray", Ray(clock, 1e9))
    monkeypatch.setattr(ray_port, "time", clock)
    with progress.of("copying") if watched else contextlib.nullcontext(), pytest.raises(GetTimeoutError):
        ray_port._get(object(), 10.0)
    assert clock.now - began == pytest.approx(10)


# --- who watches


def _stderr(monkeypatch: pytest.MonkeyPatch, stream: Any) -> None:
    """Replace it for `progress` alone: pytest has its own."""
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream, modules=sys.modules))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    _stderr(monkeypatch, SimpleNamespace(isatty=lambda: True))
    monkeypatch.delenv(progress.SETTING, raising=False)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr(progress, "_in_worker", lambda: False)


def test_a_terminal_is_watched(terminal: None) -> None:
    assert progress.watcher() is progress._Terminal


@pytest.mark.parametrize("off", ["0", "off", " No ", "FALSE"])
def test_the_setting_turns_it_off(terminal: None, off: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(progress.SETTING, off)
    assert progress.watcher() is None


def test_no_bar_in_a_worker_or_a_pipe(terminal: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_in_worker", lambda: True)
    assert progress.watcher() is None
    monkeypatch.setattr(progress, "_in_worker", lambda: False)
    _stderr(monkeypatch, SimpleNamespace(isatty=lambda: False))
    assert progress.watcher() is None
    _stderr(monkeypatch, None)  # as of a program without a console
    assert progress.watcher() is None


def test_a_worker_is_known_by_its_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray._private import worker

    monkeypatch.undo()
    assert not progress._in_worker()
    monkeypatch.setattr(worker.global_worker, "mode", ray.WORKER_MODE)
    assert progress._in_worker()


class Shell:
    """IPython, as much of it as is asked for."""

    def __init__(self, kernel: object) -> None:
        self.pages: list[str] = []
        shell = SimpleNamespace(kernel=kernel) if kernel is not None else SimpleNamespace()
        self.package, self.display = ModuleType("IPython"), ModuleType("IPython.display")
        self.package.get_ipython = lambda: shell  # type: ignore[attr-defined]
        self.display.HTML = str  # type: ignore[attr-defined]
        self.display.display = self._display  # type: ignore[attr-defined]

    def _display(self, page: str, *, display_id: bool) -> Any:
        assert display_id
        self.pages.append(page)
        return SimpleNamespace(update=self.pages.append)


def test_a_notebook_shows_it_as_html_and_leaves_nothing(terminal: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell(object())
    monkeypatch.setitem(sys.modules, "IPython", shell.package)
    monkeypatch.setitem(sys.modules, "IPython.display", shell.display)
    _stderr(monkeypatch, SimpleNamespace(isatty=lambda: False))
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    with progress.of("storing <b>", total=4 << 20) as bar:
        clock.now += 3
        bar.add(1 << 20)
        clock.now += 3
        bar.add(1 << 20)
    assert shell.pages == [
        'storing &lt;b&gt; <progress value="0.2500"></progress> 1.0 MiB of 4.0 MiB',
        'storing &lt;b&gt; <progress value="0.5000"></progress> 2.0 MiB of 4.0 MiB',
        "",
    ]
    monkeypatch.setitem(sys.modules, "IPython", Shell(None).package)  # a shell in a terminal has no kernel
    assert progress.watcher() is None


PROGRAM = """
import sys, threading, time
from outlive import progress
before = set(sys.modules), threading.active_count()
with progress.of("storing", total=100) as bar:
    bar.add(10)
assert (set(sys.modules), threading.active_count()) == before, set(sys.modules) - before[0]
progress._SHOWN_AFTER = 0.0
for total in (100 << 20, 0):
    with progress.of("storing 3 arrays", total=total) as bar:
        for _ in range(10):
            bar.add(10 << 20)
            time.sleep(0.05)
        assert "rich" in sys.modules
        assert threading.active_count() == 1
print("done")
"""


def test_on_a_terminal_rich_draws_it_without_a_thread() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100", "NO_COLOR": ""},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    assert process.communicate(timeout=60)[0] == b"done\n", seen.decode()
    text = seen.decode()
    assert "storing 3 arrays" in text
    assert "/100.0 MiB" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 2  # the cursor is back
