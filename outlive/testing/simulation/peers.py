"""The port of a process of the played cluster: see `outlive.cluster.port.Peers`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from outlive.cluster.lines import CALLED, THROUGH_RAY, CatalogLine
from outlive.cluster.port import PATIENCE, Call, Failed, Left, NoAnswer, Nobody
from outlive.cluster.shelf_calls import ShelfCalls
from outlive.cluster.short_calls import ShortCalls
from outlive.errors import OutliveError, StoreUnavailable
from outlive.node import Autoscaler, Node
from outlive.testing.simulation.machines import EPOCH, Machine
from outlive.testing.simulation.network import Actor, Died, Message, Network
from outlive.testing.simulation.restarts import adopts
from outlive.testing.simulation.scheduler import Future, Process

if TYPE_CHECKING:
    from outlive.testing.simulation.played import PlayedCluster

_GRACE = 3.0  # seconds until another process of a node is asked, as in Ray's port
_IF_LATE = 0.1  # part of the patience, for a node that owes an older answer
_RESTART = 40.0  # seconds that an actor which starts again may take until it answers
_STALLED = 60.0  # seconds for a part of a stream
CATALOG = "catalog"


def keeper_name(node: str) -> str:
    return f"keeper-{node}"


class PlayedPeers:
    """The port of one process. `Network` and the faults of the plan decide when answers come, and whether."""

    def __init__(self, cluster: PlayedCluster, process: Process) -> None:
        self._cluster, self._process = cluster, process
        self._network: Network = cluster.network
        self._keepers: dict[str, Actor] = {}  # the keepers that `ask` calls
        self._late: dict[str, Future] = {}
        self._stuck: dict[str, Future] = {}
        self._gone: set[str] = set()
        self._dead: set[str] = set()
        self._line = CatalogLine(self.load, self._ask_catalog) if cluster.plan.ports else None
        self._short_calls = ShortCalls(self) if cluster.plan.ports else None

    # --- keepers

    def ask(self, calls: Mapping[str, Call], patience: float = PATIENCE) -> dict[str, Any]:
        calls = dict(sorted(calls.items()))
        found = {} if self._short_calls is None else self._short_calls.make_those_made_often(calls)
        left = {node: call for node, call in calls.items() if node not in found}
        waiting = {node: _Asked(self, node, call, patience) for node, call in left.items()}
        scheduler = self._cluster.scheduler
        while True:
            for node, one in list(waiting.items()):
                if one.is_over(found):
                    del waiting[node]
            if not waiting:
                return found
            futures = [future for one in waiting.values() for future in one.futures()]
            moment = min(one.next_look for one in waiting.values())
            scheduler.wait(futures, 1, max(0.0, min(moment, scheduler.now + 1.0) - scheduler.now))

    def ask_keeper(self, node: str, call: Call, patience: float | None = PATIENCE) -> Any:
        fetched = {} if self._short_calls is None else self._short_calls.fetch(node, call)
        if node in fetched:
            return fetched[node]
        return self._answer(self._actor(keeper_name(node), f"node {node} has no keeper"), call, patience)

    def stream(self, node: str, call: Call) -> Iterator[Any]:
        message = self._network.stream(self._actor(keeper_name(node), f"{node} has no keeper"), call.method, call.args)
        assert message.parts is not None
        number = 0
        while True:
            try:
                part = self._told(message.parts[number], _STALLED, NoAnswer)
            except StopIteration:
                return
            number += 1
            yield _travelled(part)

    def find_keeper(self, node: str, *, start: bool = False) -> None:
        self._cluster.scheduler.step()
        actor = self._network.actors.get(keeper_name(node))
        if actor is None:
            machine = self._cluster.machines[node]
            if not start or node in self._dead or machine.known_dead_at is not None:
                raise Nobody(f"node {node} has no keeper")
            actor = self._cluster.start_keeper(machine)
        self._keepers[node] = actor

    def keeper_nodes(self) -> list[str]:
        self._cluster.scheduler.step()
        return sorted(name.removeprefix("keeper-") for name in self._network.actors if name.startswith("keeper-"))

    def is_late(self, node: str) -> bool:
        return _owed(self._late, node)

    def take_gone(self) -> set[str]:
        gone, self._gone = self._gone, set()
        return gone

    def search_shelves(self, node: str) -> None:
        machine = self._cluster.machines[node]
        self._cluster.scheduler.step()
        if machine.alive and adopts(machine, self.address()):
            self._cluster.start_keeper(machine)
            self.tell_catalog(Call.of("found_shelf", node))

    def adopt_here(self) -> None:
        """Nothing is seen to be dead so soon: the catalog begins without."""

    def _actor(self, name: str, otherwise: str) -> Actor:
        self._cluster.scheduler.step()
        actor = self._network.actors.get(name)
        if actor is None:
            raise Nobody(otherwise)
        return actor

    def _answer(self, actor: Actor, call: Call, patience: float | None) -> Any:
        ends = patience is not None and patience != math.inf
        message = self._network.call(actor, call.method, call.args, ends=ends)
        if patience is None:
            while not self._cluster.scheduler.wait([message.future], 1, PATIENCE):
                self._told(self._network.call(message.actor, "rounds", ()).future, _RESTART)
        return self._told(message.future, patience if ends else None)

    def _told(self, future: Future, patience: float | None, died: type[NoAnswer] = Left) -> Any:
        """The answer of a call. Errors are raised as Ray's port raises them."""
        try:
            return future.get(patience)
        except TimeoutError:
            raise NoAnswer(f"keeper or catalog did not answer within {patience or 0:.0f} s") from None
        except Died as error:
            raise died(f"the store was shut down, or its node is gone ({error})") from None
        except NoAnswer as error:  # the actor answers, but another that it asked does not
            raise StoreUnavailable(str(error)) from None
        except (OutliveError, StopIteration):
            raise
        except Exception as error:
            self._cluster.note_unexpected(self._process, error)
            raise Failed(f"keeper or catalog met an error ({type(error).__name__}: {error})") from error

    # --- the catalog

    def ask_catalog(self, call: Call, patience: float | None = PATIENCE) -> Any:
        line = self._line if call.method in CALLED else None
        answer = THROUGH_RAY if line is None else line.ask(call, patience)
        return self._ask_catalog(call, patience) if answer is THROUGH_RAY else answer

    def _ask_catalog(self, call: Call, patience: float | None) -> Any:
        return self._answer(self._actor(CATALOG, "this cluster has no catalog"), call, patience)

    def tell_catalog(self, call: Call) -> None:
        self._network.call(self._actor(CATALOG, "this cluster has no catalog"), call.method, call.args)

    def calls_through_ray(self) -> str | None:
        return None

    def watch(self) -> None:
        """Nobody watches."""

    # --- nodes

    def nodes(self) -> list[Node]:
        self._cluster.scheduler.step()
        found = [machine.as_node() for machine in self._cluster.machines.values()]
        self._dead = {node.id for node in found if not node.alive}
        return found

    def node(self, node: str) -> Node | None:
        self._cluster.scheduler.step()
        return self._cluster.machines[node].as_node()

    def busy(self, node: str) -> list[str]:  # noqa: ARG002 - of the port
        return ["a client works there"]

    def autoscaler(self) -> Autoscaler | None:
        return None

    def jobs_that_ended(self, numbers: set[int]) -> set[int]:
        self._cluster.scheduler.step()
        return self._cluster.lifetimes.over(numbers)

    def address(self) -> str:
        return "head"

    def leave(self) -> None:
        self._cluster.scheduler.at(self._cluster.scheduler.now, lambda: self._cluster.end_actor_of(self._process))
        self._cluster.scheduler.sleep(1e9)

    # --- what the head remembers, and time

    def load(self, key: str) -> bytes | None:
        self._cluster.scheduler.step()
        return self._cluster.remembered.get(key)

    def save(self, key: str, value: bytes) -> None:
        self._cluster.scheduler.step()
        self._cluster.remembered[key] = value
        self._cluster.scheduler.step()

    def save_first(self, key: str, value: bytes) -> bytes:
        self._cluster.scheduler.step()
        return self._cluster.remembered.setdefault(key, value)

    def now(self) -> float:
        return self._cluster.scheduler.now

    def time(self) -> float:
        machine: Machine = self._process.node
        return EPOCH + machine.clock + self._cluster.scheduler.now

    def sleep(self, seconds: float) -> None:
        self._cluster.scheduler.sleep(seconds)


