"""Local stores below roots of their own, and programs without Ray that use them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import outlive
from tests.conftest import eventually

REPOSITORY = Path(__file__).parents[2]
_BASE = "/dev/shm" if Path("/dev/shm").is_dir() else None
WITHOUT_RAY = "import sys; sys.modules['ray'] = None\nimport numpy as np, outlive\n"


def new_root() -> str:
    return tempfile.mkdtemp(prefix="outlive-test-local-", dir=_BASE)


def end(root: str) -> None:
    """Shut the store down, and wait until its process has removed all that it had."""
    outlive.shutdown(local=True, root=root)
    eventually(lambda: not os.path.exists(f"{root}/local"))
    shutil.rmtree(root)


@pytest.fixture
def root() -> Iterator[str]:
    """A root without a store."""
    path = new_root()
    yield path
    end(path)


@pytest.fixture(scope="module")
def shared_root() -> Iterator[str]:
    """A root for the tests of a file that leave keeper and root alone."""
    path = new_root()
    yield path
    end(path)


@pytest.fixture
def store(shared_root: str, request: pytest.FixtureRequest) -> Iterator[outlive.Store]:
    """A store of the test's own."""
    store = outlive.open(request.node.name, local=True, root=shared_root)
    yield store
    store.clear()


def start(code: str, root: str, **env: str) -> subprocess.Popen[str]:
    """Start a program without Ray, which has `store`: it ends when its stdin does, or before."""
    opened = f"{WITHOUT_RAY}store = outlive.open(local=True, root={root!r})\n"
    return subprocess.Popen(
        [sys.executable, "-c", opened + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **env},
    )


def run(code: str, root: str, **env: str) -> str:
    """What such a program prints."""
    with start(code, root, **env) as program:
        said, _ = program.communicate(timeout=240)
    assert program.returncode == 0
    return said.strip()


def keeper_of(root: str) -> int:
    """The keeper's process."""
    return outlive.open(local=True, root=root).stats().shelves[0].keeper_pid


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
