"""Run as a program: the head of a Ray cluster, and a server for Ray Client at that port; prints its address.

It lasts until stdin is closed, and has no driver. Where the server has died before, its logs are printed on stderr.
"""

from __future__ import annotations

import sys

from ray._private.ray_constants import PROCESS_TYPE_RAY_CLIENT_SERVER
from ray.cluster_utils import Cluster

from tests.little_ray import start_little, with_environments
from tests.ports import client_server_logs, wait_for_client_server

if __name__ == "__main__":
    start_little()
    port = int(sys.argv[1])
    cluster = Cluster()
    try:
        with with_environments():  # the server asks for one for each client
            cluster.add_node(
                num_cpus=2,
                object_store_memory=80 << 20,
                include_dashboard=False,
                ray_client_server_port=port,
            )
        wait_for_client_server(cluster.head_node, port)
        print("address", cluster.address, flush=True)
        sys.stdin.read()
        (server,) = cluster.head_node.all_processes[PROCESS_TYPE_RAY_CLIENT_SERVER]
        if (code := server.process.poll()) is not None:
            print("Ray Client's server died before its clients did:", code, file=sys.stderr)
            print(client_server_logs(cluster.head_node), file=sys.stderr)
    finally:
        cluster.shutdown()
