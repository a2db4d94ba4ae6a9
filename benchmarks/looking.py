"""`python -m benchmarks.looking`: how long a look at the workers of a large cluster takes, on one that is played.

The GCS, the raylets and the workers are played by another process (`tests/workers/played.py`), over real gRPC. Each
answers after the time that Ray's own was measured to take, and a round trip between machines. That process is one
Python program, which answers all of them: on a real cluster each node answers by itself, so that the figures are too
large rather than too small.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection

from outlive.ray_internals import rpc
from outlive.workers import inspect
from tests.workers.played import played_cluster

RAYLET = 0.050  # seconds in which a raylet has asked 30 workers, and a round trip
GCS = 0.010
TASKS = 10_000  # of which the GCS tells


def main() -> None:
    """Print the median and the slowest of some looks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--workers", type=int, default=8, help="of each node")
    parser.add_argument("--silent", type=int, default=0, help="nodes of which one worker is stopped")
    parser.add_argument("--looks", type=int, default=5)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    player = context.Process(target=_play, args=(theirs, options.nodes, options.workers, options.silent))
    player.start()
    try:
        _measure(ours, options)
    finally:
        ours.send(None)
        player.join()


def _measure(player: Connection, options: argparse.Namespace) -> None:
    rpc.name_gcs(player.recv())
    took = []
    for _ in range(options.looks):
        begun = time.perf_counter()
        report = inspect()
        took.append(time.perf_counter() - begun)
        assert len(report.workers) == options.nodes * options.workers
        assert len(report.unseen) == options.silent
    first, *others = took
    print(
        f"{options.nodes} nodes, {len(report.workers)} workers, {options.silent} silent: the first look {first:.2f} s, "
        f"others {statistics.median(others):.2f} s (slowest {max(others):.2f} s)"
    )


def _play(parent: Connection, nodes: int, workers: int, silent: int) -> None:
    tasks = max(1, TASKS // (nodes * workers))
    with played_cluster(nodes, workers, functions=300, tasks=tasks) as cluster:
        cluster.gcs_takes, cluster.raylet_takes = GCS, RAYLET
        for node in cluster.nodes[:silent]:
            node.workers[0].silent = True
        parent.send(cluster.address)
        parent.recv()


if __name__ == "__main__":
    main()
