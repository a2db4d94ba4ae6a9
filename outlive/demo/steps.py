"""The steps of the demo, shown on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from typing_extensions import Self


class Steps:
    """Called with a text when a step begins."""

    def __init__(self, total: int) -> None:
        self._total, self._begun, self._began = total, 0, time.monotonic()
        self._stream = sys.stderr  # the present stderr: it is redirected while Ray runs
        self._bar: Progress | None = None
        if self._stream.isatty():
            columns = SpinnerColumn(), BarColumn(bar_width=24), TaskProgressColumn(), TimeElapsedColumn()
            self._bar = Progress(
                *columns,
                TextColumn("{task.description}"),
                console=Console(file=self._stream),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, text: str) -> None:
        self._begun += 1
        if self._bar is not None:
            self._bar.update(self._task, description=text, completed=self._begun - 1)
        else:
            print(
                f"[{self._begun}/{self._total}] {time.monotonic() - self._began:.0f} s: {text}",
                file=self._stream,
                flush=True,
            )
