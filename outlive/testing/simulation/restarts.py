"""Restarts: Ray is started again on a machine, and the keeper of the next node adopts the shelf of the one before.

The files stay in the machine's shared memory. Until the next node has them, reads may say that they are lost. They may
also say that there are none, if the catalog died too: nobody knows of them then. At the end all of them are back.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from outlive.arrays.layout import MEM, NEW, NODE
from outlive.arrays.root import names_in
from outlive.arrays.tend.adopt import orphaned
from outlive.testing.simulation.machines import Host, Machine
from outlive.testing.simulation.plan import KEYS
from outlive.testing.simulation.scheduler import mix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outlive.testing.simulation.plan import Fault, Plan
    from outlive.testing.simulation.played import PlayedCluster
    from outlive.testing.simulation.scheduler import Process

CLUSTER = "played"
RESTART, CRASH = "restart node", "crash successor"
TWO, STOPPED = "two", "stopped"  # two nodes start at once; the old keeper is stopped, and goes on later
_NAMES = "defghijklmnopqrstuvwxyz"
_TO_NOTICE = 0.05, 2.0, 12.0  # seconds until the head declares a node dead whose Ray was stopped: one of these
TO_END = 2.0  # seconds that a process may go on whose raylet is dead
ENDS_KEEPER = {"kill keeper", "end keeper", "stop keeper", "crash keeper", "abandon call", CRASH, RESTART}


def has_restarts(plan: Plan) -> bool:
    """Whether a plan starts Ray again somewhere. If not, its machines have no common folder for shelves."""
    return any(fault.kind == RESTART for fault in plan.faults)


def adopts(machine: Machine, address: str) -> bool:
    """Whether a node's machine has a shelf to adopt."""
    root = machine.host.root
    return bool(root) and any(orphaned(root, CLUSTER, machine.name, address))


class Restarts:
    """All machines on which Ray is started again."""

    def __init__(self, cluster: PlayedCluster) -> None:
        self._cluster, self._names = cluster, iter(_NAMES)
        self.starting = 0  # nodes that are about to start
        self.is_judged = False  # whether a loss counts that a read reports: all has been adopted by now

    def may_be_away(self) -> bool:
        """Whether arrays may be on a shelf that is not adopted yet."""
        return not self.is_judged and any(len(host.nodes) > 1 or self.starting for host in self._hosts())

    def _hosts(self) -> list[Host]:
        return list(dict.fromkeys(machine.host for machine in self._cluster.machines.values()))

    def restart(self, machine: Machine, fault: Fault) -> None:
        """Stop Ray on a node's machine, and start it again after `fault.seconds`."""
        if not machine.alive or machine.is_head:
            return
        scheduler = self._cluster.scheduler
        stopped = machine.keeper if fault.other == STOPPED else None
        if stopped is not None and stopped.alive:
            stopped.stop()
            scheduler.at(scheduler.now + fault.seconds + TO_END, lambda: self._goes_on(stopped))
        self._may_lose_drafts(machine)
        machine.kill(spared=stopped)
        draw = mix(scheduler.key, self._cluster.ticks, machine.host.nodes.index(machine))
        seconds = _TO_NOTICE[draw % len(_TO_NOTICE)] * (draw >> 8) / 2**56
        scheduler.at(scheduler.now + seconds, lambda: self._cluster.faults.notice(machine))
        for name in itertools.islice(self._names, 2 if fault.other == TWO else 1):
            self.starting += 1
            scheduler.at(scheduler.now + fault.seconds, lambda name=name: self._start(name, machine))  # type: ignore[misc]

    def _may_lose_drafts(self, machine: Machine) -> None:
        """Record that puts that are under way on a node may count as lost: their drafts are not adopted."""
        cluster = self._cluster
        names = {name for name in cluster.works if cluster.processes[name].node is machine}
        lost = -ord(machine.host.name)
        may_be = {one.key for one in cluster.history if one.value == lost}  # at any later moment
        for put in list(cluster.history):
            if put.client in names and put.kind == "put" and put.returned is None and put.key in KEYS:
                if put.key not in may_be:
                    why = f"restart of {machine.name}"
                    cluster.history.append(put._replace(client=why, value=lost, invoked=cluster.tick()))
                may_be.add(put.key)

    def _goes_on(self, process: Process) -> None:
        scheduler = self._cluster.scheduler
        process.go_on()
        scheduler.at(scheduler.now + TO_END, process.kill)

    def _start(self, name: str, before: Machine) -> None:
        self.starting -= 1
        host, cluster = before.host, self._cluster
        if not host.alive:
            return
        machine = Machine(name, is_head=False, path=f"{host.root}/{CLUSTER}/{name}", clock=before.clock, host=host)
        cluster.machines[name] = machine
        cluster.lifetimes.add(machine)
        cluster.say(None, f"Ray is started again on the machine of {before.name}: node {name}")
        if host.nodes[-2] is before:  # the first of two has the clients
            for client in cluster.rest_of_clients(before):
                cluster.start(client._replace(name=f"{client.name}-{name}", node=name))

    def left_behind(self) -> Iterator[str]:
        """Shelves of dead nodes that nobody has adopted, on machines that live."""
        for machine in self._cluster.machines.values():
            if not machine.alive and machine.host.alive and _has_files(machine.path):
                yield machine.name


def _has_files(path: str) -> bool:
    """Whether a shelf says whose it is, or has segments."""
    drafts = [draft for name in names_in(f"{path}/{NEW}") for draft in names_in(f"{path}/{NEW}/{name}")]
    return bool(drafts or names_in(f"{path}/{MEM}")) or NODE in names_in(path)
