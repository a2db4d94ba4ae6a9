"""Runs the programs that make real Ray raise its errors, and returns what a user would see."""

from __future__ import annotations

import contextlib
import importlib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import ray

from tests.sharing import shared


@dataclass(frozen=True)
class Raised:
    """What a program raised, and what Python would print of it."""

    error: BaseException
    text: str


def program(name: str) -> ModuleType:
    return importlib.import_module(f"tests.explain.programs.{name}")


def provoke(name: str, *arguments: Any) -> Raised:
    """Run a program until it raises."""
    try:
        program(name).provoke(*arguments)
    except ray.exceptions.RayError as error:
        return Raised(error, "".join(traceback.format_exception(error)))
    pytest.fail(f"{name} raised nothing")


@pytest.fixture(scope="module")
def plain(request: pytest.FixtureRequest) -> Callable[[str], Raised]:
    """Runs a program on a Ray of one node, which records where references are created; each only once."""
    found: Callable[[str], Raised] = shared.get(request, _a_ray)
    return found


@contextlib.contextmanager
def _a_ray() -> Iterator[Callable[[str], Raised]]:
    seen: dict[str, Raised] = {}

    def run(name: str) -> Raised:
        if name not in seen:
            seen[name] = provoke(name)
        return seen[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_record_ref_creation_sites", "1")
        patch.delenv("RAY_ADDRESS", raising=False)
        options: Any = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
        ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, **options)
        try:
            yield run
        finally:
            ray.shutdown()


@pytest.fixture
def logs() -> str:
    """The folder of the logs of the Ray that this process is connected to."""
    return ray._private.worker._global_node.get_logs_dir_path()
