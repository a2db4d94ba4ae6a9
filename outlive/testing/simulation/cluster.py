"""A played cluster: machines, their processes, and what happens to them by a plan."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable

from outlive.arrays.shelf import Shelf
from outlive.cluster.port import Call
from outlive.errors import OutliveError
from outlive.testing.history import Operation
from outlive.testing.simulation import ending, ports, stage
from outlive.testing.simulation.actors import CATALOG_GROUPS, KEEPER_GROUPS, Helper, PlayedCatalog, PlayedKeeper
from outlive.testing.simulation.clients import PlayedSession, Works, let_go
from outlive.testing.simulation.faults import Faults
from outlive.testing.simulation.handles import Handles, Scoped
from outlive.testing.simulation.judge import check_ledgers
from outlive.testing.simulation.lifetimes import Lifetimes
from outlive.testing.simulation.machines import Host, Machine
from outlive.testing.simulation.network import Actor, Died, Network
from outlive.testing.simulation.peers import CATALOG, PlayedPeers, keeper_name
from outlive.testing.simulation.plan import HEAD, KEYS, Client, Plan
from outlive.testing.simulation.restarts import Restarts, has_restarts
from outlive.testing.simulation.rounds import Rounds
from outlive.testing.simulation.scheduler import Future, Process, Scheduler, Stuck, mix
from outlive.testing.simulation.stage import SHELF_BYTES

_LONGEST = 900.0  # seconds: a longer schedule counts as stuck
_TRACED = 4000  # lines at most


class Cluster:
    """One schedule, from its plan to its end.

    Parameters
    ----------
    folders
        By machine: an empty or new folder for its shelf.
    roots
        By machine: the root folder of its shelves, if Ray is started again on some.
    traced
        Whether a trace is written.
    """

    def __init__(self, plan: Plan, folders: dict[str, str], roots: dict[str, str], *, traced: bool = False) -> None:
        self.plan, self.traced = plan, traced
        self.scheduler = Scheduler(mix(plan.seed), stage.resumed)
        stage.begin(self.scheduler, plan.seed, self.note_unexpected)
        self.network = Network(self.scheduler, plan.manners, self.say, self._oddity)
        self.network.traced = traced
        ports.begin(self.network)
        self.machines = {
            node: Machine(node, is_head=node == HEAD, path=folders[node], host=Host(node, roots.get(node, "")))
            for node in plan.nodes
        }
        self.remembered: dict[str, bytes] = {}
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.oddities: dict[int, str] = {}
        self.history: list[Operation] = []
        self.ended: set[str] = set()  # arrays without a key that may have ended by themselves
        self.batches: list[list[int]] = []  # operations of one put_many each
        self.fewer: set[int] = set()  # values whose puts were warned that there are fewer replicas
        self.handles, self.lifetimes = Handles(), Lifetimes(self.machines.values())
        self.seen_together: list[list[int]] = []  # operations of one get_many each
        self.sessions: list[PlayedSession] = []
        self.shelves: list[Shelf] = []
        self.works: dict[str, Works] = {}
        self._unfinished: list[tuple[str, Works]] = []  # clients that work, and some that have ended
        self.processes: dict[str, Process] = {}  # processes of clients, by name
        self.ticks = 0
        self.rounds, self.faults, self.restarts = Rounds(plan.seed), Faults(self), Restarts(self)
        self.is_tenured = has_restarts(plan)  # keepers then hold, sign and adopt shelves as real ones do

    # --- the history and the trace

    def tick(self) -> int:
        """The next moment of the history."""
        self.ticks += 1
        for register in self.lifetimes.ended(self.scheduler.now):
            self._may_end("its lifetime", register, self.ticks)
        return self.ticks

    def _may_end(self, why: str, register: str, moment: int) -> None:
        """Record that an array may be gone from here on, as a deletion that may or may not have happened.

        Each node ends its own copy of an array without a key. So a read that finds none says nothing about other nodes.
        """
        self.history.append(Operation(why, "delete", register, None, moment, None, "unknown"))
        if register not in KEYS:
            self.ended.add(register)

    def say(self, process: Process | None, what: str) -> None:
        if self.traced and len(self.trace) < _TRACED:
            who = "" if process is None else f"{process.name} on {process.node.name}: "
            self.trace.append(f"{self.scheduler.now:9.4f}  {who}{what}")

    def violated(self, what: str) -> None:
        self.violations.append(what)
        self.say(None, f"VIOLATED: {what}")

    def note_unexpected(self, process: Process, error: BaseException) -> None:
        """Record that an actor raised an error that is not outlive's."""
        if isinstance(error, FileNotFoundError):  # its shelf is being removed: it leaves the node
            return
        self.violated(f"{process.name} was answered {type(error).__name__}: {error}")

    def _oddity(self, key: int, name: str) -> bool:
        if key in self.plan.without:
            return False
        self.oddities[key] = name
        self.say(None, name)
        return True

    # --- processes

    def end_scope(self, scoped: Scoped) -> None:
        """Record that arrays of a scope may be gone from here on: its client leaves it, or is dead."""
        scoped.over, moment = True, self.tick()
        for register in scoped.registers:
            self._may_end("its scope", register, moment)

    def has_session(self, session: PlayedSession) -> None:
        self.sessions.append(session)

    def start_catalog(self) -> None:
        self.network.actors[CATALOG] = Actor(
            self.network, CATALOG, self.machines[HEAD], self._a_catalog, CATALOG_GROUPS
        )

    def _a_catalog(self, process: Process) -> PlayedCatalog:
        return PlayedCatalog(self, process, PlayedPeers(self, process))

    def start_keeper(self, machine: Machine) -> Actor:
        name = keeper_name(machine.name)
        actor = self.network.actors.get(name)
        if actor is None:
            actor = self.network.actors[name] = Actor(self.network, name, machine, self._a_keeper, KEEPER_GROUPS)
        return actor

    def _a_keeper(self, process: Process) -> PlayedKeeper:
        machine = process.node
        if self.is_tenured:
            return self._a_tenured_keeper(process)
        while machine.keeper is not None and machine.keeper.alive:  # it holds the keeper's lock
            self.scheduler.sleep(0.05)
        machine.keeper = process
        shelf = Shelf(machine.path, self.plan.memory or SHELF_BYTES)
        keeper = PlayedKeeper(self, process, PlayedPeers(self, process), shelf)
        self.shelves.append(shelf)
        process.at_death.append(lambda: let_go(shelf))
        return keeper

    def _a_tenured_keeper(self, process: Process) -> PlayedKeeper:
        machine: Machine = process.node
        machine.keeper = process
        if machine is not machine.host.nodes[0]:
            process.steps_left, machine.host.crash = machine.host.crash, None
        keeper = PlayedKeeper(self, process, PlayedPeers(self, process), None)
        shelf = keeper.shelf
        self.shelves.append(shelf)
        process.at_death.append(lambda: let_go(shelf))
        return keeper

    def ask_shelf(self, node: str, call: Call) -> Future:
        """Have another process of a node make a call that needs the shelf's files alone."""
        machine, future = self.machines[node], Future(self.scheduler)
        machine.processes_started += 1
        process = Process(self.scheduler, f"task-{node}.{machine.processes_started}", machine)
        machine.processes.append(process)
        self.scheduler.task.count += 1
        delay = 0.02 + 1.0 * self.scheduler.task.draw()
        process.spawn(call.method, self._help, process, call, future, delay, self.scheduler.process.node)
        if not machine.alive:
            process.kill()
        return future

    def _help(self, process: Process, call: Call, future: Future, delay: float, caller: Machine) -> None:
        self.scheduler.sleep(delay)
        self._cross(caller, process.node)
        try:
            if not os.path.exists(f"{process.node.path}/ledger"):
                raise Died(f"node {process.node.name} has no shelf")
            value = Helper(process.node.name, Shelf(process.node.path)).do(call)
        except Exception as error:  # noqa: BLE001 - the caller gets it
            future.set(error=error)
        else:
            self.scheduler.step()
            self._cross(process.node, caller)
            future.set(value)
        process.alive = False

    def _cross(self, one: Machine, other: Machine) -> None:
        """Wait while messages from the one machine to the other are cut off."""
        while until := self.network.closed_until(one, other):
            self.scheduler.sleep(until - self.scheduler.now + 0.001)

    def end_actor_of(self, process: Process) -> None:
        """End the actor of this process, for good."""
        for actor in list(self.network.actors.values()):
            if actor.process is process:
                self.say(process, "leaves, for good")
                actor.end()

    def rounds_of(self, process: Process, work: Callable[[], None], soon: Callable[[], bool] = lambda: False) -> None:
        """Repeat `work`, as an actor's thread does. If `soon`, the next time is within a second, as it really is."""
        task = self.scheduler.task
        while True:
            draw = task.draw()
            self.scheduler.sleep(draw if soon() else self.rounds.pause(self.scheduler.now, draw))
            try:
                work()
            except (OutliveError, FileNotFoundError) as error:  # the shelf may be removed
                self.say(process, f"{work.__name__}: {error}")

    # --- the plan

    def run(self) -> None:
        """Run the plan to its end."""
        self.start_catalog()
        for client in self.plan.clients:
            self.start(client)
        for fault in self.plan.faults:
            self.scheduler.at(fault.at, functools.partial(self.faults.meet, fault))
        try:
            last = max((fault.at for fault in self.plan.faults), default=0.0)
            self.scheduler.at(last, lambda: None)
            self.scheduler.run(lambda: self.is_done() and self.scheduler.now >= last, _LONGEST)
            ending.end(self)
        except Stuck as stuck:
            self.violated(f"{stuck}: {', '.join(self._working())}")
        for task, error in self.scheduler.errors:
            self.violated(f"{task}: {type(error).__name__}: {error}")

    def start(self, client: Client) -> None:
        """Start a client's process."""
        machine = self.machines[client.node]
        process = self.processes[client.name] = Process(self.scheduler, client.name, machine)
        process.job = len(self.processes)
        process.at_death.append(lambda: self.lifetimes.end_job(process.job))
        machine.processes.append(process)
        works = self.works[client.name] = Works(self, process, client)
        self._unfinished.append((client.name, works))
        process.spawn("works", works.run)

    def rest_of_clients(self, machine: Machine) -> list[Client]:
        """The clients of a dead node, with what they did not begin."""
        works = [works for name, works in self.works.items() if self.processes[name].node is machine]
        return [client for client in (one.rest() for one in works) if client.ops]

    def at(self, name: str) -> Machine | None:
        """The node that a plan means by this name: the latest on that node's machine."""
        machine = self.machines.get(name)
        return None if machine is None else machine.host.nodes[-1]

    def _working(self) -> list[str]:
        return [name for name, works in self.works.items() if self._works(name, works)]

    def _works(self, name: str, works: Works) -> bool:
        return not works.done and self.processes[name].alive

    def _is_anybody_working(self) -> bool:
        """Whether a client works. This is asked after each step, so clients that have ended are removed."""
        while self._unfinished and not self._works(*self._unfinished[-1]):
            self._unfinished.pop()
        return bool(self._unfinished)

    def is_done(self) -> bool:
        """Whether no client works any more, or something is violated."""
        if self.traced and not self.violations:
            for wrong in check_ledgers(self):
                self.violated(f"{wrong}, after a step of {self.scheduler.last}")
        return not (self.restarts.starting or self._is_anybody_working()) or self.is_broken

    @property
    def is_broken(self) -> bool:
        return bool(self.violations) or bool(self.scheduler.errors)

    @property
    def catalog(self) -> PlayedCatalog | None:
        actor = self.network.actors.get(CATALOG)
        return None if actor is None else actor.target

    def close(self) -> None:
        """End all tasks, and close all files."""
        self.scheduler.close()
        for scoped in self.handles.opened:  # otherwise they are left later, in another schedule
            with contextlib.suppress(BaseException):
                scoped.leave()
        for machine in self.machines.values():
            for process in machine.processes:
                process.alive = True
                process.kill()
