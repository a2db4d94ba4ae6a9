"""One local Ray cluster for all tests of the command line, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from typer.testing import CliRunner

import outlive
from outlive.cli.app import app

Npy = Callable[..., Path]


class Cli:
    """Runs commands on the cluster: in this process, or in one of their own."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Any:
        return CliRunner().invoke(app, ["--address", self.address, *arguments], input=stdin)

    def json(self, *arguments: str) -> Any:
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "outlive", "--address", self.address, *arguments]
        return subprocess.Popen(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options})


@pytest.fixture(scope="package")
def cluster() -> Iterator[str]:
    """Its address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.cluster"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address, "the cluster did not start"
            yield address
            outlive.shutdown()
        finally:
            ray.shutdown()
            process.stdin.close()
            process.wait(60)
            process.stdout.close()


@pytest.fixture(scope="package")
def cli(cluster: str) -> Cli:
    return Cli(cluster)


@pytest.fixture
def store(cli: Cli) -> Iterator[outlive.Store]:
    """The default store, empty before and after."""
    assert cli("ls").exit_code == 0  # connects this process
    opened = outlive.open()
    opened.clear()
    yield opened
    opened = outlive.open()
    opened.clear()


@pytest.fixture
def npy(tmp_path: Path) -> Npy:
    """Saves an array and returns the file."""

    def save(array: Any = None, name: str = "in.npy") -> Path:
        np.save(tmp_path / name, np.arange(6.0).reshape(2, 3) if array is None else array)
        return tmp_path / name

    return save
