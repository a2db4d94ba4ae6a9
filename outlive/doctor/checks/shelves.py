"""Shelves of an outlive store, if the cluster runs one: nearly full, on disk, or without their keeper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from outlive.doctor.cluster import Cluster
from outlive.doctor.model import Evidence, Symptom
from outlive.ray_internals import raylets
from outlive.ray_internals.node_table import NAMESPACE
from outlive.units import count, format_size

if TYPE_CHECKING:
    from outlive.cluster.keeper import ShelfStats

NEARLY_FULL = 0.9
_PATIENCE = 10.0  # seconds for a keeper to answer


def check(cluster: Cluster) -> Iterable[Symptom]:
    """Check each shelf. It starts nothing, and joins only a cluster that has a store."""
    import ray
    from ray.exceptions import GetTimeoutError

    from outlive.cluster.port import Call
    from outlive.cluster.ray_port import RayPeers
    from outlive.errors import OutliveError

    if not ray.is_initialized():
        if not any(actor.namespace == NAMESPACE for actor in cluster.actors):
            return
        cluster.join()
    peers = RayPeers()
    for node in peers.keeper_nodes():
        try:
            stats = peers.ask_keeper(node, Call.of("stats"), _PATIENCE)
        except OutliveError as error:
            cause = error.__cause__ or error
            late = isinstance(cause, GetTimeoutError)
            reason = f"did not answer in {_PATIENCE:.0f} s" if late else type(cause).__name__
            yield of_silence(node, reason, _pid(cluster, node), raylets.log_folder(node))
        else:
            yield from of_shelf(stats)


def _pid(cluster: Cluster, node: str) -> int | None:
    """The name of this node's keeper in the GCS."""
    from outlive.cluster import actors

    name = actors.keeper_name(node)
    return next((one.pid for one in cluster.actors if (one.namespace, one.name) == (NAMESPACE, name)), None)


def of_silence(node: str, reason: str, pid: int | None, log_folder: str) -> Symptom:
    """The finding for a keeper that did not answer."""
    which = "PID" if pid is None else str(pid)
    return Symptom(
        kind="silent-keeper",
        severity="wrong",
        what=f"outlive's keeper on node {node[:8]} does not answer{'' if pid is None else f': pid {pid}'}",
        why="Arrays are there and can be read by handle; deleting and listing them waits for the keeper.",
        fix=f"there: `ps -o pid,stat,args -p {which}`; `kill -CONT {which}` where it is in state T; {log_folder}/"
        f"*-{which}.*; a new one starts by itself if that one ends and its node is well",
        evidence=(Evidence(reason, node=node, pid=pid),),
    )


def of_shelf(shelf: ShelfStats) -> Iterator[Symptom]:
    """`check`, on plain data, for one shelf."""
    arrays = count(shelf.arrays, "array")
    if shelf.budget and shelf.used >= NEARLY_FULL * shelf.budget:
        yield Symptom(
            kind="shelf-nearly-full",
            severity="risk",
            what=f"outlive's shelf on node {shelf.node[:8]} is {shelf.used / shelf.budget:.0%} full: "
            f"{format_size(shelf.used)} of {format_size(shelf.budget)}",
            why="The next put that does not fit raises StoreFull.",
            fix='outlive ls --long, outlive rm KEY; or outlive.open(memory="...") with more; or put with a ttl',
            evidence=(
                Evidence(
                    f"{arrays} in {shelf.path}",
                    node=shelf.node,
                    pid=shelf.keeper_pid,
                    numbers={"used_bytes": shelf.used, "budget_bytes": shelf.budget, "arrays": shelf.arrays},
                ),
            ),
            weight=shelf.used,
        )
    if shelf.on_disk:
        yield Symptom(
            kind="shelf-on-disk",
            severity="waste",
            what=f"outlive's shelf on node {shelf.node[:8]} is on disk: {shelf.on_disk}",
            why="Puts run at the disk's speed once the page cache is full.",
            fix="give the container a larger /dev/shm (docker run --shm-size=8g), or set OUTLIVE_ROOT",
            evidence=(Evidence(f"{arrays} in {shelf.path}", node=shelf.node, pid=shelf.keeper_pid),),
            weight=shelf.used,
        )
