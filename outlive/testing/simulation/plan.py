"""A plan: what clients do, what goes wrong, and when. It comes from a seed or from JSON, and can be shrunk."""

from __future__ import annotations

import json
import random
from typing import Any, Literal, NamedTuple

from outlive.testing.simulation.network import Manners

HEAD = "a"
KEYS = "k", "m"
# Items of 8 bytes: a small array is copied when it is read, a large one mapped, and the largest also recycled.
SMALL, LARGE, RECYCLED = 5, 6000, 33_000
_KINDS = {  # kinds of operations, and their weights
    "put": 8,
    "get": 9,
    "delete": 3,
    "put_many": 2,
    "get_many": 2,
    "keys": 1,
    "drain": 1,
    "check": 0.3,
}
_FAULTS = {
    "kill catalog": 3,
    "kill keeper": 3,
    "kill client": 3,
    "interrupt client": 2,
    "stop keeper": 2,
    "stop catalog": 1,
    "stop client": 2,
    "kill machine": 1,
    "cut": 2,
    "set clock": 2,
    "end keeper": 2,
    "drain machine": 0.7,
    "delay call": 4,
    "abandon call": 4,  # the call is delayed, and its caller is killed or interrupted meanwhile
}
# A fault happens at some moment, or during one of these calls, which change what others rely on.
_OF_CATALOG = "bind", "replace", "join_copy", "replicate", "drop", "end", "finish", "listing_part", "evacuate", "leave"
_OF_KEEPER = "fetch", "send", "join_copy", "drop", "forbid", "keep", "finish", "listing_part", "evacuate", "leave"
_OF_CLIENT = "bind", "replace", "find", "hold", "fetch", "forbid", "drop", "end"
_UPON = {"catalog": _OF_CATALOG, "keeper": _OF_KEEPER, "client": _OF_CLIENT, "machine": _OF_KEEPER}
_LOOKS = 10  # reads of a client that watches a key
_DURING = 0.5  # part of the faults of processes that happen during a call
_DELAYED = *_OF_CATALOG, "bind", "given_up", "forbid", "keep", "take_off", "fetch", "kept", "room"


class Op(NamedTuple):
    """An operation of a client."""

    at: float  # seconds since the world began; later, if the operation before is not over
    kind: str
    keys: tuple[str, ...]
    value: int = 0
    items: int = SMALL
    replicas: int = 1
    lifetime: Literal["job", "detached"] = "detached"
    ttl: float = 0.0  # seconds; 0: no limit

    def __str__(self) -> str:
        what = f"{self.kind} {' '.join(self.keys)}".replace("_", " ")
        if self.kind.startswith("put"):
            what += f" = {self.value}" + (f", replicas={self.replicas}" if self.replicas > 1 else "")
            what += ("" if self.lifetime == "detached" else f", lifetime={self.lifetime}") + (
                f", ttl={self.ttl}" * bool(self.ttl)
            )
        return what


class Client(NamedTuple):
    """A process that works on a node."""

    name: str
    node: str
    ops: tuple[Op, ...]


class Fault(NamedTuple):
    """One thing that goes wrong."""

    at: float
    kind: str
    target: str = ""  # a node or a client
    other: str = ""  # a second node
    seconds: float = 0.0  # how long
    upon: str = ""  # a method: the fault waits for the next call of it; empty: the fault happens at once

    def __str__(self) -> str:
        text = f"{self.kind} {self.target}".strip() + (f" - {self.other}" if self.other else "")
        how = "after {:.0f} steps" if self.kind.startswith("crash") else "for {:.2f} s"
        text += f" {how.format(self.seconds)}" if self.seconds else ""
        return text + (f", upon {self.upon}" if self.upon else "")


class Plan(NamedTuple):
    """The plan of a whole schedule."""

    seed: int
    nodes: tuple[str, ...]
    clients: tuple[Client, ...]
    faults: tuple[Fault, ...]
    manners: Manners = Manners()
    without: frozenset[int] = frozenset()  # keys of what does not go wrong with messages
    memory: int = 0  # bytes that a shelf may hold in memory; 0: it does not spill to disk
    disk: int = 0  # bytes that it may hold on disk
    ports: bool = False  # whether frequent calls, and arrays, go by ports; otherwise all go through Ray

    def dumps(self) -> str:
        return json.dumps(self._replace(without=sorted(self.without)))  # type: ignore[arg-type]

    @classmethod
    def loads(cls, text: str) -> Plan:
        seed, nodes, clients, faults, manners, without, *rest = json.loads(text)
        ops = [(name, node, tuple(_op(one) for one in some)) for name, node, some in clients]
        return cls(
            seed,
            tuple(nodes),
            tuple(Client(*one) for one in ops),
            tuple(Fault(*one) for one in faults),
            Manners(*manners),
            frozenset(without),
            *rest,
        )

    @property
    def size(self) -> int:
        """The number of things that happen."""
        return sum(len(client.ops) for client in self.clients) + len(self.faults) + len(self.nodes)


def _op(fields: list[Any]) -> Op:
    at, kind, keys, *rest = fields
    return Op(at, kind, tuple(keys), *rest)


class Size(NamedTuple):
    """The size of schedules: of each tuple, one number is chosen."""

    nodes: tuple[int, ...]
    clients: tuple[int, ...]
    ops: tuple[int, int]  # of a client: the fewest, and the most
    faults: tuple[int, ...]
    watched: float  # part of schedules in which one more client watches a key
    themed: int  # factor for the operations that a theme adds


