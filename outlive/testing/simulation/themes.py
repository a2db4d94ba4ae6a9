"""Themes: operations and faults that only some schedules have, in addition to those of all schedules.

Each seed has one theme or none. The theme is drawn apart from the rest, so the rest is the same without it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

from outlive.testing.simulation.plan import KEYS, LARGE, RECYCLED, SMALL, Client, Fault, Op, Plan, drawn, size_of
from outlive.testing.simulation.restarts import CRASH, ENDS_KEEPER, RESTART, STOPPED, TO_END, TWO

HANDLES = "h", "j"  # places where clients leave handles of arrays without a key
_OF_COPIES = "join_copy", "join_copies", "fetch", "keep", "replicate"
_LATE = *_OF_COPIES, "bind", "replace", "drop", "forbid", "erase", "given_up"
_OF_CALLS = {"abandon call", "crash keeper", "stop catalog"}
_OF_ADOPTING = "", "", "welcome", "listing_part", "end", "drop", "locate", "bind"
_LOOKS = 6  # reads of a client that watches a key
_LONGEST = 8.0  # seconds of a schedule, at most

Theme = Callable[[random.Random, Plan], Plan]


def plan_of(seed: int, theme: str | None = None) -> Plan:
    """The plan of a seed. `theme`: in place of the seed's own."""
    rng, plan = random.Random(f"theme of {seed}"), drawn(seed)  # noqa: S311
    chosen = rng.choices([None, *THEMES], [_WITHOUT, *_OFTEN.values()])[0]
    chosen = theme or chosen
    plan = plan if chosen is None else THEMES[chosen](rng, plan)
    return plan if plan.ports or rng.random() > _WITH_PORTS else _by_ports(plan, 0.02)


def _handles(rng: random.Random, plan: Plan) -> Plan:
    """Clients put arrays without a key, and read and delete them by handles."""
    kinds = {"put_handle": 4, "get_handle": 6, "delete_handle": 2}

    def an_op(at: float, value: int) -> Op:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        items, replicas = (LARGE if rng.random() < 0.2 else SMALL), (2 if rng.random() < 0.3 else 1)
        return Op(at, kind, (rng.choice(HANDLES[:1] * 2 + HANDLES[1:]),), value, items, replicas)

    return _with_ops(rng, plan, 3, an_op)


def _lifetimes(rng: random.Random, plan: Plan) -> Plan:
    """Arrays end by themselves, while clocks jump and clients touch them, or go."""
    kinds = {"put_handle": 4, "get_handle": 6, "touch_handle": 4, "delete_handle": 1, "put": 2, "get": 2}

    def an_op(at: float, value: int) -> Op:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        replicas, ttl = (2 if rng.random() < 0.3 else 1), round(rng.choice((0.3, 2.0, 8.0)) * rng.uniform(0.2, 1.0), 3)
        lifetime: Literal["job", "detached"] = "job" if kind == "put_handle" and rng.random() < 0.3 else "detached"
        key = rng.choice(KEYS if kind in {"put", "get"} else HANDLES)
        ends = ttl if kind.startswith("put") and (lifetime == "detached" or rng.random() < 0.2) else 0.0
        return Op(at, kind, (key,), value, SMALL, replicas, lifetime, ends)

    plan = _with_ops(rng, plan, 4, an_op)
    jumps = [
        Fault(round(rng.uniform(0, _LONGEST), 4), "set clock", rng.choice(plan.nodes), seconds=rng.choice((-3.0, 3.0)))
        for _ in range(rng.choice((0, 0, 1, 2)))
    ]
    return plan._replace(faults=tuple(sorted((*plan.faults, *jumps))))


def _scopes(rng: random.Random, plan: Plan) -> Plan:
    """A client opens a scope, and others put arrays in it too. The client leaves it, or is killed in it."""

    def an_op(at: float, value: int) -> Op:
        kind = rng.choices(("put_scoped", "get_handle", "delete_handle"), (5, 6, 1))[0]
        return Op(at, kind, ("s",), value, SMALL, 2 if rng.random() < 0.2 else 1)

    plan = _with_ops(rng, plan, 4, an_op)
    clients = list(plan.clients)
    number = rng.randrange(len(clients))
    moments = sorted(op.at for client in clients for op in client.ops)
    begin, end = moments[0] / 2, rng.choice(moments) + rng.uniform(0, 0.5)
    own = (*clients[number].ops, Op(begin, "open_scope", ("s",)), Op(round(end, 4), "close_scope", ("s",)))
    clients[number] = clients[number]._replace(ops=tuple(sorted(own)))
    return plan._replace(clients=tuple(clients))


