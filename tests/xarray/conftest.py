"""A cluster that is played in this process."""

from __future__ import annotations

from tests.zarr.conftest import cluster_here, played

assert cluster_here and played
