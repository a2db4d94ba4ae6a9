"""A progress bar on stderr, only on a terminal and only for long work."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any

from outlive import progress

_SHOWN_AFTER = 2.0  # seconds


class ProgressBar:
    """Counts bytes, or another unit. Appears after two seconds if stderr is a terminal, and leaves nothing behind."""

    def __init__(self, label: str, unit: str | None = None) -> None:
        self._label = label
        self._unit = unit
        self._bar: Any = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> ProgressBar:  # noqa: PYI034 - typing.Self is new in 3.11
        self._others = progress.hidden()
        self._others.__enter__()
        if sys.stderr.isatty() and not progress.is_off():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            parts = TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True)
            shown: Any = (*parts, TransferSpeedColumn())
            if self._unit is not None:
                shown = (*parts[:2], TextColumn("{task.completed} of {task.total} " + self._unit))
            self._bar = Progress(*shown, console=Console(stderr=True), transient=True)
            self._bar.add_task(self._label, total=None)
            self._timer = threading.Timer(_SHOWN_AFTER, self._bar.start)
            self._timer.daemon = True
            self._timer.start()
        return self

    def update(self, done: int, total: int) -> None:
        """Show that `done` of `total` bytes are done."""
        if self._bar is not None:
            self._bar.update(0, completed=done, total=total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._others.__exit__(None, None, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
            self._bar.stop()
