"""Run as a program: the head of a Ray cluster, and a server for Ray Client at that port; prints its address.

It lasts until stdin is closed, and has no driver.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

from tests.little_ray import start_little

if __name__ == "__main__":
    start_little()
    cluster = Cluster()
    cluster.add_node(
        num_cpus=2,
        object_store_memory=80 << 20,
        include_dashboard=False,
        ray_client_server_port=int(sys.argv[1]),
    )
    print("address", cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()
