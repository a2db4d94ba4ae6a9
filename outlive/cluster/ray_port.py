"""Ray's port: it calls actors, and asks the GCS for nodes. A keeper may be dead, gone for good, or stopped.

No call waits for a dead node, or longer than its deadline. If a keeper does not answer soon, another process of its
node carries out the calls that need only the shelf's files.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError

from outlive import progress
from outlive.cluster import actors, starters
from outlive.cluster.lines import CALLED, THROUGH_RAY, CatalogLine
from outlive.cluster.port import AT_A_TIME, BY_LIST, PATIENCE, Call, Left, NoAnswer, Nobody, RealTime
from outlive.cluster.ray_errors import told
from outlive.cluster.shelf_calls import ShelfCalls
from outlive.cluster.short_calls import ShortCalls
from outlive.errors import StoreUnavailable
from outlive.metrics.watch import Watch
from outlive.node import Autoscaler, Node
from outlive.ray_internals import Connection, jobs_that_ended, kv
from outlive.ray_internals.autoscaler import autoscaler
from outlive.ray_internals.node_table import busy, can_ask_for_one, explained, nodes
from outlive.ray_internals.node_table import node as ray_node

_GRACE = 3.0  # seconds until another process of the node is asked too
_IF_LATE = 0.1  # the part of the patience that a node gets that owes an older answer
_LOOK_EVERY = 0.2  # seconds between two looks, while answers are awaited that have not come soon
_LONGEST = 600.0  # seconds for an answer of an actor that is not known here
_ADOPT = 8.0  # seconds that a catalog waits for the keeper of its node to adopt: all who want the catalog wait
RESTART = 40.0  # seconds that an actor which starts again may take until it answers
_FIRST = 3.0  # seconds until a sender that sends nothing is asked whether it is there, and seconds for its answer
_STALLED = 60.0  # seconds for a part of a stream
_AHEAD = 2  # parts that the sender of a stream may be ahead
_NODES_A_SECOND = 100  # the most nodes that a process asks for, where asking for one means asking for all
_log = logging.getLogger(__name__)


class RayPeers(RealTime):
    """The `Peers` of the Ray cluster that this process is connected to. A pickled copy begins without any knowledge."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}  # as Ray listed them last
        self._listed_at = -math.inf  # when it did
        self._keepers: dict[str, Any] = {}  # by node; looked up once each
        self._catalog: Any = None  # looked up once
        self._late: dict[str, ray.ObjectRef[Any]] = {}  # by node: a call that its keeper has not answered in time
        self._stuck: dict[str, ray.ObjectRef[Any]] = {}  # by node: a call that another process has not answered in time
        self._gone: set[str] = set()
        self._short_calls = ShortCalls(self)
        self._line = CatalogLine(self.load, self._ask_catalog, progress.pause, progress.tick)

    def __reduce__(self) -> Any:
        return RayPeers, ()

    # --- keepers

    def find_keeper(self, node: str, *, start: bool = False) -> None:
        try:
            self._look_up(node)
        except Nobody:
            if not start or not self._is_alive(node):
                raise
            with explained():
                self._keepers[node] = starters.start_keeper(self, Connection().cluster, node)

    def _look_up(self, node: str) -> Any:
        """The keeper that has this node's name now, whichever had it before. Raises Nobody, StoreUnavailable."""
        try:
            with explained():
                self._keepers[node] = actors.keeper(node)
        except ValueError:
            raise Nobody(f"node {node} has no keeper") from None
        return self._keepers[node]

    def keeper_nodes(self) -> list[str]:
        with explained():
            return actors.keeper_nodes()

    def is_late(self, node: str) -> bool:
        return _owed(self._late, node)

    def take_gone(self) -> set[str]:
        gone = set[str]()
        while self._gone:
            gone.add(self._gone.pop())
        return gone

    def search_shelves(self, node: str) -> None:
        starters.search_shelves(self, node)

    def adopt_here(self) -> None:
        node = ray.get_runtime_context().get_node_id()
        try:
            if starters.search(self, node):
                self.ask_keeper(node, Call.of("about"), _ADOPT)  # one that starts adopts before it answers anything
        except Exception as error:  # noqa: BLE001 - whatever it is, a catalog starts, and the keeper adopts later
            _log.warning("what dead nodes left on this machine is not adopted yet: %s", error)

    def ask_keeper(self, node: str, call: Call, patience: float | None = PATIENCE) -> Any:
        fetched = self._short_calls.fetch(node, call)
        if node in fetched:
            return fetched[node]
        known = self._keepers[node] if node in self._keepers else self._look_up(node)
        try:
            return _answer(known, call, patience)
        except Left:  # if no keeper has the name, the old one stays known, so that `ask` reports it as gone
            with contextlib.suppress(Nobody):
                self._look_up(node)
            if self._keepers.get(node, known) == known:
                raise
        return _answer(self._keepers[node], call, patience)  # another has its name by now

    def stream(self, node: str, call: Call) -> Iterator[Any]:
        actor = self._look_up(node)
        options: dict[str, Any] = {"num_returns": "streaming", "max_task_retries": 0}
        options["_generator_backpressure_num_objects"] = _AHEAD
        try:
            refs = iter(getattr(actor, call.method).options(**options).remote(*call.args))
            wait_for(refs, actor)
            coming = next(refs, None)
            while coming is not None:
                part = ray.get(coming, timeout=_STALLED)
                coming = next(refs, None)
                if coming is not None:
                    ray.wait([coming], timeout=0)  # this makes Ray fetch it while the caller uses the part before
                yield part
                del part
        except ActorDiedError as error:  # another may start under its name
            raise NoAnswer(str(told(error))) from error
        except RayError as error:
            raise told(error) from error

    def ask(self, calls: Mapping[str, Call], patience: float = PATIENCE) -> dict[str, Any]:
        found = self._short_calls.make_those_made_often(calls)
        begun = {node: self._begin(node, call, patience) for node, call in calls.items() if node not in found}
        waiting = {node: one for node, one in begun.items() if one is not None}
        late = False
        while waiting:
            refs = [ref for one in waiting.values() for ref in one.refs()]
            done = set(ray.wait(refs, num_returns=len(refs), timeout=_LOOK_EVERY if late else 1.0)[0])
            late = bool(waiting)
            for node, one in list(waiting.items()):
                over = self._look(node, one, done, found) or not self._is_alive(node)
                passed = time.monotonic() - one.began  # since the current slice was sent
                if over:
                    del waiting[node]
                elif one.task is None and one.call.needs_files_alone and passed >= one.grace:
                    one.task = _ask_shelf(node, one.call)
                elif passed > one.patience:
                    del waiting[node]
                    if one.task is not None:
                        self._stuck[node] = one.task
                if passed >= _GRACE and one.call.is_short and one.call.ref not in done and not one.is_gone:
                    self._late.setdefault(node, one.call.ref)
        return found

    def _begin(self, node: str, call: Call, patience: float) -> _Waiting | None:
        if node not in self._keepers:
            try:
                self._look_up(node)
            except StoreUnavailable:  # it has none, or the head does not say
                return None
        under_way = _UnderWay(self._keepers[node], call)
        return _Waiting(under_way, *self._patience(node, under_way, patience), patience)

    def _is_alive(self, node: str) -> bool:
        return node not in self._nodes or self._nodes[node].alive  # an unknown node has come since the last list

    def _patience(self, node: str, call: _UnderWay, patience: float) -> tuple[float, float]:
        """Seconds until another process is asked, and seconds for an answer: few for a node that owes an answer."""
        if not self.is_late(node):
            return _GRACE, patience
        if not call.needs_files_alone or _owed(self._stuck, node):
            return math.inf, patience * _IF_LATE
        return 0.0, patience

    def _look(self, node: str, one: _Waiting, done: set[Any], found: dict[str, Any]) -> bool:
        """Take an answer that has come, if any; whether the call is over."""
        if one.task is not None and one.task in done:
            try:
                return self._take(node, one, ray.get(one.task), found)
            except RayError as error:
                _log.debug("shelf of %s: %s", node, error)
                one.task, one.grace = None, math.inf
        if one.is_gone or one.call.ref not in done:
            return one.is_gone and one.task is None
        try:
            return self._take(node, one, ray.get(one.call.ref), found)
        except ActorDiedError:
            return not self._is_alive(node) or self._without(node, one)
        except RayError as error:
            _log.debug("keeper of %s: %s", node, error)
        return True

    def _take(self, node: str, one: _Waiting, answer: Any, found: dict[str, Any]) -> bool:
        """Take an answer, and send the next slice; whether there was none."""
        rest = one.take(answer)
        if rest is None:
            found[node] = one.answer()
            return True
        one.ask(rest, *self._patience(node, rest, one.asked_for))
        return False

    def _without(self, node: str, one: _Waiting) -> bool:
        """Go on without a keeper that is gone for good: ask its successor or another process. Whether none can be."""
        self._gone.add(node)
        with contextlib.suppress(StoreUnavailable):
            actor = self._look_up(node)
            if actor != one.call.actor:
                one.call = one.call.again(actor)
                return False
        one.is_gone = True
        if one.task is None and one.call.needs_files_alone and one.grace != math.inf:
            one.task = _ask_shelf(node, one.call)
        return one.task is None

    # --- the catalog

    def ask_catalog(self, call: Call, patience: float | None = PATIENCE) -> Any:
        answer = self._line.ask(call, patience) if call.method in CALLED else THROUGH_RAY
        return self._ask_catalog(call, patience) if answer is THROUGH_RAY else answer

    def _ask_catalog(self, call: Call, patience: float | None) -> Any:
        """Through Ray."""
        try:
            return _answer(self._find_catalog(), call, patience)
        except Left:
            self._catalog = None
            raise
        except NoAnswer as error:
            if not isinstance(error.__cause__, GetTimeoutError):
                raise
            raise NoAnswer(
                f"the catalog did not answer within {patience or RESTART:.0f} s: it may be stopped; "
                "see `ray list actors`"
            ) from error.__cause__

    def hang_up(self) -> None:
        """Close idle connections to catalog and keepers. They are opened again if they are needed."""
        self._line.close()
        self._short_calls.close()

    def tell_catalog(self, call: Call) -> None:
        getattr(self._find_catalog(), call.method).remote(*call.args)

    def calls_through_ray(self) -> str | None:
        return self._line.look()

    def _find_catalog(self) -> Any:
        if self._catalog is None:
            try:
                with explained():
                    self._catalog = actors.catalog()
            except ValueError:
                raise Nobody("this cluster has no catalog") from None
        return self._catalog

    # --- nodes

    def nodes(self) -> list[Node]:
        found = nodes()
        self._nodes, self._listed_at = {node.id: node for node in found}, time.monotonic()
        return found

    def node(self, node: str) -> Node | None:
        if can_ask_for_one():
            return ray_node(node)
        if time.monotonic() >= self._listed_at + len(self._nodes) / _NODES_A_SECOND:
            self.nodes()
        return self._nodes.get(node)

    def busy(self, node: str) -> list[str]:
        return busy(node, {actors.keeper_name(node), actors.CATALOG})

    def autoscaler(self) -> Autoscaler | None:
        seen = autoscaler()
        if seen is None or seen.min_workers or self._is_catalog():
            return seen
        try:
            found: Autoscaler | None = self.ask_catalog(Call.of("autoscaler"))  # the monitor is seen on the head alone
        except StoreUnavailable:
            return seen
        return found

    def _is_catalog(self) -> bool:
        """Whether this process is the catalog."""
        catalog = self._find_catalog()
        return bool(ray.get_runtime_context().get_actor_id() == catalog._actor_id.hex())  # noqa: SLF001

    def jobs_that_ended(self, numbers: set[int]) -> set[int]:
        with explained():
            return jobs_that_ended(numbers)

    def watch(self) -> Watch | None:
        from outlive.metrics.exporter import Exporter  # keepers and the catalog alone need it

        return Exporter()

    def address(self) -> str:
        address: str = ray.get_runtime_context().gcs_address
        return address

    def leave(self) -> None:
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)

    # --- what the head remembers

    def load(self, key: str) -> bytes | None:
        with explained():
            return kv.get(key)

    def save(self, key: str, value: bytes) -> None:
        with explained():
            kv.put(key, value)

    def save_first(self, key: str, value: bytes) -> bytes:
        with explained():
            kv.put_first(key, value)
            return kv.get(key) or value


