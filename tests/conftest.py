"""What all tests share: a private root for segments, and waiting on conditions."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import shutil
import signal
import tempfile
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.testing

from tests.little_ray import start_little
from tests.long import is_long, is_longest, left_out, unknown
from tests.sharing import Scheduling, shared, together
from tests.waiting import eventually as eventually  # noqa: PLC0414 - tests import it from here

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # test_authentication turns it on
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before anyone loads grpc; see outlive/ray_internals/rpc.py
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # a test starts the workers that it needs
os.register_at_fork(after_in_child=gc.freeze)  # or a child collects what Ray left of its clients, which aborts it
_base = "/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir()
ROOT = f"{_base}/outlive-test-{os.getpid()}"
SPILL = f"{tempfile.gettempdir()}/outlive-test-{os.getpid()}-spill"
RAY = f"{tempfile.gettempdir()}/o{os.getpid()}"  # short, as it is part of the paths of sockets
os.environ["RAY_TMPDIR"] = RAY  # so that no test connects to a cluster that another one's process has started
os.environ["OUTLIVE_SPILL_TO"] = SPILL
os.environ.pop("COLUMNS", None)  # set by readline for workers of pytest: no width of a terminal
os.environ["OUTLIVE_VALIDATE"] = "1"  # the catalog asserts after each step what must be true of it
os.environ["OUTLIVE_ROOT"] = ROOT  # before any Ray starts, so that its workers inherit it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # for the tests that interrupt, and what they start
start_little()
# Typer makes the commands from their functions each time that a test runs one: 50 ms, and they are always the same.
typer.testing._get_command = functools.cache(typer.testing._get_command)

# These ask Ray what it says of itself, and a busy machine delays or drops that: such a test may be asked again.
# What outlive promises (arrays, cluster, cli) has no second chance.
WHAT_RAY_SAYS = {"explain", "workers", "doctor", "test_programs.py", "test_pages_run.py"}
PROMISED_THERE = {"test_harmless.py", "test_beside_trim.py"}  # nor has this
WITHOUT_RAY = {"arrays", "catalog", "gpu", "local", "testing"}
LONGEST = {  # of these
    "test_full_disks.py", "test_killed.py", "test_simulation.py", "test_spill_faults.py", "test_spill_killed.py",
    "test_store_machine.py",
}  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", type=float, metavar="SECONDS", help="how long tests/nodes kills at random (8 to 20 s)")
    parser.addoption("--beside-trim", type=float, metavar="SECONDS", help="how long calls run beside trim (20 s)")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """What is imported and collected stays to the end: no collection of garbage has to look at it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file of which no test would be run is not read; each process of pytest-xdist would read it."""
    folder = Path(__file__).parents[1]
    if not collection_path.is_relative_to(folder):
        return None
    return collection_path.relative_to(folder).as_posix() in left_out(config.option.markexpr) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_begun_early)
    items[:] = together(items)
    all_of_them = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if all_of_them and "long" in config.option.markexpr and (stale := unknown([item.nodeid for item in items])):
        raise pytest.UsageError(f"tests/long.py: no test matches {stale}")
    for item in items:
        if is_long(item.nodeid):
            item.add_marker("long")
        if is_longest(item.nodeid):
            item.add_marker("longest")
        if item.path.parent.name == "nodes":
            item.add_marker(pytest.mark.timeout(300 + 2 * (config.getoption("--chaos") or 0)))
        if item.path.name == "test_beside_trim.py":
            item.add_marker(pytest.mark.timeout(300 + 2 * (config.getoption("--beside-trim") or 0)))
        if {item.path.parent.name, item.path.name} & WHAT_RAY_SAYS and item.path.name not in PROMISED_THERE:
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    yield
    shared.close_before(nextitem)


_earlier = pytest.StashKey[list[tuple[str, str]]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that is asked again begins anew, and tells of its earlier attempts if it fails each time.

    The error keeps what the attempt had in its variables, such as references to objects of Ray.
    """
    report = yield
    if call.excinfo is not None and report.failed and item.get_closest_marker("flaky"):
        earlier = item.stash.setdefault(_earlier, [])
        report.sections += earlier
        earlier.append((f"attempt {len(earlier) + 1}", report.longreprtext))
        _clear(call.excinfo.value)
    return report


def _clear(error: BaseException | None) -> None:
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            assert frame.f_locals is not None  # to look at them removes what pytest saw there
        error = error.__context__


def _begun_early(item: pytest.Item) -> int:
    """Files that wait long come first, and those without Ray last: they fill the gaps. So the last ones are short."""
    folder = item.path.parent.name
    if folder not in WITHOUT_RAY:
        return 0 if folder == "nodes" else 1
    return 2 if item.path.name in LONGEST else 3


@pytest.fixture(scope="package")
def ray_as_it_comes() -> Iterator[None]:
    """Ray's own settings, for tests of what Ray does by itself: it starts a worker a CPU for a driver."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_prestart_worker_first_driver", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _private_root() -> Iterator[None]:
    for folder in (ROOT, RAY):
        Path(folder).mkdir(mode=0o700, exist_ok=True)
    yield
    shared.close()
    shutil.rmtree(RAY, ignore_errors=True)
    shutil.rmtree(ROOT, ignore_errors=True)
    shutil.rmtree(SPILL, ignore_errors=True)


@contextlib.contextmanager
def nothing_is_swallowed() -> Iterator[None]:
    """What a signal handler raises reaches the program, wherever it comes.

    Python prints what is raised in a callback of its garbage collector, and goes on. Hypothesis has such a callback.
    """
    callbacks, gc.callbacks[:] = gc.callbacks[:], []
    try:
        yield
    finally:
        gc.callbacks[:] = callbacks
