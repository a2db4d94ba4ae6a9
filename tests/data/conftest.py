"""A cluster that is played in this process, where no Ray is needed."""

from __future__ import annotations

import pytest

from tests.cluster.conftest import cluster
from tests.zarr.conftest import cluster_here, played

assert cluster and cluster_here and played


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Data starts no Ray to look at its settings, and puts no row there to learn its size."""
    monkeypatch.setattr("ray._private.auto_init_hook.enable_auto_connect", False)
    monkeypatch.setattr("ray.data._internal.size_estimator.SizeEstimator.add", lambda estimator, row: None)