def _doubles(rng: random.Random, plan: Plan) -> Plan:
    """A catalog or keeper is replaced although it lives, and goes on beside its successor."""

    def a_fault(at: float) -> Fault:
        seconds = round(rng.choice((0.0, 0.5, 3.0)) * rng.uniform(0.1, 1.0), 3)
        if rng.random() < 0.6:
            return Fault(at, "replace catalog", seconds=seconds)
        return Fault(at, "replace keeper", rng.choice(plan.nodes), seconds=seconds)

    return _with_faults(rng, plan, 2, a_fault)


def _crashes(rng: random.Random, plan: Plan) -> Plan:
    """Clients and keepers are killed between two system calls, also while they hold a lock."""

    def a_fault(at: float) -> Fault:
        steps = float(rng.randrange(30))
        if rng.random() < 0.7:
            return Fault(at, "crash client", rng.choice(plan.clients).name, seconds=steps)
        return Fault(at, "crash keeper", rng.choice(plan.nodes), seconds=steps)

    return _with_faults(rng, plan, 3, a_fault)


def _partitions(rng: random.Random, plan: Plan) -> Plan:
    """One machine is cut off from another, in both directions or in one, while every node reads."""

    def a_fault(at: float) -> Fault:
        one, other = rng.sample(plan.nodes, 2)
        seconds = round(rng.choice((1.0, 10.0, 40.0)) * rng.uniform(0.2, 1.0), 3)
        return Fault(at, rng.choice(("cut", "cut one way")), one, other, seconds)

    plan = _with_faults(rng, plan, 4, a_fault)
    cuts = [fault for fault in plan.faults if fault.kind.startswith("cut")]
    clients = list(plan.clients)
    for node in plan.nodes:
        cut = rng.choice(cuts)
        reads = sorted(round(cut.at + cut.seconds * rng.random(), 4) for _ in range(_LOOKS))
        ops = tuple(Op(at, "get", (rng.choice(KEYS),)) for at in reads)
        clients.append(Client(f"watcher-{node}", node, ops))
    return plan._replace(clients=tuple(clients))


def _disk(rng: random.Random, plan: Plan) -> Plan:
    """Memory has room for a few arrays, and the disk for some more: they are spilled, and come back."""
    kinds = {"put": 4, "get": 6, "put_handle": 3, "get_handle": 4, "put_many": 1, "delete": 1, "delete_handle": 1}

    def an_op(at: float, value: int) -> Op:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        key = rng.choice(HANDLES if kind.endswith("handle") else KEYS)
        keys = KEYS if kind == "put_many" else (key,)
        return Op(at, kind, keys, value, LARGE if rng.random() < 0.8 else SMALL, 2 if rng.random() < 0.2 else 1)

    plan = _with_ops(rng, plan, 6, an_op)
    memory, disk = rng.choice((110_000, 160_000, 260_000)), rng.choice((110_000, 64 << 20))
    return plan._replace(memory=memory, disk=disk)


def _views(rng: random.Random, plan: Plan) -> Plan:
    """Clients keep what they have read, and look at it again, while keys are replaced and deleted."""
    kinds = {"put": 5, "hold": 5, "look": 5, "delete": 2, "get": 1}

    def an_op(at: float, value: int) -> Op:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        return Op(at, kind, (rng.choice(KEYS),), value, RECYCLED, 2 if rng.random() < 0.2 else 1)

    return _with_ops(rng, plan, 6, an_op)


