"""Clients: processes that call the store as programs do, and write down what they saw."""

from __future__ import annotations

import functools
import os
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

import outlive
from outlive.arrays.layout import KEEPER
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.cluster.links import Links
from outlive.cluster.own_copies import OwnCopies
from outlive.cluster.port import Call
from outlive.store.nodes import drain
from outlive.store.session import Session
from outlive.testing.history import Operation
from outlive.testing.simulation import stage
from outlive.testing.simulation.handles import Scoped
from outlive.testing.simulation.peers import CATALOG, PlayedPeers
from outlive.testing.simulation.plan import KEYS, Client, Op, Plan

if TYPE_CHECKING:
    from outlive.testing.simulation.played import PlayedCluster
    from outlive.testing.simulation.scheduler import Process

STORE = "s"
_RECORDED: dict[str, Any] = {  # by kind of `Op`: its kind in the history of registers
    **dict.fromkeys(("put", "put_many", "put_handle", "put_scoped"), "put"),
    **dict.fromkeys(("get", "get_many", "get_handle", "touch_handle", "hold"), "get"),
    **dict.fromkeys(("delete", "delete_handle"), "delete"),
}
_TOOK_IT = re.compile(r" was lost at .* with node (\w+), | gone from the shelf of node (\w+),")
_STARTS = 5  # attempts to start a keeper


class PlayedSession(Session):
    """The session of a process of the played cluster."""

    def __init__(self, cluster: PlayedCluster, process: Process) -> None:
        self.node, self.peers = process.node.name, PlayedPeers(cluster, process)
        connection: Any = SimpleNamespace(job=process.job, cluster="played", stands=lambda: True)
        self.connection = connection
        self.root, self.on_disk, path = process.node.host.root, None, process.node.path
        for _ in range(_STARTS):
            if not os.path.exists(f"{path}/{KEEPER}"):
                self._start_keeper()
            self.shelf = Shelf(path)
            cluster.scheduler.step()
            if os.path.exists(f"{path}/{KEEPER}"):
                break  # otherwise its keeper left with the shelf meanwhile
        self.reader, self.writer = Reader(self.shelf), Writer(self.shelf)
        process.at_death.append(lambda: let_go(self.shelf))
        self._chunks = lambda: 1 << 20
        if cluster.plan.ports:
            self.links = Links(self.peers, self.node, self.shelf)
            self.own_copies = OwnCopies(self.shelf, self.node, self.peers, self.links)

    def _start_actors(self) -> None:
        self._start_keeper()
        self.peers.ask_catalog(Call.of("ping"), 120.0)


def let_go(shelf: Shelf) -> None:
    """Release the lock of a dead process's folder for drafts, as the kernel does."""
    if shelf._staging is not None:  # noqa: SLF001
        shelf._staging.close()  # noqa: SLF001


