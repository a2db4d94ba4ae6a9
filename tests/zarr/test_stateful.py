"""zarr's state machines: a store against a model, and hierarchies of groups and arrays against zarr's MemoryStore."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("zarr", minversion="3")

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from zarr.testing.stateful import ZarrHierarchyStateMachine, ZarrStoreStateMachine

import outlive
from outlive.zarr import OutliveStore


@pytest.mark.filterwarnings("ignore")  # zarr's own
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("machine", [ZarrStoreStateMachine, ZarrHierarchyStateMachine])
def test_stateful(machine: Any, played: Any, pytestconfig: pytest.Config) -> None:
    store = OutliveStore(outlive.Store("stateful"), path=machine.__name__)
    examples = pytestconfig.getoption("--zarr-examples") or 5
    run_state_machine_as_test(
        lambda: machine(store),
        settings=settings(
            max_examples=examples, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