class _Asked:
    """One node's part of `PlayedPeers.ask`."""

    def __init__(self, peers: PlayedPeers, node: str, call: Call, patience: float) -> None:
        self._peers, self._node, self._call = peers, node, call
        cluster = peers._cluster  # noqa: SLF001 - this module
        self._scheduler = cluster.scheduler
        self._began = self._scheduler.now
        self._grace, self._patience = _GRACE, patience
        self._files_alone = hasattr(ShelfCalls, call.method)
        if peers.is_late(node):
            if not self._files_alone or _owed(peers._stuck, node):  # noqa: SLF001
                self._grace, self._patience = math.inf, patience * _IF_LATE
            else:
                self._grace = 0.0
        self._message: Message | None = None
        self._helper: Future | None = None
        self._gone = not self._send()
        self._nobody = self._gone

    def _send(self) -> bool:
        peers = self._peers
        actor = peers._keepers.get(self._node)  # noqa: SLF001
        if actor is None:
            try:
                peers.find_keeper(self._node)
            except Nobody:
                return False
            actor = peers._keepers[self._node]  # noqa: SLF001
        self._message = peers._network.call(actor, self._call.method, self._call.args)  # noqa: SLF001
        return True

    @property
    def next_look(self) -> float:
        moments = [self._began + self._patience]
        if self._helper is None and self._files_alone and self._grace != math.inf:
            moments.append(self._began + self._grace)
        if self._scheduler.now < self._began + _GRACE:
            moments.append(self._began + _GRACE)
        return min(moments)

    def futures(self) -> Iterator[Future]:
        if not self._gone and self._message is not None:
            yield self._message.future
        if self._helper is not None:
            yield self._helper

    def is_over(self, found: dict[str, Any]) -> bool:
        """Take the answer if it has come; returns whether the wait is over."""
        if self._nobody or self._take(found):
            return True
        peers, now = self._peers, self._scheduler.now
        if self._node in peers._dead:  # noqa: SLF001
            return True
        if self._helper is None and self._files_alone and now >= self._began + self._grace:
            self._ask_helper()
        elif now >= self._began + self._patience:
            if self._helper is not None:
                peers._stuck[self._node] = self._helper  # noqa: SLF001
            return True
        if now >= self._began + _GRACE and (self._files_alone or self._call.method == "room") and not self._gone:
            assert self._message is not None
            peers._late.setdefault(self._node, self._message.future)  # noqa: SLF001
        return False

    def _take(self, found: dict[str, Any]) -> bool:
        helper, message = self._helper, self._message
        if helper is not None and helper.done:
            if helper.error is None:
                found[self._node] = _travelled(helper.value)
                return True
            self._helper, self._grace = None, math.inf
        if self._gone or message is None:
            return self._helper is None
        if not message.future.done:
            return False
        error = message.future.error
        if error is None:
            found[self._node] = _travelled(message.future.value)
            return True
        if not isinstance(error, Died):
            if not isinstance(error, OutliveError):
                self._peers._cluster.note_unexpected(self._peers._process, error)  # noqa: SLF001
            return True
        return self._node in self._peers._dead or self._without()  # noqa: SLF001

    def _without(self) -> bool:
        """Ask the successor of a keeper that is gone for good, else a helper; returns whether there is neither."""
        peers = self._peers
        peers._gone.add(self._node)  # noqa: SLF001
        actor = peers._network.actors.get(keeper_name(self._node))  # noqa: SLF001
        assert self._message is not None
        if actor is not None and actor is not self._message.actor:
            peers._keepers[self._node] = actor  # noqa: SLF001
            self._send()
            return False
        self._gone = True
        if self._helper is None and self._files_alone and self._grace != math.inf:
            self._ask_helper()
        return self._helper is None

    def _ask_helper(self) -> None:
        self._helper = self._peers._cluster.ask_shelf(self._node, self._call)  # noqa: SLF001


def _owed(calls: dict[str, Future], node: str) -> bool:
    future = calls.get(node)
    if future is not None and future.done:
        calls.pop(node, None)
        return False
    return future is not None


def _travelled(value: Any) -> Any:
    """A copy of a value that arrives, so that no process can change what another has."""
    return list(value) if isinstance(value, list) else value