class Works:
    """The work of a client: one operation after the other."""

    def __init__(self, cluster: PlayedCluster, process: Process, client: Client) -> None:
        self._cluster, self._process, self._client = cluster, process, client
        self.store = outlive.Store(STORE)
        self._scopes: dict[str, Scoped] = {}  # the open scopes, by the place where their stores were left
        self._begun = 0  # operations
        self._held: dict[str, tuple[Any, int | None]] = {}  # by key: the kept view, and its value
        self.done = self.busy = False

    def run(self) -> None:
        scheduler = self._cluster.scheduler
        for op in self._client.ops:
            if op.at > scheduler.now:
                scheduler.sleep(op.at - scheduler.now)
            self._begun += 1
            self.do(op)
        self.done = True
        self._cluster.lifetimes.end_job(self._process.job)

    def rest(self) -> Client:
        """The client with what it did not begin."""
        return self._client._replace(ops=self._client.ops[self._begun :])

    def do(self, op: Op) -> None:
        say, cluster = self._cluster.say, self._cluster
        registers = self._registers(op)
        if registers is None:
            return
        say(self._process, f"begins: {op}")
        recorded = _Recorded(cluster, self._process.name, op, registers)
        self.busy, self._process.has_fewer = True, False
        try:
            self._join()
            said = getattr(self, f"_{op.kind}")(op, recorded)
            if self._process.has_fewer:
                cluster.fewer.add(op.value)
        except (ConnectionError, KeyboardInterrupt) as error:
            self.busy = False
            say(self._process, f"gives up: {op}: {type(error).__name__}: {error}")
            recorded.end("unknown")
        except outlive.StoreFull as error:
            self.busy = False
            say(self._process, f"has no room: {op}: {error}")
            recorded.end("failed")
        except outlive.ArrayLost as error:
            self.busy = False
            say(self._process, f"is told that it is lost: {op}: {error}")
            recorded.lost(str(error))
        else:
            self.busy = False
            say(self._process, f"ends: {op}{'' if said is None else f' -> {said}'}")

    def _registers(self, op: Op) -> tuple[str, ...] | None:
        """The operation's names in the history; None if nobody has left such a handle or scope yet."""
        if op.kind == "put_scoped" and op.keys[0] not in self._cluster.handles.scopes:
            return None
        if op.kind in {"put_handle", "put_scoped"}:
            return (f"{op.keys[0]}{op.value}",)
        if op.kind == "close_scope" and op.keys[0] not in self._scopes:
            return None
        if not op.kind.endswith("_handle"):
            return op.keys
        known = self._cluster.handles.find(op.keys[0])
        return None if known is None else (known.register,)

    def _join(self) -> None:
        session = self._process.session
        if session is None or not session.stands():
            session = PlayedSession(self._cluster, self._process)
            stage.join(self._process, session)
            self._cluster.has_session(session)

    # --- operations

    def _put(self, op: Op, recorded: _Recorded) -> None:
        self._put_as(op, recorded, op.keys[0])
        recorded.end("done")

    def _put_as(
        self, op: Op, recorded: _Recorded, key: str | None, store: outlive.Store | None = None
    ) -> outlive.ArrayHandle:
        job = self._process.job if op.lifetime == "job" else 0
        now = self._cluster.scheduler.now
        self._cluster.lifetimes.begin(recorded.registers, self._process.node, now, op.ttl, job)
        array, lifetime = np.full(op.items, op.value), op.lifetime if store is None else None
        return (self.store if store is None else store).put(
            array, key, replicas=op.replicas, lifetime=lifetime, ttl=op.ttl or None
        )

    def _put_many(self, op: Op, recorded: _Recorded) -> None:
        self.store.put_many({key: np.full(op.items, op.value) for key in op.keys}, replicas=op.replicas)
        recorded.end("done")

    def _get(self, op: Op, recorded: _Recorded) -> Any:
        value = self._value(self.store.get(op.keys[0]))
        recorded.saw([value])
        return value

    def _hold(self, op: Op, recorded: _Recorded) -> Any:
        """Read a key, and keep the view in place of an earlier one."""
        view = self.store.get(op.keys[0])
        value = self._value(view)
        self._held[op.keys[0]] = view, value
        recorded.saw([value])
        return value

    def _look(self, op: Op, _: _Recorded) -> Any:
        """Check that the kept view has not changed, even if its array was replaced or deleted."""
        view, before = self._held.get(op.keys[0], (None, None))
        if view is not None and not (view == before).all():
            self._cluster.violated(f"{self._process} has a view of {before}, which has changed to {np.unique(view)}")
        return before

    def _get_many(self, op: Op, recorded: _Recorded) -> Any:
        try:
            found = self.store.get_many(op.keys)
        except outlive.ArrayNotFound:
            recorded.end("unknown")  # the error does not say which are missing
            return "not all there"
        values = [self._value(found[key]) for key in op.keys]
        recorded.saw(values)
        return values

    def _delete(self, op: Op, recorded: _Recorded) -> Any:
        starts = self._cluster.network.starts
        catalog = starts.get(CATALOG)
        try:
            self.store.delete(op.keys[0])
        except outlive.ArrayNotFound:
            recorded.absent()
            return "not there"
        # A catalog that starts meanwhile knows nothing of an array whose node has died: it takes it for deleted.
        is_sure = starts.get(CATALOG) == catalog or not self._cluster.restarts.may_be_away()
        recorded.end("done" if is_sure else "unknown")
        return None

    def _put_handle(self, op: Op, recorded: _Recorded) -> None:
        handle = self._put_as(op, recorded, None)
        recorded.end("done")
        self._cluster.handles.leave(op.keys[0], recorded.registers[0], handle)

    def _get_handle(self, _: Op, recorded: _Recorded) -> Any:
        known = self._cluster.handles.find(recorded.registers[0])
        assert known is not None
        try:
            value = self._value(known.handle.get())
        except outlive.ArrayNotFound:
            value = None
        recorded.saw([value])
        return value

    def _delete_handle(self, _: Op, recorded: _Recorded) -> Any:
        known = self._cluster.handles.find(recorded.registers[0])
        assert known is not None
        try:
            self.store.delete(known.handle)
        except outlive.ArrayNotFound as error:  # a call that is made twice may fail the second time
            recorded.end("unknown" if self._cluster.restarts.may_be_away() else "done")
            return error
        # The next catalog does not know of it. So an array comes back that a dead node's shelf has too.
        comes_back = self._cluster.restarts.may_be_away() and is_forgotten(self._cluster.plan)
        recorded.end("unknown" if comes_back else "done")
        return None

    def _touch_handle(self, _: Op, recorded: _Recorded) -> Any:
        known, began = self._cluster.handles.find(recorded.registers[0]), self._process.node.clock
        began += self._cluster.scheduler.now
        assert known is not None
        if not known.handle.ttl:
            return "it has no time to live"
        try:
            known.handle.touch()
        except outlive.ArrayNotFound:
            recorded.saw([None])
            return "not there"
        self._cluster.lifetimes.touched(known.register, began)
        return None

    def _open_scope(self, op: Op, recorded: _Recorded) -> None:
        scoped = Scoped(self.store.scope())
        self._scopes[op.keys[0]] = self._cluster.handles.scopes[op.keys[0]] = scoped
        self._cluster.handles.opened.append(scoped)
        self._process.at_death.append(functools.partial(self._cluster.end_scope, scoped))
        recorded.end("done")

    def _put_scoped(self, op: Op, recorded: _Recorded) -> None:
        scoped = self._cluster.handles.scopes[op.keys[0]]
        scoped.registers += recorded.registers
        if scoped.over:
            self._cluster.end_scope(scoped)
        handle = self._put_as(op, recorded, None, scoped.store)
        recorded.end("done")
        self._cluster.handles.leave(op.keys[0], recorded.registers[0], handle)

    def _close_scope(self, op: Op, recorded: _Recorded) -> None:
        scoped = self._scopes.pop(op.keys[0])
        self._cluster.end_scope(scoped)
        scoped.leave()
        recorded.end("done")

    def _keys(self, _: Op, recorded: _Recorded) -> Any:
        began = self._cluster.scheduler.now
        found = list(self.store.keys())
        # A slow listing may not have waited for a deletion. If that failed, the key is not listed but can be read.
        # A lost key is not listed either, and its reads say that it is lost.
        failed = any(not machine.alive for machine in self._cluster.machines.values()) or any(
            one.kind == "delete" and one.outcome == "unknown" for one in self._cluster.history
        )
        if self._cluster.scheduler.now - began < 15 and not failed:
            recorded.listed(found)
        return found

    def _check(self, _: Op, recorded: _Recorded) -> Any:
        findings = self.store.check()
        recorded.end("done")
        return [finding.problem for finding in findings]

    def _drain(self, op: Op, recorded: _Recorded) -> Any:
        node = self._cluster.at(op.keys[0])
        drained = drain(op.keys[0] if node is None else node.name)
        recorded.end("done")
        return drained.stayed or f"{drained.arrays} arrays moved"

    def _value(self, array: Any) -> int | None:
        if array is None:
            return None
        value = int(array[0])
        if not (array == value).all():
            self._cluster.violated(f"{self._process} read an array that is torn: {np.unique(array)}")
        return value


