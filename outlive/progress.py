"""Progress of long calls: a bar for a person who watches, after two seconds.

Before that there is no bar, thread or import: a call looks at the clock as it goes on. No bar is drawn in a worker, or
where stderr is no terminal and the program is no notebook, or with `OUTLIVE_PROGRESS=0`. A process draws one at a time.

The call that a person made opens a bar (`of`). Others below it, which may know nothing of it, have it drawn while they
wait (`pause`, `tick`).
"""

from __future__ import annotations

import contextlib
import functools
import html
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from outlive.units import count, format_size

T = TypeVar("T")
SETTING = "OUTLIVE_PROGRESS"
_OFF = {"0", "off", "no", "false"}
_SHOWN_AFTER = 2.0  # seconds
_REDRAWN_EVERY = 0.2  # seconds
_NEVER = float("inf")
_here = threading.local()  # `bar`: a weak reference to the one that this thread's call has opened
_drawing = threading.Lock()  # held while a bar is drawn


class _Screen(Protocol):
    def show(self, done: int, total: int | None) -> None: ...

    def close(self) -> None: ...


class Bar:
    """The progress of one call, in bytes or in another unit. Made by `of`."""

    def __init__(self, label: str, unit: str | None) -> None:
        self._label, self._unit = label, unit
        self._done, self._total = 0, 0
        self._due = time.monotonic() + _SHOWN_AFTER
        self._screen: _Screen | None = None

    def add(self, done: int = 1) -> None:
        """So much more is done."""
        self._done += done
        self.tick()

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """These items; one more is done when the next is asked for."""
        for item in items:
            yield item
            self.add()

    def update(self, done: int, total: int) -> None:
        """`done` of `total` is done."""
        self._done, self._total = done, total
        self.tick()

    def tick(self) -> None:
        """Draw it, if that is due."""
        if time.monotonic() >= self._due:
            self._draw()

    def pause(self, longest: float) -> float:
        """Seconds that a caller may wait until the next `tick`."""
        return min(longest, max(0.01, self._due - time.monotonic()))

    def _draw(self) -> None:
        try:
            if self._screen is None:
                self._screen = self._open()
            if self._screen is None:
                self._due = _NEVER
                return
            self._screen.show(self._done, self._total or None)
            self._due = time.monotonic() + _REDRAWN_EVERY
        except Exception:  # noqa: BLE001 - a terminal that went away, say: the call is of more use than its bar
            self._due = _NEVER

    def _open(self) -> _Screen | None:
        make = watcher()
        if make is None or not _drawing.acquire(blocking=False):
            return None
        try:
            return make(self._label, self._unit)
        except BaseException:
            _drawing.release()
            raise

    def close(self) -> None:
        """Take it off the screen."""
        self._due = _NEVER
        screen, self._screen = self._screen, None
        if screen is not None:
            try:
                with contextlib.suppress(Exception):
                    screen.close()
            finally:
                _drawing.release()


class _Silent(Bar):
    """Stands for a bar inside another one's call."""

    def __init__(self) -> None:
        super().__init__("", None)
        self._due = _NEVER

    def _draw(self) -> None:
        pass


@contextlib.contextmanager
def of(label: str, *, unit: str | None = None, total: int = 0) -> Iterator[Bar]:
    """A bar for the call in this `with` block, unless this thread has one.

    Parameters
    ----------
    unit
        What is counted; None: bytes.
    total
        0: not known (yet).
    """
    if _current() is not None:
        yield _Silent()
        return
    bar = Bar(label, unit)
    bar.update(0, total)
    _here.bar = weakref.ref(bar)
    try:
        yield bar
    finally:
        _here.bar = None
        bar.close()


class _Told(Bar):
    """Tells a function, and draws nothing."""

    def __init__(self, tell: Callable[[int, int], None]) -> None:
        super().__init__("", None)
        self._due, self._tell = _NEVER, tell

    def update(self, done: int, total: int) -> None:
        self._tell(done, total)


def told(bar: Bar, tell: Callable[[int, int], None] | None) -> Bar:
    """`bar`, or, if the caller wants to be told, what stands for it."""
    return bar if tell is None else _Told(tell)


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """No bar in this block, on this thread: its caller draws one."""
    before, silent = getattr(_here, "bar", None), _Silent()
    _here.bar = weakref.ref(silent)
    try:
        yield
    finally:
        _here.bar = before


def _current() -> Bar | None:
    reference = getattr(_here, "bar", None)
    return None if reference is None else reference()


def pause(longest: float) -> float:
    """Seconds that this thread may wait until it should `tick`: `longest` if it has no bar."""
    bar = _current()
    return longest if bar is None else bar.pause(longest)


def tick() -> None:
    """Draw this thread's bar, if it has one and that is due."""
    bar = _current()
    if bar is not None:
        bar.tick()


# --- who watches, and how it is drawn


def watcher() -> Callable[[str, str | None], _Screen] | None:
    """How a bar is drawn for the person who watches; None if nobody does."""
    if is_off() or _in_worker():
        return None
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is not None:
        return _Notebook
    return _Terminal if sys.stderr is not None and sys.stderr.isatty() else None


def is_off() -> bool:
    """Whether bars are not wanted: `OUTLIVE_PROGRESS=0`."""
    return os.environ.get(SETTING, "").strip().lower() in _OFF


def _in_worker() -> bool:
    if "ray" not in sys.modules:
        return False
    from outlive.ray_internals import in_worker

    return in_worker()


class _Terminal:
    """By rich, on stderr; it leaves nothing behind. It has no thread: the call draws it."""

    def __init__(self, label: str, unit: str | None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TransferSpeedColumn,
        )

        self._sized: list[Any] = [DownloadColumn(binary_units=True), TransferSpeedColumn()]
        if unit is not None:
            self._sized = [TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + unit)]
        self._begin, self._unsized = [TextColumn("{task.description}"), BarColumn()], [TimeElapsedColumn()]
        self._make: Any = functools.partial(Progress, console=Console(stderr=True), transient=True, auto_refresh=False)
        self._label, self._known = label, False
        self._bar: Any = None

    def show(self, done: int, total: int | None) -> None:
        if self._bar is None or self._known != (total is not None):
            self.close()
            self._known = total is not None
            self._bar = self._make(*self._begin, *(self._sized if self._known else self._unsized))
            self._bar.add_task(self._label, total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, refresh=True)

    def close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()


class _Notebook:
    """As HTML that is replaced; rich would ask for ipywidgets."""

    def __init__(self, label: str, unit: str | None) -> None:
        self._label, self._unit = label, unit
        self._shown: Any = None

    def show(self, done: int, total: int | None) -> None:
        from IPython.display import HTML, display  # type: ignore[import-not-found,unused-ignore]

        value = "" if total is None else f' value="{done / total:.4f}"'
        page = HTML(f"{html.escape(self._label)} <progress{value}></progress> {html.escape(self._said(done, total))}")
        if self._shown is None:
            self._shown = display(page, display_id=True)
        else:
            self._shown.update(page)

    def _said(self, done: int, total: int | None) -> str:
        if total is None:
            return ""
        if self._unit is None:
            return f"{format_size(done)} of {format_size(total)}"
        return f"{done:,} of {count(total, self._unit)}"

    def close(self) -> None:
        from IPython.display import HTML

        if self._shown is not None:
            self._shown.update(HTML(""))
