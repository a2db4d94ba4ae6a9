"""Clusters of several raylets on this machine, and how long they are tormented."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import outlive
from tests.nodes.raylets import Nodes, several_nodes

REPLICATED = "replicas" in inspect.signature(outlive.Store.put).parameters
needs_several_nodes = pytest.mark.skipif(not REPLICATED, reason="this store keeps its arrays on one node")


@pytest.fixture
def only_long(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Skips the test unless `--chaos` asks for a long run."""

    def skip() -> None:
        if not request.config.getoption("--chaos"):
            pytest.skip("with --chaos SECONDS")

    return skip


@pytest.fixture
def start_nodes() -> Iterator[Callable[..., Nodes]]:
    """Start a cluster as by `several_nodes`. It ends with the test, however that ends."""
    with ExitStack() as stack:
        yield lambda count, **options: stack.enter_context(several_nodes(count, **options))


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> Callable[[float], float]:
    """How long to go on: as long as `--chaos` says, else as long as the test takes by default."""
    return lambda default: request.config.getoption("--chaos") or default


@pytest.fixture
def histories(tmp_path: Path) -> Path:
    """The folder for what clients did, kept if the test fails (below OUTLIVE_HISTORIES, if that is set)."""
    chosen = os.environ.get("OUTLIVE_HISTORIES")
    folder = Path(chosen, tmp_path.name) if chosen else tmp_path / "history"
    folder.mkdir(parents=True)
    return folder
