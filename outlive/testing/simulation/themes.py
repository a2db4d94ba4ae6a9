"""Themes: what some schedules are about, on top of what all of them are made of.

Each seed has none or one. It is drawn apart from the rest, so that a seed without it goes as it went before.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from outlive.testing.simulation.plan import LARGE, SMALL, Client, Op, Plan, drawn

HANDLES = "h", "j"  # what a client has put last without a key, and others know of
_LONGEST = 8.0  # seconds of a schedule, at most

Theme = Callable[[random.Random, Plan], Plan]


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    rng, plan = random.Random(f"theme of {seed}"), drawn(seed)  # noqa: S311
    chosen = rng.choices([None, *THEMES], [_WITHOUT, *THEMES.values()])[0]
    return plan if chosen is None else chosen(rng, plan)


def _handles(rng: random.Random, plan: Plan) -> Plan:
    """Arrays without a key: whoever has a handle reads and deletes them."""
    kinds = {"put_handle": 4, "get_handle": 6, "delete_handle": 2}

    def an_op(at: float, value: int) -> Op:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        items, replicas = (LARGE if rng.random() < 0.2 else SMALL), (2 if rng.random() < 0.3 else 1)
        return Op(at, kind, (rng.choice(HANDLES[:1] * 2 + HANDLES[1:]),), value, items, replicas)

    return _with_ops(rng, plan, 3, an_op)


def _with_ops(rng: random.Random, plan: Plan, most: int, an_op: Callable[[float, int], Op]) -> Plan:
    """Each client does some more, about when it does the rest: at most so many operations."""
    clients, value = [], 1000
    for client in plan.clients:
        ops = list(client.ops)
        moments = [op.at for op in ops] or [rng.uniform(0, _LONGEST)]
        for _ in range(rng.randint(1, most)):
            value += 1
            ops.append(an_op(round(rng.choice(moments) + rng.uniform(0, 0.05), 4), value))
        clients.append(Client(client.name, client.node, tuple(sorted(ops))))
    return plan._replace(clients=tuple(clients))


_WITHOUT = 6  # how often a schedule has no theme, as against those
THEMES: dict[Theme, float] = {_handles: 1.0}