def is_forgotten(plan: Plan) -> bool:
    """Whether a catalog may die in this plan before it has said what was lost with a node."""
    return any(fault.kind in {"kill catalog", "replace catalog", "abandon call"} for fault in plan.faults)


def lost_with(machine: str) -> int:
    """The value of a read of an array that was lost with a machine: the machine's death counts as its put."""
    return -ord(machine)


class _Recorded:
    """One operation in the history, for the judge."""

    def __init__(self, cluster: PlayedCluster, client: str, op: Op, registers: tuple[str, ...]) -> None:
        self._cluster, self._op, self.registers = cluster, op, registers
        kind = _RECORDED.get(op.kind)
        self._numbers: list[int] = []
        self._client, self._invoked = client, cluster.tick()
        if kind is not None:
            for key in registers:
                value = op.value if kind == "put" else None
                self._numbers.append(len(cluster.history))
                cluster.history.append(Operation(client, kind, key, value, self._invoked, None, "unknown"))
        if op.kind == "put_many":
            cluster.batches.append(self._numbers)

    def _change(self, number: int, **fields: Any) -> None:
        history = self._cluster.history
        history[number] = history[number]._replace(**fields)

    def end(self, outcome: str) -> None:
        moment = self._cluster.tick()
        for number in self._numbers:
            self._change(number, returned=moment, outcome=outcome)

    def saw(self, values: list[int | None]) -> None:
        moment, ended = self._cluster.tick(), self._cluster.ended
        for number, register, value in zip(self._numbers, self.registers, values, strict=True):
            outcome = "unknown" if value is None and (register in ended or self._may_be_away(register)) else "done"
            self._change(number, returned=moment, outcome=outcome, value=value)
        if self._op.kind == "get_many":
            self._cluster.seen_together.append(self._numbers)

    def _may_be_away(self, register: str) -> bool:
        """Whether an array may be missing as it is on a shelf that is not adopted yet, and nobody knows that."""
        return self._cluster.restarts.may_be_away() and (register not in KEYS or is_forgotten(self._cluster.plan))

    def absent(self) -> None:
        """Record that the key was absent."""
        if self._may_be_away(self.registers[0]):
            self.end("unknown")
            return
        self._change(self._numbers[0], kind="get", value=None, returned=self._cluster.tick(), outcome="done")

    def lost(self, said: str) -> None:
        """Record that an array was lost, and with which machine if the error names it."""
        found = _TOOK_IT.search(said)
        machine = self._cluster.machines[found[1] or found[2]] if found is not None else None
        if self._op.kind in {"get", "get_handle", "hold"} and self._cluster.restarts.may_be_away():
            self.end("unknown")
        elif self._op.kind == "get" and machine is not None and not machine.alive:
            self.saw([lost_with(machine.host.name)])
        elif self._op.kind in {"get", "get_handle"}:
            self.saw([None])
        else:
            self.end("unknown")

    def listed(self, keys: list[str]) -> None:
        moment = self._cluster.tick()
        for key in {"k", "m"}.difference(keys):
            one = Operation(self._client, "get", key, None, self._invoked, moment, "done")
            self._cluster.history.append(one)
