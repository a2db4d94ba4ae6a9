"""Run as a program: a cluster of two nodes that serves examples/dicom_serve on a port, until stdin is closed.

It prints the address of the cluster once the application answers.
"""

from __future__ import annotations

import os
import sys

import ray
from ray.cluster_utils import Cluster

import outlive
from tests.little_ray import start_little

_PATIENCE = "120"  # seconds, for what Serve waits for; its 5 and 10 are too few beside busy processes


def main(port: int) -> None:
    start_little()
    os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = _PATIENCE
    os.environ["RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S"] = _PATIENCE
    from app import deploy

    cluster = Cluster()
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, object_store_memory=80 << 20, include_dashboard=False)
        ray.init(address=cluster.address, log_to_driver=False)
        deploy(port, "0")
        print(cluster.address, flush=True)
        sys.stdin.read()
        outlive.shutdown()
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
