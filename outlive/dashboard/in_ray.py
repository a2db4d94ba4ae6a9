"""The source of a real cluster. It joins the cluster only once that has a store, or when it is asked to act.

To look at workers joins nothing, as `outlive workers`. The catalog and the keepers are asked with a deadline, and none
is started to be looked at. Reading an array for its picture, and draining, are what any program of a user does.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from outlive.dashboard import array_rows, node_rows, pictures, worker_rows
from outlive.errors import BadSetting, StoreUnavailable

if TYPE_CHECKING:
    from outlive.cluster.port import Peers
    from outlive.dashboard.sources import Document, Progress
    from outlive.workers.bounds import Bounds

_MOST = 200_000  # arrays of a store that the page knows at a time: some 60 MB
_PATIENCE = 10.0  # seconds for the catalog or a keeper


class RaySource:
    """See `sources.Source`.

    Parameters
    ----------
    find
        Finds the cluster without joining it; returns the job of this process if it has one. Raises StoreUnavailable.
    join
        Joins it; returns the same.
    """

    def __init__(self, find: Callable[[], str | None], join: Callable[[], str | None]) -> None:
        self._find, self._join = find, join
        self._lock = threading.Lock()
        self._peers_: Peers | None = None

    def about(self) -> Document:
        """Address and versions."""
        import ray

        import outlive
        from outlive.ray_internals import rpc

        self._job()
        return {"address": rpc.gcs_address(), "ray": ray.__version__, "outlive": outlive.__version__}

    def workers(self) -> Document:
        """Every worker, as `outlive workers`."""
        from outlive.workers import inspect

        return worker_rows.document(inspect(leave_out_job=self._job()))

    def arrays(self, store: str) -> Document:
        """The arrays of a store, and those that are lost, by key."""
        from outlive.catalog.wire import unpack_found
        from outlive.cluster.port import Call

        peers = self._peers()
        if peers is None:
            return {"stores": {}, "rows": [], "left_out": 0}
        with self._forgotten_if_gone():
            found = [
                *unpack_found(peers.ask_catalog(Call.of("entries", store, ""), _PATIENCE)),
                *unpack_found(peers.ask_catalog(Call.of("lost", store), _PATIENCE)),
            ]
        kept = sorted((one for one in found if one is not None), key=lambda one: one.info.key or "")
        rows = {one.info.id: array_rows.row(one) for one in kept[:_MOST]}
        left_out = max(0, len(kept) - _MOST)
        return {"stores": self._stores(peers), "rows": list(rows.values()), "left_out": left_out}

    def details(self, arrays: Sequence[tuple[str, str]]) -> dict[str, Document]:
        """When arrays were last read on any of these nodes, and end: each node's keeper is asked once."""
        from outlive.cluster.port import Call

        peers = self._peers()
        by_node: dict[str, list[str]] = {}
        for array_id, node in arrays:
            by_node.setdefault(node, []).append(array_id)
        calls = {node: Call.of("times", ids) for node, ids in by_node.items() if node}
        answers = {} if peers is None else peers.ask(calls, node_rows.PATIENCE)
        found: dict[str, Document] = {}
        for node, answer in answers.items():
            for array_id, times in zip(by_node[node], answer, strict=True):
                if times is not None:
                    read_at, ends_at, on_disk = times
                    before = found.get(array_id, {"read_at": read_at, "ends_at": ends_at, "on_disk": on_disk})
                    found[array_id] = {**before, "read_at": max(read_at, before["read_at"])}
        return found

    def picture(self, store: str, key: str, array_id: str, at: int | None) -> Document:
        """A picture of the array of a key. If that was put again meanwhile, of the new one."""
        import outlive
        from outlive.store import session

        if self._peers() is None:
            raise StoreUnavailable("the cluster has no store yet")  # and gets none by being looked at
        self._act()
        handle = outlive.open(store).handle(key)
        return {**pictures.of(handle, session.current().node, at), "changed": handle.id != array_id}

    def nodes(self) -> Document:
        """Every node, the head first, and those that were lost with arrays."""
        from outlive.cluster.port import Call
        from outlive.ray_internals import node_workers

        peers = self._peers()
        if peers is None:
            self._job()
            nodes = sorted(node_workers.nodes(), key=lambda node: (not node.head, node.name))
            rows = [node_rows.plain(node.node_id, node.name, node.ip, head=node.head) for node in nodes]
            return {"nodes": rows, "stores": {}, "autoscaler": None}
        with self._forgotten_if_gone():
            rows, scales = node_rows.rows(peers)
        known = {node.id: (node.host, node.ip) for node in peers.nodes()}
        for node, (count, nbytes, at) in peers.ask_catalog(Call.of("lost_nodes"), _PATIENCE).items():
            rows.append(node_rows.lost(node, known.get(node, ("", "")), count, nbytes, at))
        return {"nodes": rows, "stores": self._stores(peers), "autoscaler": scales}

    def doctor(self) -> Document:
        """The doctor's findings, without the file of muted ones."""
        from outlive.doctor import examine

        return examine(own_job=self._job(), join=self._act).to_json()

    def preview_trim(self, limits: Document) -> Document:
        """The workers that would leave."""
        return self._trim(limits, None)

    def trim(self, limits: Document, only: Sequence[str]) -> Document:
        """Let workers go, of these alone: it is decided anew, as some may have got work since the preview."""
        return self._trim(limits, set(only))

    def _trim(self, limits: Document, only: set[str] | None) -> Document:
        from outlive.ray_internals import leases
        from outlive.workers.inspection import inspect
        from outlive.workers.trimming import carry_out, decide, lacks_job

        wanted = _bounds(limits)
        if only is not None:
            leases.return_left()  # of a raylet that did not answer before
        job = self._act() if wanted.max_memory is not None else self._job()
        report = inspect(leave_out_job=job)
        chosen = decide(report, wanted, limits.get("job"))
        asked = limits.get("workers")
        named = set(asked) if asked is not None else None
        chosen = [
            one
            for one in chosen
            if (named is None or one.worker.worker_id in named) and (only is None or one.worker.worker_id in only)
        ]
        if only is not None and lacks_job(chosen):
            self._act()
        return worker_rows.trimmed(carry_out(report, chosen, limits.get("job"), dry_run=only is None))

    def preview_drain(self, node: str) -> Document:
        """The arrays that draining a node would move, and the room of the others."""
        from outlive.cluster.port import Call

        peers = self._peers()
        rows = self.nodes()["nodes"]
        row = next((one for one in rows if one["id"] == node and one["role"] != "lost"), None)
        if row is None or peers is None:
            raise StoreUnavailable(f"no node {node[:8]} is alive, or it has no store")
        others = [one["id"] for one in rows if one["id"] != node and one["keeper"]]
        room = peers.ask({one: Call.of("room") for one in others}, node_rows.PATIENCE)
        return {"node": row, "others": len(others), "answered": len(room), "room": sum(room.values())}

    def drain(self, node: str, progress: Progress) -> Document:
        """Have other nodes keep what this one keeps."""
        import outlive

        self._act()
        done = outlive.drain(node, progress=progress)
        return {"arrays": done.arrays, "nbytes": done.nbytes, "stayed": done.stayed}

    def _stores(self, peers: Peers) -> Document:
        from outlive.cluster.port import Call

        totals = peers.ask_catalog(Call.of("totals"), _PATIENCE)
        return {name: list(total) for name, total in totals.items()}

    def _job(self) -> str | None:
        """This process's job, if it has joined the cluster; else the cluster is found."""
        with self._lock:
            return self._find()

    def _act(self) -> str | None:
        with self._lock:
            return self._join()

    def _peers(self) -> Peers | None:
        """The way to catalog and keepers, if there are any; then this process joins the cluster."""
        from outlive.cluster.ray_port import RayPeers

        if self._peers_ is None and self._has_store():
            self._act()
            with self._lock:
                self._peers_ = self._peers_ or RayPeers()
        return self._peers_

    def _has_store(self) -> bool:
        from outlive.ray_internals import node_stats
        from outlive.ray_internals.node_table import NAMESPACE

        self._job()
        return any(actor.namespace == NAMESPACE for actor in node_stats.actors())

    @contextlib.contextmanager
    def _forgotten_if_gone(self) -> Iterator[None]:
        """If the store was shut down since it was found, the next question finds the cluster without one."""
        try:
            yield
        except StoreUnavailable:
            if not self._has_store():
                self._peers_ = None
            raise


def _bounds(limits: Document) -> Bounds:
    """Raises BadSetting."""
    from outlive.workers.bounds import bounds

    if limits.get("workers") is not None:  # some workers by name: all of them
        return bounds(0, 0)
    least, most = limits.get("min_idle") or 0, limits.get("max_idle")
    if not all(value is None or (isinstance(value, int) and not isinstance(value, bool)) for value in (least, most)):
        raise BadSetting("min_idle and max_idle are numbers of workers")
    return bounds(least, most, limits.get("max_memory") or None)