class _UnderWay:
    """A call that is under way. A long list is sent in slices, one after the other.

    Each slice has the whole deadline, and the keeper answers other calls in between.
    """

    def __init__(self, actor: Any, call: Call) -> None:
        self.actor, (self.method, args) = actor, call
        self._rest: Sequence[Any] = ()
        if self.method in BY_LIST and len(args[0]) > AT_A_TIME:
            self._rest, args = args[0][AT_A_TIME:], (args[0][:AT_A_TIME], *args[1:])
        self.args = args
        self.ref: ray.ObjectRef[Any] = getattr(actor, self.method).remote(*args)

    def again(self, actor: Any) -> _UnderWay:
        """The same call to another actor, from the current slice on."""
        args = ([*self.args[0], *self._rest], *self.args[1:]) if self._rest else self.args
        return _UnderWay(actor, Call(self.method, args))

    def rest(self) -> _UnderWay | None:
        """The call with the slices that are left, after this one was answered; None if that was the last."""
        return _UnderWay(self.actor, Call.of(self.method, self._rest, *self.args[1:])) if self._rest else None

    @property
    def needs_files_alone(self) -> bool:
        return hasattr(ShelfCalls, self.method)

    @property
    def is_short(self) -> bool:
        """Whether the call takes little time. The others copy arrays, and take as long as the bytes do."""
        return self.needs_files_alone or self.method == "room"


