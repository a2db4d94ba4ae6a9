"""Peers: how the catalog asks keepers, of which any may be dead, gone for good, or stopped.

Nobody waits for the dead, and for nobody longer than a deadline. What only needs a shelf's files is done by another
process of the node, if the keeper does not answer at once: one that is stopped, or gone for good, is no hindrance.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import ActorDiedError, RayError

from outlive.cluster import actors
from outlive.cluster.shelf_calls import ShelfCalls

T = TypeVar("T")
PATIENCE = 20.0  # seconds for an answer
_GRACE = 3.0  # of these, until another process of the node is asked
_IF_LATE = 0.1  # of the patience, for a node that owes an older answer
_LOOK_EVERY = 0.2  # seconds, while somebody is late
AT_A_TIME = 5_000  # arrays that a keeper is asked about in one call: it deletes as many in a quarter of a second
_BY_LIST = {
    "finish",
    "drop",
    "forbid",
    "keep",
    "holds",
    "describe",
}  # calls that begin with a list, and answer with one
_log = logging.getLogger(__name__)


class Call(Generic[T]):
    """One that is under way.

    A long list is asked about in slices, one after the other: each is answered within the deadline, however many there
    are, and the keeper answers others in between.
    """

    def __init__(self, peer: Peer, method: str, args: tuple[Any, ...]) -> None:
        self.peer, self.method = peer, method
        self._rest: Sequence[Any] = ()
        if method in _BY_LIST and len(args[0]) > AT_A_TIME:
            self._rest, args = args[0][AT_A_TIME:], (args[0][:AT_A_TIME], *args[1:])
        self.args = args
        self.ref: ray.ObjectRef[T] = getattr(peer.actor, method).remote(*args)

    def again(self, actor: Any) -> Call[T]:
        """The same, asked of another actor."""
        args = ([*self.args[0], *self._rest], *self.args[1:]) if self._rest else self.args
        return Call(Peer(self.peer.node, actor), self.method, args)

    def rest(self) -> Call[T] | None:
        """The next slices, once this one has been answered."""
        return Call(self.peer, self.method, (self._rest, *self.args[1:])) if self._rest else None

    @property
    def needs_files_alone(self) -> bool:
        return hasattr(ShelfCalls, self.method)

    @property
    def is_short(self) -> bool:
        """Else it copies, and takes as long as the bytes do."""
        return self.needs_files_alone or self.method == "room"


class Peer:
    """A node's keeper, asked as an actor is: `peer.method.remote(...)` makes a `Call`."""

    def __init__(self, node: str, actor: Any) -> None:
        self.node, self.actor = node, actor

    def __getattr__(self, method: str) -> Any:
        if method.startswith("__"):
            raise AttributeError(method)
        return _Method(self, method)


class _Method:
    def __init__(self, peer: Peer, name: str) -> None:
        self._peer, self._name = peer, name

    def remote(self, *args: Any) -> Call[Any]:
        return Call(self._peer, self._name, args)


