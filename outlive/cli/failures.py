"""Failures of a command: one line on stderr, and an exit code."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec

from outlive.cli.plain import echo, style
from outlive.errors import (
    ArchiveNotFound,
    ArrayLost,
    ArrayNotFound,
    CorruptArchive,
    CorruptArray,
    OutliveError,
    PickleRefused,
    StoreFull,
)
from outlive.extras import named

P = ParamSpec("P")

NOT_SO = 1  # the answer is no
UNABLE = 2  # wrong usage, a bad file, no cluster
INTERRUPTED = 130  # as shells report Ctrl-C
READER_GONE = 141  # as shells report SIGPIPE

_NOT_SO = (ArrayNotFound, ArrayLost, StoreFull, CorruptArray, ArchiveNotFound, CorruptArchive, PickleRefused)


class BadFile(ValueError):
    """The file is not a .npy file that can be stored. Choose another, or write it with numpy.save."""


class BadLimit(ValueError):
    """A size, folder, URL or other option that cannot be used. The message says why."""


@contextlib.contextmanager
def wrong_usage() -> Iterator[None]:
    """A ValueError in this block that is not outlive's own says what is wrong with an argument: as BadLimit."""
    try:
        yield
    except OutliveError:
        raise
    except ValueError as error:
        raise BadLimit(str(error)) from None


class UnknownNode(ValueError):
    """The text names no node of the cluster, or more than one. The message lists them."""


def explained(command: Callable[P, None]) -> Callable[P, None]:
    """Wrap a command so that its expected errors are a message and an exit code. Others keep their traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        import typer

        if code := outcome(lambda: command(*args, **kwargs), as_json=bool(kwargs.get("as_json"))):
            raise typer.Exit(code)

    return run


def outcome(command: Callable[[], int | None], *, as_json: bool) -> int:
    """Run a command and return its exit code. Its warnings and expected errors are printed, others are raised."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            code = command()
        sys.stdout.flush()
        for warning in caught:
            echo(style("warning: ", "yellow", bold=True), nl=False, err=True)
            echo(str(warning.message), err=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _ignore_stdout()
        return READER_GONE
    except Exception as error:  # Ray's errors are known only once Ray is imported
        known = named(error) if isinstance(error, ModuleNotFoundError) else error
        if not isinstance(known, (OutliveError, BadFile, BadLimit, UnknownNode, OSError, *ray_errors())):
            raise
        report(known, as_json=as_json)
        try:
            sys.stdout.flush()
        except OSError:  # a full disk: the interpreter would try again as it ends, and exit with 120
            _ignore_stdout()
        return NOT_SO if isinstance(known, _NOT_SO) else UNABLE
    return code or 0


def report(error: BaseException, *, as_json: bool) -> None:
    """Print the error on stderr."""
    message = str(error)
    if isinstance(error, OSError) and error.strerror and not isinstance(error, OutliveError):
        message = error.strerror + (f": {error.filename!r}" if error.filename is not None else "")
    if as_json:
        echo(json.dumps({"error": message, "type": type(error).__name__}), err=True)
    else:
        echo(style("error: ", "red", bold=True), nl=False, err=True)
        echo(message, err=True)


def ray_errors() -> tuple[type[BaseException], ...]:
    """Ray's errors, if Ray was imported at all."""
    exceptions: Any = sys.modules.get("ray.exceptions")
    return () if exceptions is None else (exceptions.RayError,)


def _ignore_stdout() -> None:
    """Drop buffered output: flushing it at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
