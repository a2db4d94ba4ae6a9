"""Explains exceptions where they are raised: as data, or as a note (PEP 678) on Ray's own exception.

The exception keeps its class and its traceback, and is always raised again. Python 3.10 has no notes: there
they are put into `__notes__` all the same, and a hook prints them below the traceback of an uncaught exception.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any

from outlive.explain.model import Explanation
from outlive.explain.reading import read

_BEGINS = "outlive explains: "
_PRINTED = "_outlive_printed"  # Python 3.10: set on an exception whose notes were printed


def why(error: BaseException, *, live: bool = True) -> Explanation | None:
    """The meaning of an exception of Ray, and the probable causes.

    Parameters
    ----------
    error
        Ray's exception, or one that has it as `cause`, `__cause__` or `__context__`.
    live
        Ask the cluster what it still knows, if this process is connected to one (takes some milliseconds).

    Returns
    -------
    Explanation or None
        None if no exception of Ray that is known here is involved.
    """
    found = _of_ray(error)
    if found is None:
        return _of_task(error)
    raised, name = found
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    own = f"ray.exceptions.{name}: {raised}"
    for candidate in (text, own):
        for explanation in read(candidate).explanations:
            if explanation.error == name:
                return _with_live_facts(explanation) if live else explanation
    return None


@contextmanager
def errors() -> Iterator[None]:
    """Add the explanation to each exception of Ray that leaves the block.

    Examples
    --------
    >>> import outlive.explain
    >>> with outlive.explain.errors():
    ...     pass    # ray.get(ref), ...
    """
    try:
        yield
    except BaseException as error:
        _explain(error)
        raise


def install() -> Callable[[], None]:
    """Add the explanation to each exception of Ray that nothing catches, in this program's main and other threads.

    Returns
    -------
    callable
        Undoes it.
    """
    before, before_in_thread = sys.excepthook, threading.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        _explain(error, hook=False)
        before(kind, error, trace)
        if sys.version_info < (3, 11):
            _print_notes(error)

    def thread_hook(arguments: Any) -> None:
        if arguments.exc_value is not None:
            _explain(arguments.exc_value, hook=False)
        before_in_thread(arguments)
        if sys.version_info < (3, 11) and arguments.exc_value is not None:
            _print_notes(arguments.exc_value)

    def undo() -> None:
        if sys.excepthook is hook:
            sys.excepthook = before
        if threading.excepthook is thread_hook:
            threading.excepthook = before_in_thread

    sys.excepthook, threading.excepthook = hook, thread_hook
    return undo


def _of_ray(error: BaseException) -> tuple[BaseException, str] | None:
    """The exception of Ray that `error` is or comes from, and the name of its class."""
    from outlive.explain.reader import CLASSES

    for one in _behind(error):
        for kind in type(one).__mro__:
            if kind.__name__ in CLASSES and kind.__module__.split(".")[0] == "ray":
                return one, kind.__name__
    return None


def _of_task(error: BaseException) -> Explanation | None:
    """The explanation of a task's traceback whose exception is not Ray's."""
    from outlive.explain.knowledge import ENTRIES

    known = {entry.name for entry in ENTRIES if entry.remote}
    for one in _behind(error):
        if any(kind.__name__ == "RayTaskError" and kind.__module__ == "ray.exceptions" for kind in type(one).__mro__):
            told = (each for each in read(f"ray.exceptions.RayTaskError: {one}").explanations if each.variant in known)
            return next(told, None)
    return None


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those that it comes from."""
    waiting: list[Any] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [vars(one).get("cause"), one.__cause__, one.__context__]


def _with_live_facts(explanation: Explanation) -> Explanation:
    ray: Any = sys.modules.get("ray")
    if ray is None or not ray.is_initialized() or not explanation.ids:
        return explanation
    from outlive.explain.live import facts

    try:
        return replace(explanation, live=facts(explanation.ids[0]))
    except Exception:  # noqa: BLE001 - an explanation must never get into the way of the error itself
        return explanation


def _explain(error: BaseException, *, hook: bool = True) -> None:
    """Add the note, once. A failure here must not hide the error."""
    try:
        notes = vars(error).get("__notes__") or []
        if any(str(note).startswith(_BEGINS) for note in notes):
            return
        explanation = why(error)
        if explanation is not None:
            _add_note(error, note(explanation), hook=hook)
    except Exception:  # noqa: BLE001
        return


def note(explanation: Explanation) -> str:
    """The explanation in a few lines."""
    lines = [_BEGINS + explanation.what]
    if explanation.ids:
        decoded = explanation.ids[0]
        lines.append(f"  {decoded.kind} {decoded.hex}: {decoded.sentence}")
    lines += [f"  {fact}" for fact in explanation.live[:4]]
    likely = [cause for cause in explanation.causes if cause.evidence and not cause.ruled_out][:2]
    for cause in likely or explanation.causes[:1]:
        lines.append(f"  likely: {cause.text}")
        lines += [f"    {evidence}" for evidence in cause.evidence[:2]]
    lines += ["  fix:", *(f"    {line}" for line in explanation.fix.splitlines())]
    lines.append("  more: give this traceback to `outlive explain` on its standard input")
    return "\n".join(lines)


def _add_note(error: BaseException, text: str, *, hook: bool) -> None:
    if sys.version_info >= (3, 11):
        error.add_note(text)
        return
    anything: Any = error
    anything.__notes__ = [*vars(error).get("__notes__", []), text]
    if hook:
        _print_notes_of_uncaught()


def _print_notes_of_uncaught() -> None:
    """Python 3.10: let the traceback of an uncaught exception be followed by its notes."""
    before = sys.excepthook
    if getattr(before, "prints_notes", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        before(kind, error, trace)
        _print_notes(error)

    hook.prints_notes = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _print_notes(error: BaseException) -> None:
    if vars(error).get(_PRINTED):
        return
    setattr(error, _PRINTED, True)
    for text in vars(error).get("__notes__", []):
        sys.stderr.write(f"{text}\n")