class Peers:
    """All keepers.

    Parameters
    ----------
    is_alive
        Whether a node is.
    ask_shelf
        Has another process of a node make one of the `ShelfCalls`: node, method, arguments.
    """

    def __init__(self, is_alive: Callable[[str], bool], ask_shelf: Callable[[str, str, tuple[Any, ...]], Any]) -> None:
        self._is_alive, self._ask_shelf = is_alive, ask_shelf
        self._late: dict[str, ray.ObjectRef[Any]] = {}  # the call that a node's keeper has not answered in time
        self._stuck: dict[str, ray.ObjectRef[Any]] = {}  # what another process of a node has not answered in time
        self.gone: set[str] = set()  # nodes whose keeper turned out to be gone for good

    def is_late(self, node: str) -> bool:
        """Whether a node's keeper owes an answer for longer than it may take."""
        return _owed(self._late, node)

    def answers(self, calls: Mapping[str, Call[T]], patience: float = PATIENCE) -> dict[str, T]:
        """What keepers answer, by node.

        Left out are those whose nodes die, whose calls raise, and who do not answer in time.
        """
        found: dict[str, T] = {}
        waiting = {
            node: _Waiting(call, *self._patience(node, call, patience), patience) for node, call in calls.items()
        }
        late = False
        while waiting:
            refs = [ref for one in waiting.values() for ref in one.refs()]
            done = set(ray.wait(refs, num_returns=len(refs), timeout=_LOOK_EVERY if late else 1.0)[0])
            late = bool(waiting)
            for node, one in list(waiting.items()):
                over = self._look(node, one, done, found) or not self._is_alive(node)
                passed = time.monotonic() - one.began  # of the slice that is asked about now
                if over:
                    del waiting[node]
                elif one.task is None and one.call.needs_files_alone and passed >= one.grace:
                    one.task = self._ask_shelf(node, one.call.method, one.call.args)
                elif passed > one.patience:
                    del waiting[node]
                    if one.task is not None:
                        self._stuck[node] = one.task
                if passed >= _GRACE and one.call.is_short and one.call.ref not in done and not one.is_gone:
                    self._late.setdefault(node, one.call.ref)
        return found

    def _patience(self, node: str, call: Call[Any], patience: float) -> tuple[float, float]:
        """Seconds until somebody else is asked, and for an answer: few where nobody has answered before."""
        if not self.is_late(node):
            return _GRACE, patience
        if not call.needs_files_alone or _owed(self._stuck, node):
            return math.inf, patience * _IF_LATE
        return 0.0, patience

    def _look(self, node: str, one: _Waiting[T], done: set[Any], found: dict[str, T]) -> bool:
        """Take what has come; whether no more is to come."""
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

    def _take(self, node: str, one: _Waiting[T], answer: T, found: dict[str, T]) -> bool:
        """Take an answer; whether no more is to come."""
        rest = one.take(answer)
        if rest is None:
            found[node] = one.answer()
            return True
        one.ask(rest, *self._patience(node, rest, one.asked_for))
        return False

    def _without(self, node: str, one: _Waiting[T]) -> bool:
        """A keeper is gone for good: ask the one that took its place, else somebody else. Whether nobody can be."""
        self.gone.add(node)
        try:
            actor = actors.keeper(node)
        except ValueError:
            actor = None
        if actor is not None and actor != one.call.peer.actor:
            one.call = one.call.again(actor)
            return False
        one.is_gone = True
        if one.task is None and one.call.needs_files_alone and one.grace != math.inf:
            one.task = self._ask_shelf(node, one.call.method, one.call.args)
        return one.task is None


def _owed(calls: dict[str, Any], node: str) -> bool:
    """Whether an answer that did not come in time has still not come."""
    ref = calls.get(node)
    if ref is not None and ray.wait([ref], timeout=0)[0]:
        calls.pop(node, None)
        return False
    return ref is not None


class _Waiting(Generic[T]):
    """For one node's answer."""

    def __init__(self, call: Call[T], grace: float, patience: float, asked_for: float) -> None:
        self.asked_for = asked_for
        self._answers: list[Any] = []
        self.ask(call, grace, patience)

    def ask(self, call: Call[T], grace: float, patience: float) -> None:
        self.call, self.grace, self.patience = call, grace, patience
        self.began, self.is_gone = time.monotonic(), False
        self.task: Any = None

    def take(self, answer: Any) -> Call[T] | None:
        """What is still to be asked."""
        self._answers.append(answer)
        return self.call.rest()

    def answer(self) -> Any:
        if len(self._answers) == 1 or self._answers[0] is None:
            return self._answers[0]
        return [one for some in self._answers for one in some]

    def refs(self) -> list[Any]:
        return [ref for ref in (None if self.is_gone else self.call.ref, self.task) if ref is not None]