_SIZES = (
    Size(nodes=(2, 2, 3), clients=(2, 2, 3), ops=(2, 5), faults=(0, 1, 1, 2, 2, 3), watched=0.25, themed=1),
    Size(nodes=(2, 3, 3), clients=(3, 3, 4), ops=(5, 10), faults=(1, 2, 3, 4, 5), watched=0.4, themed=2),
)


def size_of(seed: int) -> Size:
    """The size of a seed's schedule."""
    return _SIZES[random.Random(f"size of {seed}").randrange(len(_SIZES))]  # noqa: S311


def drawn(seed: int) -> Plan:
    """The part that every plan has; `themes.plan_of` adds the theme that only some have."""
    rng, size = random.Random(seed), size_of(seed)  # noqa: S311
    nodes = ("a", "b", "c")[: rng.choice(size.nodes)]
    span = rng.choice((0.5, 2.0, 8.0))  # seconds in which it all happens
    some_replicas = rng.random() < 0.4
    values = iter(range(1, 10**6))
    moments = [rng.uniform(0, span) for _ in range(3)]  # at which much happens at once
    clients = []
    for number in range(rng.choice(size.clients)):
        node = rng.choice(nodes)
        ops = [
            _an_op(rng, _moment(rng, span, moments), some_replicas, len(nodes), next(values))
            for _ in range(rng.randint(*size.ops))
        ]
        clients.append(Client(f"client{number + 1}", node, tuple(sorted(ops))))
    if rng.random() < size.watched:
        clients.append(_watcher(rng, span, moments, rng.choice(nodes)))
    faults = tuple(
        sorted(_a_fault(rng, _moment(rng, span, moments), nodes, clients) for _ in range(rng.choice(size.faults)))
    )
    return Plan(seed, nodes, tuple(clients), faults, _manners(rng))


def _watcher(rng: random.Random, span: float, moments: list[float], node: str) -> Client:
    """A client that reads one key again and again, so that a short error shows."""
    begin, pause, key = rng.choice((0.0, *moments)), rng.choice((0.002, 0.05, span / 10)), (rng.choice(KEYS),)
    ops = (Op(round(begin + pause * number * rng.uniform(0.8, 1.2), 4), "get", key) for number in range(_LOOKS))
    return Client("watcher", node, tuple(sorted(ops)))


def _moment(rng: random.Random, span: float, moments: list[float]) -> float:
    at = rng.choice(moments) + rng.uniform(0, 0.03) if rng.random() < 0.6 else rng.uniform(0, span)
    return round(at, 4)


def _an_op(rng: random.Random, at: float, some_replicas: bool, nodes: int, value: int) -> Op:
    kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
    keys: tuple[str, ...] = (rng.choice(KEYS[:1] * 2 + KEYS[1:]),)
    if kind.endswith("_many"):
        keys = KEYS
    if kind == "drain":
        keys = (rng.choice(("b", "c")[: nodes - 1]),)
    if kind in {"keys", "check"}:
        keys = ()
    items = LARGE if rng.random() < 0.15 else SMALL
    replicas = 2 if some_replicas and rng.random() < 0.6 else 1
    return Op(at, kind, keys, value, items, replicas)


def _a_fault(rng: random.Random, at: float, nodes: tuple[str, ...], clients: list[Client]) -> Fault:
    kind = rng.choices(list(_FAULTS), list(_FAULTS.values()))[0]
    if kind.endswith("call"):
        return _of_a_call(rng, at, kind)
    (target, other), seconds, upon = _target(rng, kind, nodes, clients), 0.0, ""
    if kind.startswith("stop") or kind == "cut":
        seconds = round(rng.choice((0.2, 2.0, 10.0, 30.0)) * rng.uniform(0.2, 1.0), 3)
    if kind == "cut":
        seconds = min(seconds, 10.0)
    if kind == "set clock":
        seconds = round(rng.choice((-1, 1)) * rng.choice((0.01, 1.0, 1000.0)), 3)
    if (what := kind.partition(" ")[2]) in _UPON and rng.random() < _DURING:
        at, upon = round(at * rng.random(), 4), rng.choice(_UPON[what])
    return Fault(at, kind, target, other, seconds, upon)


def _target(rng: random.Random, kind: str, nodes: tuple[str, ...], clients: list[Client]) -> tuple[str, str]:
    """The target of a fault: a client, or one or two nodes."""
    if kind.endswith("client"):
        return rng.choice(clients).name, ""
    if kind in {"kill keeper", "stop keeper", "set clock", "end keeper"}:
        return rng.choice(nodes), ""
    if kind in {"kill machine", "drain machine"}:
        return rng.choice(nodes[1:]), ""
    if kind == "cut":
        one, other = rng.sample(nodes, 2)
        return one, other
    return "", ""


def _of_a_call(rng: random.Random, at: float, kind: str) -> Fault:
    """A fault that delays a call, on its way there or back."""
    seconds = round(rng.choice((0.05, 0.5, 4.0, 30.0)) * rng.uniform(0.2, 1.0), 3)
    how = rng.choice(("kill", "interrupt")) if kind == "abandon call" else ""
    return Fault(round(at * rng.random(), 4), kind, rng.choice(("there", "back")), how, seconds, rng.choice(_DELAYED))


def _manners(rng: random.Random) -> Manners:
    if rng.random() < 0.3:
        return Manners()
    return Manners(
        slow=rng.choice((0.0, 0.1)), late=rng.choice((0.0, 0.02)), lost=0.0, repeated=rng.choice((0.0, 0.05))
    )
