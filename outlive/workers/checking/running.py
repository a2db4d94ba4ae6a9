"""The cluster that this process is connected to: the settings in force, and nodes that cannot be scaled down."""

from __future__ import annotations

import statistics

from outlive.ray_internals import config, node_workers, processes
from outlive.units import format_size
from outlive.workers.checking import system_settings
from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.inspection import inspect
from outlive.workers.settings import KNOWN, reaper


def check() -> list[Misconfiguration]:
    """Look at the running cluster."""
    report = inspect()
    took = [seconds for _, seconds in node_workers.start_times().values() if seconds]
    start_up = round(statistics.median(took) * 1000) if took else system_settings.START_UP_MS
    given = {name: value for name, value in config.system_config().items() if name in KNOWN}
    found = system_settings.check(given, None, start_up_ms=min(start_up, 1000))
    for node in report.nodes:
        name = f"node {node.node_id[:8]}"
        own = {one.name: one.value for one in node.settings if one.source == "environment"}
        for finding in system_settings.check(own, None, start_up_ms=min(start_up, 1000)):
            found.append(Misconfiguration(finding.kind, None, f"{name}: {finding.what}", finding.why, finding.fix))
        here = [worker for worker in report.workers if worker.node_id == node.node_id]
        stuck = [worker for worker in here if worker.state in {"idle", "leaving"} and worker.owned]
        if stuck and not reaper(list(node.settings)).off:
            memory = format_size(sum(worker.unique or 0 for worker in stuck))
            what = f"{name}: {len(stuck)} idle workers own objects and keep {memory}"
            why = "no setting lets them go while their objects live"
            found.append(
                Misconfiguration("idle-owners", None, what, why, "store arrays with outlive: then no worker owns them")
            )
    unseen = [
        Misconfiguration("no-answer", None, one, "what it holds is not known", "see `ray status`")
        for one in report.unseen
    ]
    return unseen + found + _pinned()


def _pinned() -> list[Misconfiguration]:
    """Nodes that hold objects and run nothing: no idle timeout ever reaches them."""
    found = []
    for answer in processes.ask(node_workers.nodes()):
        store, node = answer.store, answer.node
        running = any(stats.num_running_tasks for stats in answer.processes)
        if store is not None and store.num_local_objects and not running and not node.head:
            what = (
                f"node {node.node_id[:8]} runs nothing, and holds {store.num_local_objects} objects "
                f"({format_size(store.object_store_bytes_used)})"
            )
            why = "the autoscaler removes no node that holds an object: idle_timeout_minutes cannot reach it"
            fix = "drop the references, or keep the arrays with outlive"
            found.append(Misconfiguration("unreachable-timeout", None, what, why, fix))
    return found
