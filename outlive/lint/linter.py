"""Lint one source: parse it, walk it, ask every rule."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import TypeVar

from outlive.lint.finding import Edit, Finding
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit, Rule
from outlive.lint.rules import RULES
from outlive.lint.source import Source
from outlive.lint.text import Unreadable, concerns_ray

T = TypeVar("T")
# bytes of address space only. LibCST recurses in Rust and in Python, as deep as the source is nested
_STACK = 512 << 20
_DEPTH = 20_000


def check_source(code: str, path: str = "<string>", rules: Collection[str] | None = None) -> list[Finding]:
    """Lint `code`.

    Parameters
    ----------
    code
        Python source. It is not parsed if it mentions neither Ray nor outlive.
    path
        The path in findings.
    rules
        Codes; all rules by default.

    Returns
    -------
    Findings in the order of the source, without those that a `# noqa` silences.

    Raises
    ------
    Unreadable
        The source does not parse.
    """
    chosen = [rule for code_, rule in RULES.items() if rules is None or code_ in rules]
    if not concerns_ray(code.encode("utf-8", "surrogatepass")):
        return []
    return on_deep_stack(lambda: _check(code, path, chosen))


def _check(code: str, path: str, rules: list[Rule]) -> list[Finding]:
    source = Source(code)
    try:
        flow = Flow(source.module, code)
        found = [_finding(source, path, rule, hit) for rule in rules for hit in rule.hits(flow)]
    except RecursionError:
        raise Unreadable("nested too deeply to be linted") from None
    return sorted({finding for finding in found if finding is not None})


def _finding(source: Source, path: str, rule: Rule, hit: Hit) -> Finding | None:
    where = source.position(hit.node)
    if source.silenced(rule.code, where):
        return None
    edit = None
    if hit.replacement is not None:
        start = source.offset(where.start.line, where.start.column)
        text = hit.replacement
        if f"{source.code[start - 1 : start]}{text[:1]}".isidentifier():  # `return[...]` needs no blank, a name does
            text = f" {text}"
        edit = Edit(start, source.offset(where.end.line, where.end.column), text)
    return Finding(
        path=path,
        line=where.start.line,
        column=where.start.column + 1,
        code=rule.code,
        end_line=where.end.line,
        end_column=where.end.column + 1,
        name=rule.name,
        message=hit.message,
        why=rule.why,
        fix=rule.fix,
        edit=edit,
    )


def on_deep_stack(work: Callable[[], T]) -> T:
    """Run `work` in a thread whose stack has room for deep recursion."""
    if threading.current_thread().name == _NAME:
        return work()
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again, in the caller's thread
            failure.append(error)

    old_size, old_depth = threading.stack_size(_STACK), sys.getrecursionlimit()
    sys.setrecursionlimit(max(old_depth, _DEPTH))
    thread = threading.Thread(target=run, name=_NAME)
    with _interrupts_held():
        try:
            thread.start()
            thread.join()
        finally:
            threading.stack_size(old_size)
            sys.setrecursionlimit(old_depth)
    if failure:
        raise failure[0]
    return outcome[0]


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Delay Ctrl-C until one source is done: the interpreter aborts if it ends while a thread is in LibCST's parser."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if held:
            handler(*held[0])


_NAME = "outlive-lint"
