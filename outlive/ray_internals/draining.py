"""Telling Ray that a node ends soon, as `ray drain-node` does: from then on it is sent no work.

Source: `drain_node` of ray/scripts/scripts.py, and `GcsClient.drain_node` of `ray._raylet` (2.49 to 2.60).
"""

from __future__ import annotations

import time

from outlive.errors import StoreUnavailable
from outlive.ray_internals import rpc
from outlive.ray_internals.node_table import explained, gcs_client

_WHY = "it is about to end (outlive drain --ending-in)"


def drain(node_id: str, seconds: float) -> None:
    """Have Ray drain a node that ends in so many seconds.

    Raises
    ------
    StoreUnavailable
        The GCS does not answer, or refuses: the node may be dead.
    """
    reason = rpc.messages("autoscaler").DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    deadline = round((time.time() + seconds) * 1000)
    with explained():
        accepted, why = gcs_client().drain_node(node_id, reason, _WHY, deadline)
    if not accepted:
        raise StoreUnavailable(f"Ray does not drain node {node_id}: {why}")
