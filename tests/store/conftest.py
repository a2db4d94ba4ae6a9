"""A cluster that is played in this process, for what needs no Ray."""

from __future__ import annotations

from tests.zarr.conftest import cluster_here, played

assert cluster_here and played