class _Waiting:
    """The wait for one node's answer."""

    def __init__(self, call: _UnderWay, grace: float, patience: float, asked_for: float) -> None:
        self.asked_for = asked_for
        self._answers: list[Any] = []
        self.ask(call, grace, patience)

    def ask(self, call: _UnderWay, grace: float, patience: float) -> None:
        self.call, self.grace, self.patience = call, grace, patience
        self.began, self.is_gone = time.monotonic(), False
        self.task: Any = None

    def take(self, answer: Any) -> _UnderWay | None:
        """Note an answer; the call that is still to be made, if any."""
        self._answers.append(answer)
        return self.call.rest()

    def answer(self) -> Any:
        if len(self._answers) == 1 or self._answers[0] is None:
            return self._answers[0]
        return [one for some in self._answers for one in some]

    def refs(self) -> list[Any]:
        return [ref for ref in (None if self.is_gone else self.call.ref, self.task) if ref is not None]


def _owed(calls: dict[str, Any], node: str) -> bool:
    """Whether a node still owes an answer that did not come in time."""
    ref = calls.get(node)
    if ref is not None and ray.wait([ref], timeout=0)[0]:
        calls.pop(node, None)
        return False
    return ref is not None


def _ask_shelf(node: str, call: _UnderWay) -> Any:
    return starters.ask_shelf(Connection().cluster, node, call.method, call.args)


