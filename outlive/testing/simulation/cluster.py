"""A played cluster: machines, their processes, and what happens to them by a plan."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any

from outlive.arrays.layout import KEEPER
from outlive.arrays.shelf import Shelf
from outlive.cluster.port import Call
from outlive.errors import OutliveError
from outlive.testing.history import Operation
from outlive.testing.simulation import stage
from outlive.testing.simulation.actors import CATALOG_GROUPS, KEEPER_GROUPS, Helper, PlayedCatalog, PlayedKeeper
from outlive.testing.simulation.clients import PlayedSession, Works, let_go, lost_with
from outlive.testing.simulation.handles import Handles, Scoped
from outlive.testing.simulation.judge import check_ledgers
from outlive.testing.simulation.lifetimes import Lifetimes
from outlive.testing.simulation.machines import Machine
from outlive.testing.simulation.network import Actor, Died, Message, Network
from outlive.testing.simulation.peers import CATALOG, PlayedPeers, keeper_name
from outlive.testing.simulation.plan import HEAD, KEYS, Client, Fault, Op, Plan
from outlive.testing.simulation.scheduler import Future, Process, Scheduler, Stuck, mix, number_of

_LONGEST = 900.0  # seconds of a schedule, after which it does not end
_TO_LEARN = 3.0  # seconds that an actor goes on which was taken for dead
_TO_NOTICE = 1.0, 14.0  # seconds until the head takes a machine for dead: at least, and what is added at most
SHELF_BYTES = 64 << 20
_PAUSES = 1.0, 2.0, 4.0  # how many times as long as usual, in some schedules: less is mended while much happens
_LONGEST_PAUSE = 20.0  # seconds between two rounds
_SLOWER_AFTER = 8.0  # seconds of a schedule, after which rounds come half as often
_NEW_READERS = 4  # schedules, at whose end one of them has nodes read that had no shelf
_LITTLE = 0.012  # seconds after which something goes wrong with a call that has begun, at most
_TRACED = 4000  # lines at most


class Cluster:
    """One schedule, from its plan to its end.

    Parameters
    ----------
    folders
        A folder for each machine's shelf, which is empty or new.
    traced
        Whether it is written down what happens.
    """

    def __init__(self, plan: Plan, folders: dict[str, str], *, traced: bool = False) -> None:
        self.plan, self.traced = plan, traced
        self.scheduler = Scheduler(mix(plan.seed), stage.resumed)
        stage.begin(self.scheduler, plan.seed, self.note_unexpected)
        self.network = Network(self.scheduler, plan.manners, self.say, self._oddity)
        self.network.traced = traced
        self.machines = {node: Machine(node, is_head=node == HEAD, path=folders[node]) for node in plan.nodes}
        self.remembered: dict[str, bytes] = {}
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.oddities: dict[int, str] = {}
        self.history: list[Operation] = []
        self.ended: set[str] = set()  # arrays without a key that may have ended by themselves
        self.batches: list[list[int]] = []  # operations of one put_many each
        self.handles, self.lifetimes = Handles(), Lifetimes(self.machines.values())
        self.seen_together: list[list[int]] = []  # and of one get_many
        self.sessions: list[PlayedSession] = []
        self.shelves: list[Shelf] = []
        self.works: dict[str, Works] = {}
        self._unfinished: list[tuple[str, Works]] = []  # and perhaps some that have ended
        self.processes: dict[str, Process] = {}  # of clients
        pause = _PAUSES[plan.seed % len(_PAUSES)]
        self.rounds_every = 0.7 * pause, 1.5 * pause  # seconds: at least, and what is added at most
        self._replaced: list[Process] = []  # of actors, taken for dead
        self._ticks = 0
        self._calm_since: float | None = None

    # --- what happens is written down

    def tick(self) -> int:
        """The next moment of the history."""
        self._ticks += 1
        for register in self.lifetimes.ended(self.scheduler.now):
            self._may_end("its lifetime", register, self._ticks)
        return self._ticks

    def _may_end(self, why: str, register: str, moment: int) -> None:
        """An array may be gone from here on: as if somebody deleted it, if that explains what is read.

        Without a key, each node ends its copy by itself: whoever does not find it says nothing of others.
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
        """An actor raised what is no error of outlive's."""
        if isinstance(error, FileNotFoundError):  # its shelf is on its way out: it leaves the node
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
        """Its client is about to leave it, or is dead: what was put in it may be gone from here on."""
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
        others = [one for one in machine.processes if one is not process and one.name.startswith("keeper-")]
        while any(one.alive for one in others):  # it holds the keeper's lock
            self.scheduler.sleep(0.05)
        shelf = Shelf(machine.path, self.plan.memory or SHELF_BYTES)
        keeper = PlayedKeeper(self, process, PlayedPeers(self, process), shelf)
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
        process.spawn(call.method, self._help, process, call, future, delay)
        if not machine.alive:
            process.kill()
        return future

    def _help(self, process: Process, call: Call, future: Future, delay: float) -> None:
        self.scheduler.sleep(delay)
        try:
            if not os.path.exists(f"{process.node.path}/ledger"):
                raise Died(f"node {process.node.name} has no shelf")
            value = Helper(process.node.name, Shelf(process.node.path)).do(call)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            future.set(error=error)
        else:
            self.scheduler.step()
            future.set(value)
        process.alive = False

    def end_actor_of(self, process: Process) -> None:
        """An actor ends itself, for good."""
        for actor in list(self.network.actors.values()):
            if actor.process is process:
                self.say(process, "leaves, for good")
                actor.end()

    def rounds_of(self, process: Process, work: Callable[[], None]) -> None:
        """Do something again and again, as an actor's thread does."""
        task = self.scheduler.task
        while True:
            least, more = self.rounds_every
            if self._calm_since is None:  # who waits long waits for few of them
                least, more = (part * (1 + self.scheduler.now / _SLOWER_AFTER) for part in (least, more))
                least, more = min(least, _LONGEST_PAUSE / 2), min(more, _LONGEST_PAUSE / 2)
            self.scheduler.sleep(least + more * task.draw())
            try:
                work()
            except (OutliveError, FileNotFoundError) as error:  # a shelf that goes
                self.say(process, f"{work.__name__}: {error}")

    # --- the plan

    def run(self) -> None:
        """Do what the plan says, and judge it."""
        self.start_catalog()
        for client in self.plan.clients:
            self._start(client)
        for fault in self.plan.faults:
            self.scheduler.at(fault.at, functools.partial(self._meet, fault))
        try:
            last = max((fault.at for fault in self.plan.faults), default=0.0)
            self.scheduler.at(last, lambda: None)
            self.scheduler.run(lambda: self._is_done() and self.scheduler.now >= last, _LONGEST)
            self._calm()
        except Stuck as stuck:
            self.violated(f"{stuck}: {', '.join(self._working())}")
        for task, error in self.scheduler.errors:
            self.violated(f"{task}: {type(error).__name__}: {error}")

    def _start(self, client: Client) -> None:
        machine = self.machines[client.node]
        process = self.processes[client.name] = Process(self.scheduler, client.name, machine)
        process.job = len(self.processes)
        process.at_death.append(lambda: self.lifetimes.end_job(process.job))
        machine.processes.append(process)
        works = self.works[client.name] = Works(self, process, client)
        self._unfinished.append((client.name, works))
        process.spawn("works", works.run)

    def _working(self) -> list[str]:
        return [name for name, works in self.works.items() if self._works(name, works)]

    def _works(self, name: str, works: Works) -> bool:
        return not works.done and self.processes[name].alive

    def _is_anybody_working(self) -> bool:
        """Asked after each step: who has ended is not looked at again."""
        while self._unfinished and not self._works(*self._unfinished[-1]):
            self._unfinished.pop()
        return bool(self._unfinished)

    def _is_done(self) -> bool:
        if self.traced and not self.violations:
            for wrong in check_ledgers(self):
                self.violated(f"{wrong}, after a step of {self.scheduler.last}")
        return not self._is_anybody_working() or bool(self.violations) or bool(self.scheduler.errors)

    def _calm(self) -> None:
        """All faults are over; what is to be done in the background is done; then every node reads every key."""
        if self.violations or self.scheduler.errors:
            return
        self.network.heal()
        for machine in self.machines.values():
            if not machine.alive and machine.known_dead_at is None:
                self._notice(machine)
            for process in machine.processes:
                process.steps_left = None
                process.go_on()
        for machine in self.machines.values():  # else it may be that nobody comes to one whose keeper is gone for good
            if machine.alive and os.path.exists(f"{machine.path}/{KEEPER}"):
                self.start_keeper(machine)
        # Those that wrote are gone, and what they held is free.
        for process in (*self._replaced, *self.processes.values()):
            process.kill()
        self._calm_since = self.scheduler.now
        self.rounds_every = 4.0, 2.0
        self._go_on_for(14.0)
        self.rounds_every = 24.0, 6.0
        end = self.scheduler.now + 400.0
        self.scheduler.run(lambda: self._is_calm() or self.scheduler.now > end, _LONGEST * 2)
        self._go_on_for(75.0)
        ops = tuple(Op(0.0, "get", (key,)) for key in KEYS)
        ops += tuple(Op(0.0, "get_handle", (known.register,)) for known in self.handles.all())
        for node, machine in self.machines.items():
            # Where nothing ever was, every read is a fresh copy: that is looked at now and then.
            if machine.alive and (self.plan.seed % _NEW_READERS == 0 or os.path.exists(f"{machine.path}/{KEEPER}")):
                self._start(Client(f"last-{node}", node, ops))
        self.scheduler.run(self._is_done, self.scheduler.now + 300.0)

    def _go_on_for(self, seconds: float) -> None:
        end = self.scheduler.now + seconds
        self.scheduler.at(end, lambda: None)
        self.scheduler.run(lambda: self.scheduler.now >= end or bool(self.scheduler.errors), end + 1.0)

    def _is_calm(self) -> bool:
        catalog = self.catalog
        return bool(self.scheduler.errors) or (catalog is not None and catalog.is_calm())

    @property
    def catalog(self) -> PlayedCatalog | None:
        actor = self.network.actors.get(CATALOG)
        return None if actor is None else actor.target

    # --- faults

    def _meet(self, fault: Fault) -> None:
        """It happens now, or a little after a call begins."""
        if not fault.upon or fault.kind.endswith("call"):
            self._do(fault)
            return
        delay = _LITTLE * mix(self.scheduler.key, number_of(str(fault))) / 2**64
        at, do = self.scheduler.at, functools.partial(self._do, fault)
        self.network.awaited.setdefault(fault.upon, []).append(lambda: at(self.scheduler.now + delay, do))

    def _delay_call(self, fault: Fault) -> None:
        self.network.delayed[fault.upon, fault.target] = lambda _: fault.seconds

    def _abandon_call(self, fault: Fault) -> None:
        def abandon(message: Message) -> float:
            process = message.caller.process
            interrupts = fault.other == "interrupt" and process.name in self.works
            end = functools.partial(self._interrupt, process) if interrupts else process.kill
            draw = mix(self.scheduler.key, number_of(str(fault))) / 2**64
            self.scheduler.at(self.scheduler.now + draw * min(fault.seconds, 1.0), end)
            return fault.seconds

        self.network.delayed[fault.upon, fault.target] = abandon

    def _do(self, fault: Fault) -> None:
        self.say(None, f"FAULT: {fault}")
        getattr(self, f"_{fault.kind.replace(' ', '_')}")(fault)

    def _kill_catalog(self, _: Fault) -> None:
        if (actor := self.network.actors.get(CATALOG)) is not None:
            actor.process.kill()

    def _stop_catalog(self, fault: Fault) -> None:
        if (actor := self.network.actors.get(CATALOG)) is not None:
            self._stop(actor.process, fault.seconds)

    def _keeper(self, fault: Fault) -> Actor | None:
        return self.network.actors.get(keeper_name(fault.target))

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
        if fault.target in self.processes:
            self.processes[fault.target].kill()

    def _stop_client(self, fault: Fault) -> None:
        if fault.target in self.processes:
            self._stop(self.processes[fault.target], fault.seconds)

    def _interrupt_client(self, fault: Fault) -> None:
        if (process := self.processes.get(fault.target)) is not None:
            self._interrupt(process)

    def _interrupt(self, process: Process) -> None:
        works = self.works.get(process.name)
        if works is None or not process.alive or not works.busy:
            return
        for task in self.scheduler.tasks:
            if task.process is process and task.what == "works" and not task.dead and task.parked:
                task.interrupt = KeyboardInterrupt()
                self.scheduler.due(self.scheduler.now, task)

    def _stop(self, process: Process, seconds: float) -> None:
        process.stop()
        self.scheduler.at(self.scheduler.now + seconds, process.go_on)

    def _kill_machine(self, fault: Fault) -> None:
        machine = self.machines.get(fault.target)
        if machine is None or not machine.alive:
            return
        self.judge_loss(machine)
        machine.kill()
        least, more = _TO_NOTICE
        seconds = least + more * mix(self.scheduler.key, self._ticks) / 2**64
        self.scheduler.at(self.scheduler.now + seconds, lambda: self._notice(machine))

    def _notice(self, machine: Machine) -> None:
        """The head takes a machine for dead."""
        if machine.known_dead_at is None:
            machine.known_dead_at = self.scheduler.now
            self.say(None, f"the head takes {machine.name} for dead")
            for actor in list(self.network.actors.values()):
                if actor.machine is machine:
                    actor.end()

    def judge_loss(self, machine: Machine) -> None:
        """What was there alone may be lost: as if somebody had put, in its place, that it is, if that explains a read.

        A read may find nothing instead, as if somebody had deleted it, where nobody can know: of an array without a
        key, or as the catalog died too.
        """
        lost = lost_with(machine.name)
        is_forgotten = any(
            fault.kind in {"kill catalog", "replace catalog", "abandon call"} for fault in self.plan.faults
        )
        for key in dict.fromkeys(one.key for one in self.history):
            puts = [one for one in self.history if one.kind == "put" and one.key == key]
            if any(self._may_be_lost(one) for one in puts):
                what, moment = f"death of {machine.name}", self.tick()
                if key in KEYS:
                    self.history.append(Operation(what, "put", key, lost, moment, None, "unknown"))
                if key not in KEYS or is_forgotten:
                    self.history.append(Operation(what, "delete", key, None, moment, None, "unknown"))

    def _may_be_lost(self, put: Operation) -> bool:
        ops = (op for client in self.plan.clients for op in client.ops if op.value == put.value)
        return put.returned is None or put.outcome != "done" or any(op.replicas < 2 for op in ops)

    def _drain_machine(self, fault: Fault) -> None:
        """It is about to be taken away, and its keeper is told."""
        if fault.target in self.machines:
            self.machines[fault.target].draining = True

    def _cut(self, fault: Fault) -> None:
        self._cut_one_way(fault)
        self._cut_one_way(fault._replace(target=fault.other, other=fault.target))

    def _cut_one_way(self, fault: Fault) -> None:
        if fault.target in self.machines and fault.other in self.machines:
            one, other = self.machines[fault.target], self.machines[fault.other]
            self.network.cut(one, other, self.scheduler.now + fault.seconds)

    def _replace_catalog(self, fault: Fault) -> None:
        self._replace(self.network.actors.get(CATALOG), fault)

    def _replace_keeper(self, fault: Fault) -> None:
        self._replace(self._keeper(fault), fault)

    def _replace(self, actor: Actor | None, fault: Fault) -> None:
        """It is taken for dead, and is not: it was stopped, goes on beside the one in its place, and learns of it."""
        if actor is not None and actor.process.alive:
            old = actor.process
            self._stop(old, fault.seconds)
            self._replaced.append(old)
            self.scheduler.at(self.scheduler.now + fault.seconds + _TO_LEARN, old.kill)
            actor.replace()

    def _crash_client(self, fault: Fault) -> None:
        self._crash(self.processes.get(fault.target), fault)

    def _crash_keeper(self, fault: Fault) -> None:
        actor = self._keeper(fault)
        self._crash(None if actor is None else actor.process, fault)

    def _crash(self, process: Process | None, fault: Fault) -> None:
        """It is killed between two calls of the system, `fault.seconds` of them later."""
        if process is not None and process.alive:
            process.steps_left = int(fault.seconds)

    def _set_clock(self, fault: Fault) -> None:
        if fault.target in self.machines:
            self.lifetimes.look_at_clocks(self.scheduler.now)
            self.machines[fault.target].clock += fault.seconds

    def close(self) -> None:
        """No task goes on, and no file stays open."""
        self.scheduler.close()
        for scoped in self.handles.opened:  # else they are left some time later, in another schedule
            with contextlib.suppress(BaseException):
                scoped.leave()
        for machine in self.machines.values():
            for process in machine.processes:
                process.alive = True
                process.kill()

    def facts(self) -> dict[str, Any]:
        """In numbers."""
        return {"steps": self.scheduler.steps, "calls": self.network.calls, "seconds": self.scheduler.now}
