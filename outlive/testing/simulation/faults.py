"""Faults: they carry out what goes wrong in a played cluster, by its plan."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from outlive.testing.history import Operation
from outlive.testing.simulation.clients import is_forgotten, lost_with
from outlive.testing.simulation.network import Actor, Message
from outlive.testing.simulation.peers import CATALOG, keeper_name
from outlive.testing.simulation.plan import KEYS, Fault
from outlive.testing.simulation.scheduler import Process, mix, number_of

if TYPE_CHECKING:
    from outlive.testing.simulation.machines import Machine
    from outlive.testing.simulation.played import PlayedCluster

_TO_LEARN = 3.0  # seconds that a replaced actor goes on until it learns of it
_TO_NOTICE = 1.0, 14.0  # seconds until the head declares a machine dead: the least, and the most that is added
_LITTLE = 0.012  # seconds from the beginning of a call to a fault upon it, at most


class Faults:
    """The faults of the processes and machines of a cluster."""

    def __init__(self, cluster: PlayedCluster) -> None:
        self._cluster, self._scheduler = cluster, cluster.scheduler
        self.replaced: list[Process] = []  # processes of actors that were replaced while alive

    def meet(self, fault: Fault) -> None:
        """Cause a fault now, or a little after a call begins."""
        if not fault.upon or fault.kind.endswith("call"):
            self._do(fault)
            return
        delay = _LITTLE * mix(self._scheduler.key, number_of(str(fault))) / 2**64
        at, do = self._scheduler.at, functools.partial(self._do, fault)
        self._cluster.network.awaited.setdefault(fault.upon, []).append(lambda: at(self._scheduler.now + delay, do))

    def _delay_call(self, fault: Fault) -> None:
        self._cluster.network.delayed[fault.upon, fault.target] = lambda _: fault.seconds

    def _abandon_call(self, fault: Fault) -> None:
        def abandon(message: Message) -> float:
            process = message.caller.process
            interrupts = fault.other == "interrupt" and process.name in self._cluster.works
            end = functools.partial(self._interrupt, process) if interrupts else process.kill
            draw = mix(self._scheduler.key, number_of(str(fault))) / 2**64
            self._scheduler.at(self._scheduler.now + draw * min(fault.seconds, 1.0), end)
            return fault.seconds

        self._cluster.network.delayed[fault.upon, fault.target] = abandon

    def _do(self, fault: Fault) -> None:
        self._cluster.say(None, f"FAULT: {fault}")
        getattr(self, f"_{fault.kind.replace(' ', '_')}")(fault)

    def _kill_catalog(self, _: Fault) -> None:
        if (actor := self._cluster.network.actors.get(CATALOG)) is not None:
            actor.process.kill()

    def _stop_catalog(self, fault: Fault) -> None:
        if (actor := self._cluster.network.actors.get(CATALOG)) is not None:
            self._stop(actor.process, fault.seconds)

    def _keeper(self, fault: Fault) -> Actor | None:
        machine = self._cluster.at(fault.target)
        return None if machine is None else self._cluster.network.actors.get(keeper_name(machine.name))

    def _kill_keeper(self, fault: Fault) -> None:
        if (actor := self._keeper(fault)) is not None:
            actor.process.kill()

    def _end_keeper(self, fault: Fault) -> None:
        if (actor := self._keeper(fault)) is not None:
            actor.end()

    def _stop_keeper(self, fault: Fault) -> None:
        if (actor := self._keeper(fault)) is not None:
            self._stop(actor.process, fault.seconds)

    def _kill_client(self, fault: Fault) -> None:
        if fault.target in self._cluster.processes:
            self._cluster.processes[fault.target].kill()

    def _stop_client(self, fault: Fault) -> None:
        if fault.target in self._cluster.processes:
            self._stop(self._cluster.processes[fault.target], fault.seconds)

    def _interrupt_client(self, fault: Fault) -> None:
        if (process := self._cluster.processes.get(fault.target)) is not None:
            self._interrupt(process)

    def _interrupt(self, process: Process) -> None:
        works = self._cluster.works.get(process.name)
        if works is None or not process.alive or not works.busy:
            return
        for task in self._scheduler.tasks:
            if task.process is process and task.what == "works" and not task.dead and task.parked:
                task.interrupt = KeyboardInterrupt()
                self._scheduler.due(self._scheduler.now, task)

    def _stop(self, process: Process, seconds: float) -> None:
        process.stop()
        self._scheduler.at(self._scheduler.now + seconds, process.go_on)

    def _kill_machine(self, fault: Fault) -> None:
        machine = self._cluster.at(fault.target)
        if machine is None or not machine.host.alive:
            return
        self._judge_loss(machine)
        machine.host.alive = False
        for node in [node for node in machine.host.nodes if node.alive]:
            node.kill()
            least, more = _TO_NOTICE
            seconds = least + more * mix(self._scheduler.key, self._cluster.ticks) / 2**64
            self._scheduler.at(self._scheduler.now + seconds, functools.partial(self.notice, node))

    def _restart_node(self, fault: Fault) -> None:
        if (machine := self._cluster.at(fault.target)) is not None:
            self._cluster.restarts.restart(machine, fault)

    def _crash_successor(self, fault: Fault) -> None:
        """Have the next keeper that starts on a machine killed, `fault.seconds` calls of the system later."""
        if (machine := self._cluster.at(fault.target)) is not None:
            machine.host.crash = int(fault.seconds)

    def notice(self, machine: Machine) -> None:
        """Have the head declare a machine dead."""
        if machine.known_dead_at is None:
            machine.known_dead_at = self._scheduler.now
            self._cluster.say(None, f"the head declares {machine.name} dead")
            for actor in list(self._cluster.network.actors.values()):
                if actor.machine is machine:
                    (actor.abandon if actor.process.stopped else actor.end)()

    def _judge_loss(self, machine: Machine) -> None:
        """Record that arrays may be lost with their only machine: its death may have put `lost_with` in their place.

        A read may also find nothing if nobody can know of the loss, since the array has no key or the catalog died too.
        That counts as a deletion which may or may not have happened.
        """
        lost = lost_with(machine.host.name)
        forgotten = is_forgotten(self._cluster.plan)
        for key in dict.fromkeys(one.key for one in self._cluster.history):
            puts = [one for one in self._cluster.history if one.kind == "put" and one.key == key]
            if any(self._may_be_lost(one) for one in puts):
                what, moment = f"death of {machine.name}", self._cluster.tick()
                if key in KEYS and not any(one.key == key and one.value == lost for one in self._cluster.history):
                    self._cluster.history.append(Operation(what, "put", key, lost, moment, None, "unknown"))
                if key not in KEYS or forgotten:
                    self._cluster.history.append(Operation(what, "delete", key, None, moment, None, "unknown"))

    def _may_be_lost(self, put: Operation) -> bool:
        ops = (op for client in self._cluster.plan.clients for op in client.ops if op.value == put.value)
        is_alone = put.value in self._cluster.fewer or any(op.replicas < 2 for op in ops)
        return put.returned is None or put.outcome != "done" or is_alone

    def _drain_machine(self, fault: Fault) -> None:
        """Mark a machine as one that is about to be taken away; its keeper is told."""
        if (machine := self._cluster.at(fault.target)) is not None:
            machine.draining = True

    def _cut(self, fault: Fault) -> None:
        self._cut_one_way(fault)
        self._cut_one_way(fault._replace(target=fault.other, other=fault.target))

    def _cut_one_way(self, fault: Fault) -> None:
        if fault.target in self._cluster.machines and fault.other in self._cluster.machines:
            one, other = self._cluster.machines[fault.target], self._cluster.machines[fault.other]
            self._cluster.network.cut(one, other, self._scheduler.now + fault.seconds)

    def _replace_catalog(self, fault: Fault) -> None:
        self._replace(self._cluster.network.actors.get(CATALOG), fault)

    def _replace_keeper(self, fault: Fault) -> None:
        self._replace(self._keeper(fault), fault)

    def _replace(self, actor: Actor | None, fault: Fault) -> None:
        """Replace an actor that is only stopped. It goes on beside its successor, and then learns of it."""
        if actor is not None and actor.process.alive:
            old = actor.process
            self._stop(old, fault.seconds)
            self.replaced.append(old)
            self._scheduler.at(self._scheduler.now + fault.seconds + _TO_LEARN, old.kill)
            actor.replace()

    def _crash_client(self, fault: Fault) -> None:
        self._crash(self._cluster.processes.get(fault.target), fault)

    def _crash_keeper(self, fault: Fault) -> None:
        actor = self._keeper(fault)
        self._crash(None if actor is None else actor.process, fault)

    def _crash(self, process: Process | None, fault: Fault) -> None:
        """Kill a process between two system calls, `fault.seconds` of them later."""
        if process is not None and process.alive:
            process.steps_left = int(fault.seconds)

    def _set_clock(self, fault: Fault) -> None:
        if fault.target in self._cluster.machines:
            self._cluster.lifetimes.look_at_clocks(self._scheduler.now)
            for node in self._cluster.machines[fault.target].host.nodes:
                node.clock += fault.seconds