def _late(rng: random.Random, plan: Plan) -> Plan:
    """Calls come seconds late, while their arrays are copied, replaced and deleted elsewhere."""
    kinds = {"put_handle": 3, "get_handle": 5, "delete_handle": 3, "put": 3, "get": 3, "delete": 2}

    def an_op(at: float, value: int) -> Op:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        key = rng.choice(HANDLES[:1] if kind.endswith("handle") else KEYS)
        return Op(at, kind, (key,), value, SMALL, 2 if rng.random() < 0.4 else 1)

    def a_fault(at: float) -> Fault:
        seconds, way = round(rng.choice((0.05, 0.5, 4.0)) * rng.uniform(0.2, 1.0), 3), rng.choice(("there", "back"))
        if rng.random() < 0.3:
            return Fault(at, "abandon call", way, rng.choice(("kill", "interrupt")), seconds, rng.choice(_LATE))
        return Fault(at, "delay call", way, "", seconds, rng.choice(_LATE))

    return _with_faults(rng, _with_ops(rng, plan, 3, an_op), 4, a_fault)


def _listings(rng: random.Random, plan: Plan) -> Plan:
    """A shelf is listed, also repeatedly, while its arrays are deleted and replaced."""
    kinds = {"put": 4, "get": 4, "delete": 5}

    def an_op(at: float, value: int) -> Op:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        return Op(at, kind, (rng.choice(KEYS),), value, SMALL, 1)

    def a_fault(at: float) -> Fault:
        if rng.random() < 0.5:
            return Fault(at, rng.choice(("end keeper", "kill keeper")), rng.choice(plan.nodes))
        seconds = round(rng.choice((0.05, 0.5, 4.0)) * rng.uniform(0.2, 1.0), 3)
        return Fault(at, "delay call", "back", "", seconds, "listing_part")

    return _with_faults(rng, _with_ops(rng, plan, 4, an_op), 5, a_fault)


def _restarts(rng: random.Random, plan: Plan) -> Plan:
    """Ray is started again on a machine. The next node adopts the shelf, while others replace and delete the arrays."""
    node, at = rng.choice(plan.nodes[1:]), round(rng.uniform(0.3, 3.0), 4)
    starts = round(rng.choice((0.05, 1.0, 6.0)) * rng.uniform(0.2, 1.0), 3)
    if (chance := rng.random()) < 0.45:
        special = (_quiet, _emptied_late, _forgotten)[int(chance / 0.15)]
        return special(rng, plan, node, at, starts)
    how = rng.choices(("", STOPPED, TWO), (4, 3, 1))[0]
    end = at + starts + rng.choice((1.0, 4.0, 15.0))
    beside = _ops_around(rng, at, end, 2200)
    if rng.random() < (0.9 if how == STOPPED else 0.3):  # the node is emptied, before or after all is adopted
        moments = at + starts + 2 * rng.random(), at + starts + 2 * TO_END + 8 * rng.random()
        beside += [Op(round(moment, 4), "drain", (node,)) for moment in rng.choice((moments, moments[1:]))]
    clients = (
        Client("before", node, tuple(sorted(_ops_around(rng, 0.0, at, 2000)))),
        Client("after", rng.choice(plan.nodes), tuple(sorted(_ops_around(rng, at, end, 2100)))),
        Client("beside", "a", tuple(sorted(beside))),
    )
    faults = list(plan.faults)
    if rng.random() < 0.4:  # the catalog dies too: before Ray is started again, while all is adopted, or upon a call
        moment = at + (starts + 2.0) * rng.uniform(-0.2, 1.2)
        faults.append(Fault(round(max(0.0, moment), 4), "kill catalog", upon=rng.choice(_OF_ADOPTING)))
    for kind in rng.choices(sorted({*ENDS_KEEPER, "drain machine"} - _OF_CALLS), k=rng.randint(0, 3)):
        soon = round(at + starts + rng.choice((0.5, 3.0)) * rng.uniform(-0.1, 1.0), 4)
        seconds = float(rng.randrange(40)) if kind == CRASH else starts
        faults.append(Fault(0.0 if kind == CRASH else soon, kind, node, "", seconds))
    faults.append(Fault(at, RESTART, node, how, starts))
    if rng.random() < 0.5:  # the catalog hears late of what was adopted
        faults.append(Fault(at, "delay call", "there", "", round(rng.choice((1.0, 6.0)) * rng.random(), 3), "welcome"))
    others = plan.clients if rng.random() < 0.5 else ()
    return plan._replace(clients=(*others, *clients), faults=tuple(sorted(faults)))