def _answer(actor: Any, call: Call, patience: float | None) -> Any:
    try:
        ref = getattr(actor, call.method).remote(*call.args)
        if patience is None:
            return wait(ref, [actor])
        return ray.get(ref, timeout=None if patience == math.inf else patience)
    except RayError as error:
        raise told(error, patience) from error


def wait(ref: ray.ObjectRef[Any], known: Sequence[Any]) -> Any:
    """An answer that may take any time, as long as its actor answers other calls meanwhile.

    Parameters
    ----------
    known
        Actors, of which one was asked as a rule.

    Raises
    ------
    GetTimeoutError
        The actor does not answer other calls.
    """
    while True:
        with contextlib.suppress(GetTimeoutError):
            return _get(ref, PATIENCE)
        asked = ref.task_id().actor_id()
        actor = next((actor for actor in known if actor._actor_id == asked), None)  # noqa: SLF001
        if actor is None:  # another node's keeper
            return ray.get(ref, timeout=_LONGEST)
        ray.get(actor.rounds.remote(), timeout=RESTART)  # this long, as the actor may be starting again


def _get(ref: ray.ObjectRef[Any], seconds: float) -> Any:
    """`ray.get`, and this thread's progress bar is drawn meanwhile. Raises GetTimeoutError."""
    deadline = time.monotonic() + seconds
    while (step := progress.pause(seconds)) < seconds:
        if ray.wait([ref], timeout=step)[0]:
            break
        progress.tick()
        seconds = max(0.0, deadline - time.monotonic())
    return ray.get(ref, timeout=seconds)


def wait_for(refs: Any, actor: Any) -> None:
    """Wait for the first part of a stream. Raises GetTimeoutError if its sender turns out to be stopped."""
    for patience in (_FIRST, _STALLED):
        if ray.wait([refs], timeout=patience)[0]:
            return
        if not ray.wait([actor.rounds.remote()], timeout=_FIRST)[0]:
            break
    raise GetTimeoutError("its sender does not answer")
