"""A file system that says no: fails the n-th call that could need room below a folder, or all from then on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

_BY_PATH = {"rename": 1, "mkdir": 0, "symlink": 1, "open": 0}  # which argument says where
_BY_DESCRIPTOR = ("pwritev", "pwrite", "write", "ftruncate", "posix_fallocate", "sendfile")


class Faults:
    """Counts the calls below `folder`; the `fail_at`-th fails (`ever`: all from that one on) with `number`."""

    def __init__(self, folder: str, fail_at: int, number: int, *, ever: bool) -> None:
        self.folder, self.fail_at, self.number, self.ever, self.calls = folder, fail_at, number, ever, 0

    def _check(self, path: str) -> None:
        if path.startswith(f"{self.folder}/"):
            self.calls += 1
            if self.calls == self.fail_at or (self.ever and self.calls > self.fail_at):
                raise OSError(self.number, os.strerror(self.number), path)

    def by_path(self, name: str, place: int) -> Callable[..., Any]:
        function = getattr(os, name)

        def call(*arguments: Any, **named: Any) -> Any:
            exists = name == "mkdir" and os.path.lexists(arguments[0])  # what the system says first
            if not exists and (name != "open" or arguments[1] & os.O_CREAT):
                self._check(os.fspath(arguments[place]))
            return function(*arguments, **named)

        return call

    def by_descriptor(self, name: str) -> Callable[..., Any]:
        function = getattr(os, name)

        def call(fd: int, *arguments: Any) -> Any:
            if name != "ftruncate" or arguments[0] > os.fstat(fd).st_size:  # what makes it shorter needs no room
                self._check(os.readlink(f"/proc/self/fd/{fd}"))
            return function(fd, *arguments)

        return call


@contextmanager
def faults(folder: str, fail_at: int, number: int, *, ever: bool = False) -> Iterator[Faults]:
    shim = Faults(folder, fail_at, number, ever=ever)
    patched: dict[str, Any] = {name: shim.by_path(name, place) for name, place in _BY_PATH.items()}
    patched |= {name: shim.by_descriptor(name) for name in _BY_DESCRIPTOR}
    with mock.patch.multiple(os, **patched):
        yield shim
