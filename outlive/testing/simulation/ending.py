"""The end of a schedule: all faults are over, the background work gets done, and every key is read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from outlive.arrays.layout import KEEPER
from outlive.testing.simulation.plan import KEYS, Client, Op

if TYPE_CHECKING:
    from outlive.testing.simulation.machines import Machine
    from outlive.testing.simulation.played import PlayedCluster

_NEW_READERS = 4  # one in so many schedules ends with reads on nodes without a shelf
_AT_ONCE = 14.0  # seconds of frequent rounds, in which most work is done
_MANY, _FEW = (4.0, 2.0), (24.0, 6.0)  # seconds between rounds: the least, and the most that is added
_UNTIL_CALM = 400.0  # seconds at most
_ORPHANS = 75.0  # seconds until a keeper has noticed every orphan
_READ = 300.0  # seconds for all reads, at most


def end(cluster: PlayedCluster) -> None:
    """Bring a schedule to its end, unless something is violated already. Raises Stuck."""
    if cluster.is_broken:
        return
    _heal(cluster)
    cluster.rounds.set(*_MANY)
    _go_on_for(cluster, _AT_ONCE)
    cluster.rounds.set(*_FEW)
    scheduler = cluster.scheduler
    latest = scheduler.now + _UNTIL_CALM
    scheduler.run(lambda: _is_calm(cluster) or scheduler.now > latest, latest + _ORPHANS)
    _go_on_for(cluster, _ORPHANS)
    _read_all(cluster)


def _heal(cluster: PlayedCluster) -> None:
    """End all cuts and stops. Kill all clients and replaced actors, so that their locks are free."""
    cluster.network.heal()
    for machine in cluster.machines.values():
        if not machine.alive:
            cluster.faults.notice(machine)
        machine.host.crash = None
        for process in machine.processes:
            process.steps_left = None
            process.go_on()
    for machine in cluster.machines.values():  # a keeper that is gone for good may have no caller
        if machine.alive and _has_shelf(machine):
            cluster.start_keeper(machine)
    for machine in cluster.machines.values():  # a keeper may have gone on after its node
        for process in machine.processes if not machine.alive else ():
            process.kill()
    for process in (*cluster.faults.replaced, *cluster.processes.values()):
        process.kill()


def _go_on_for(cluster: PlayedCluster, seconds: float) -> None:
    scheduler = cluster.scheduler
    end = scheduler.now + seconds
    scheduler.at(end, lambda: None)
    scheduler.run(lambda: scheduler.now >= end or bool(scheduler.errors), end + 1.0)


def _is_calm(cluster: PlayedCluster) -> bool:
    catalog = cluster.catalog
    return bool(cluster.scheduler.errors) or (catalog is not None and catalog.is_calm())


def _read_all(cluster: PlayedCluster) -> None:
    """Each node that has a shelf reads every key, and every array whose handle was handed on."""
    cluster.restarts.is_judged = True
    ops = tuple(Op(0.0, "get", (key,)) for key in KEYS)
    ops += tuple(Op(0.0, "get_handle", (known.register,)) for known in cluster.handles.all())
    for node, machine in list(cluster.machines.items()):
        # A node without a shelf has to copy every array. That is slow, so only some schedules try it.
        if machine.alive and (cluster.plan.seed % _NEW_READERS == 0 or _has_shelf(machine)):
            cluster.start(Client(f"last-{node}", node, ops))
    cluster.scheduler.run(cluster.is_done, cluster.scheduler.now + _READ)


def _has_shelf(machine: Machine) -> bool:
    return os.path.exists(f"{machine.path}/{KEEPER}")
