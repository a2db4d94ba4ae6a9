"""The process that asks the cluster: it may hang, be killed or print what it likes, and the page goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from outlive.dashboard.child import Child
from outlive.dashboard.sources import SourceError
from tests.conftest import eventually

_SOURCE = """
import os, sys, time
from outlive.dashboard import looker
class Source:
    def about(self):
        print("a library prints", flush=True)
        return {"pid": os.getpid()}
    def workers(self): os._exit(7)
    def nodes(self): raise ValueError("no <b>node</b>\\nanswers")
    def doctor(self):
        print("the last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)
    def arrays(self, store): time.sleep(600)
    def details(self, arrays): return float("nan") if arrays else object()
    def drain(self, node, progress):
        progress(1, 2)
        progress(2, 2)
        return {"node": node}
looker.run(Source())
"""
COMMAND = [sys.executable, "-c", _SOURCE]


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def run(work: Callable[[Child], Awaitable[Any]], **options: Any) -> Any:
    async def within() -> Any:
        child = Child(COMMAND, **options)
        try:
            return await work(child)
        finally:
            await child.close()

    return asyncio.run(within())


def test_answers_and_errors() -> None:
    async def work(child: Child) -> None:
        first = await child.ask("about")
        with pytest.raises(SourceError, match="no <b>node</b>\nanswers"):
            await child.ask("nodes")  # once is not for long
        with pytest.raises(SourceError, match="no method"):
            await child.ask("__init__")
        moved = list[tuple[int, int]]()
        assert await child.ask("drain", "n", progress=lambda *both: moved.append(both)) == {"node": "n"}
        assert moved == [(1, 2), (2, 2)]
        assert await child.ask("about") == first

    run(work)


def test_one_that_ended_is_started_again() -> None:
    async def work(child: Child) -> None:
        first = await child.ask("about")
        with pytest.raises(SourceError, match="exit code 7"):
            await child.ask("workers")
        second = await child.ask("about")
        assert first != second
        with pytest.raises(SourceError, match=r"(?s)signal 9\).*the last words"):
            await child.ask("doctor")
        os.kill((await child.ask("about"))["pid"], signal.SIGKILL)
        with pytest.raises(SourceError):  # noqa: PT012 - at once, or once its end is known
            await child.ask("about")
            await child.ask("workers")
        assert await child.ask("about") != second

    run(work)


def test_one_that_hangs_is_ended() -> None:
    async def work(child: Child) -> None:
        pid = (await child.ask("about"))["pid"]
        child._patience = 0.2
        with pytest.raises(SourceError, match="did not answer within"):
            await child.ask("arrays", "default")
        eventually(lambda: not alive(pid))
        child._patience = 60
        assert (await child.ask("about"))["pid"] != pid

    run(work)


@pytest.mark.parametrize("hangs", [True, False])
def test_nothing_of_one_is_left_when_the_server_ends(monkeypatch: pytest.MonkeyPatch, hangs: bool) -> None:
    """What is left of it would be closed when the loop is gone, and that fails."""
    unraisable = list[Any]()
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    async def work(child: Child) -> None:
        await child.ask("about")
        if hangs:
            child._patience = 0.2
            with pytest.raises(SourceError, match="did not answer within"):
                await child.ask("arrays", "default")

    for _ in range(3):
        run(work)
    gc.collect()
    assert [one.exc_value for one in unraisable] == []


def test_one_that_lost_sight_of_the_cluster_is_replaced() -> None:
    """It may have joined a cluster that another has taken the place of."""

    async def work(child: Child) -> None:
        pid = (await child.ask("about"))["pid"]
        with pytest.raises(SourceError, match="node"):
            await child.ask("nodes")
        second = (await child.ask("about"))["pid"]
        assert second != pid
        child._left_behind = 600.0
        with pytest.raises(SourceError, match="node"):
            await child.ask("nodes")
        assert (await child.ask("about"))["pid"] == second

    run(work, left_behind=0.0)


def test_an_answer_that_cannot_be_written_is_an_error() -> None:
    async def work(child: Child) -> None:
        with pytest.raises(SourceError, match="not JSON serializable"):
            await child.ask("details", [])
        with pytest.raises(SourceError, match="not JSON compliant"):
            await child.ask("details", [1])

    run(work)


def test_one_that_reads_no_questions_is_ended() -> None:
    """The pipe to it is full then."""

    async def work(child: Child) -> None:
        pid = int((await child.ask("about"))["pid"])
        child._patience = 0.2
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(SourceError, match="did not answer within"):
            await child.ask("details", ["x" * 1000] * 1000)
        eventually(lambda: not alive(pid))

    run(work)


def test_one_that_cannot_be_started() -> None:
    async def work() -> None:
        child = Child(["/no/such/program"])
        with pytest.raises(SourceError, match="cannot be started"):
            await child.ask("about")
        await child.close()

    asyncio.run(work())


def test_one_that_is_stopped_ends_with_the_server() -> None:
    async def work(child: Child) -> int:
        pid = int((await child.ask("about"))["pid"])
        os.kill(pid, signal.SIGSTOP)
        return pid

    pid = run(work)
    assert not alive(pid)


def test_it_ends_with_the_server_that_was_killed() -> None:
    """Its stdin is closed then."""
    import subprocess

    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b'[1, "arrays", ["default"]]\n[2, "about", []]\n')  # one hangs
    process.stdin.flush()
    assert b'"answer"' in process.stdout.readline()
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()