def _quiet(rng: random.Random, plan: Plan, node: str, at: float, starts: float) -> Plan:
    """The keeper that adopts is killed, and nothing else happens on its node: nobody else has the shelf listed."""
    last = Op(round(at + starts + 14.0 + rng.random(), 4), "get", (rng.choice(KEYS),))  # until then it goes on
    clients = Client("before", node, tuple(sorted(_ops_around(rng, 0.0, at, 2000)))), Client("beside", "a", (last,))
    crash = Fault(0.0, CRASH, node, seconds=float(rng.randrange(8, 45)))
    return plan._replace(clients=clients, faults=(crash, Fault(at, RESTART, node, seconds=starts)))


def _emptied_late(rng: random.Random, plan: Plan, node: str, at: float, starts: float) -> Plan:
    """The old keeper is stopped, and the new node's shelf is listed before it can adopt. Then the node is emptied."""
    adopts = at + starts + 2 * TO_END
    after = Op(round(at + starts + rng.random(), 4), "put", (rng.choice(KEYS),), 2100)
    drains = tuple(Op(round(adopts + moment + rng.random(), 4), "drain", (node,)) for moment in range(1, 8))
    clients = (
        Client("before", node, tuple(sorted(_ops_around(rng, 0.0, at, 2000)))),
        Client("after", node, (after,)),
        Client("beside", "a", drains),
    )
    late = Fault(at + starts + 2.0, "delay call", "there", "", round(8.0 * rng.random(), 3), "welcome")
    return plan._replace(clients=clients, faults=(Fault(at, RESTART, node, STOPPED, starts), late))


def _forgotten(rng: random.Random, plan: Plan, node: str, at: float, starts: float) -> Plan:
    """While a node is dead, its arrays are deleted and replaced; then the catalog dies, and the shelf is adopted."""
    ops, key = list[Op](), rng.choice(KEYS)
    for number in range(rng.randint(1, 3)):
        kind = rng.choice(("delete", "delete", "put", "delete_handle"))
        place = HANDLES[0] if kind == "delete_handle" else key
        ops.append(Op(round(at + (starts + 1.0) * rng.random(), 4), kind, (place,), 2200 + number))
    before = Op(at / 2, "put", (key,), 2100), *_ops_around(rng, 0.0, at, 2000)
    clients = Client("before", node, tuple(sorted(before))), Client("beside", "a", tuple(sorted(ops)))
    last = max(op.at for op in ops)
    dies = Fault(round(last + rng.choice((0.05, 1.0, 10.0)) * rng.random(), 4), "kill catalog")
    late = Fault(at, "delay call", "there", "", round(rng.choice((1.0, 6.0, 12.0)) * rng.random(), 3), "welcome")
    faults = Fault(at, RESTART, node, seconds=starts), dies, late
    return plan._replace(clients=clients, faults=tuple(sorted(faults)))


def _ops_around(rng: random.Random, begin: float, end: float, value: int) -> list[Op]:
    """A few operations in between, on arrays with a key and without one."""
    kinds = {"put": 5, "get": 6, "delete": 4, "put_handle": 3, "get_handle": 3, "delete_handle": 3}
    ops = []
    for number in range(rng.randint(2, 6)):
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        key = rng.choice(HANDLES[:1] if kind.endswith("handle") else KEYS)
        replicas = 2 if rng.random() < 0.3 else 1
        ops.append(Op(round(rng.uniform(begin, end), 4), kind, (key,), value + number, SMALL, replicas))
    return ops


def _watched(rng: random.Random, plan: Plan) -> Plan:
    """A key is slowly deleted and replaced, and each node reads it meanwhile."""
    key, begin = (rng.choice(KEYS),), round(rng.uniform(0.0, 2.0), 4)
    seconds = round(rng.choice((0.1, 1.0, 4.0)) * rng.uniform(0.3, 1.0), 3)
    moments = sorted(round(begin + seconds * rng.random(), 4) for _ in range(rng.randint(1, 3)))
    changes = [Op(begin / 2, "put", key, 900), *(Op(at, rng.choice(("put", "delete")), key, 901) for at in moments)]
    changes = [op._replace(value=900 + number) for number, op in enumerate(changes)]
    clients = [Client("changer", rng.choice(plan.nodes), tuple(changes))]
    for node in plan.nodes:
        reads = sorted(round(begin + 1.5 * seconds * rng.random(), 4) for _ in range(_LOOKS))
        clients.append(Client(f"watcher-{node}", node, tuple(Op(at, "get", key) for at in reads)))
    upon = rng.choice(("drop", "drop", "forbid", "replace", "bind", "finish", "end"))
    fault = Fault(round(begin / 2 + (begin / 2) * rng.random(), 4), "delay call", rng.choice(("there", "back")))
    faults = (*plan.faults, fault._replace(seconds=seconds, upon=upon))
    return plan._replace(clients=(*plan.clients, *clients), faults=tuple(sorted(faults)))


def _ports(rng: random.Random, plan: Plan) -> Plan:
    """Calls and arrays go by ports, whose connections break, while a catalog or keeper goes on beside its successor."""
    kinds = {"put": 4, "get": 6, "delete": 2, "put_handle": 2, "get_handle": 4, "delete_handle": 2, "get_many": 1}

    def an_op(at: float, value: int) -> Op:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        keys = KEYS if kind == "get_many" else (rng.choice(HANDLES[:1] if kind.endswith("handle") else KEYS),)
        return Op(at, kind, keys, value, LARGE if rng.random() < 0.2 else SMALL, 2 if rng.random() < 0.3 else 1)

    def a_fault(at: float) -> Fault:
        seconds = round(rng.choice((0.5, 3.0, 8.0)) * rng.uniform(0.1, 1.0), 3)
        kind = rng.choices(("replace catalog", "stop catalog", "kill catalog", "replace keeper"), (5, 2, 2, 1))[0]
        target = rng.choice(plan.nodes) if kind.endswith("keeper") else ""
        upon = rng.choice(("bind", "replace", "find", "join_copy")) if kind == "kill catalog" else ""
        return Fault(at, kind, target, "", 0.0 if kind.startswith("kill") else seconds, upon)

    plan = _with_faults(rng, _with_ops(rng, plan, 6, an_op), 2, a_fault)
    return _by_ports(plan, rng.choice((0.0, 0.02, 0.1)))


def _by_ports(plan: Plan, broken: float) -> Plan:
    return plan._replace(ports=True, manners=plan.manners._replace(broken=broken))


def _with_faults(rng: random.Random, plan: Plan, most: int, a_fault: Callable[[float], Fault]) -> Plan:
    """Add faults close to operations of clients: at most so many."""
    moments = [op.at for client in plan.clients for op in client.ops] or [1.0]
    faults = [a_fault(round(rng.choice(moments) + rng.uniform(-0.01, 0.03), 4)) for _ in range(rng.randint(1, most))]
    return plan._replace(faults=tuple(sorted((*plan.faults, *faults))))


def _with_ops(rng: random.Random, plan: Plan, most: int, an_op: Callable[[float, int], Op]) -> Plan:
    """Add operations to each client, close to its others: at most so many, and more in a large schedule."""
    most *= size_of(plan.seed).themed
    clients, value = [], 1000
    for client in plan.clients:
        ops = list(client.ops)
        moments = [op.at for op in ops] or [rng.uniform(0, _LONGEST)]
        for _ in range(rng.randint(1, most)):
            value += 1
            ops.append(an_op(round(rng.choice(moments) + rng.uniform(0, 0.05), 4), value))
        clients.append(Client(client.name, client.node, tuple(sorted(ops))))
    return plan._replace(clients=tuple(clients))


_WITHOUT = 6  # the weight of no theme
_WITH_PORTS = 0.1  # part of the other schedules in which calls and arrays go by ports too
_OFTEN: dict[Theme, float] = {
    _handles: 1.0,
    _lifetimes: 1.0,
    _scopes: 0.7,
    _doubles: 0.7,
    _crashes: 1.0,
    _partitions: 0.5,
    _disk: 0.8,
    _late: 1.0,
    _listings: 0.7,
    _watched: 0.7,
    _views: 0.5,
    _restarts: 0.7,
    _ports: 1.0,
}
THEMES = {theme.__name__.strip("_"): theme for theme in _OFTEN}
