"""Shrinking: a plan that fails is cut down as long as it still fails, so that people can understand it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from outlive.testing.simulation.network import Manners
from outlive.testing.simulation.plan import Plan
from outlive.testing.simulation.world import Result

Play = Callable[[Plan], Result]


def shrink(result: Result, play: Play, tried: Callable[[int, Plan], object] = lambda *_: None) -> Result:
    """The smallest result that still fails.

    Each operation, fault and message draws its delays for itself, so the rest goes much as before.

    Parameters
    ----------
    play
        Plays a plan.
    tried
        Called after each attempt with the number of attempts, and the smallest plan so far.
    """
    attempts, smallest, kind = 0, result, kind_of(result)
    while True:
        for plan in _smaller(smallest):
            attempts += 1
            found = play(plan)
            tried(attempts, smallest.plan)
            if found.violations and kind_of(found) == kind:
                smallest = found
                break
        else:
            return smallest


def kind_of(result: Result) -> str:
    """The kind of violation, roughly. A plan is not cut down to another kind."""
    words = result.violations[0].split()
    return " ".join(word for word in words[:12] if word.isalpha() and len(word) > 2)[:40]


def _smaller(result: Result) -> Iterator[Plan]:
    """Plans in which less happens: first those in which much less happens."""
    plan = result.plan
    if plan.manners != Manners():
        yield plan._replace(manners=Manners(), without=frozenset())
    if plan.ports:
        yield plan._replace(ports=False)
    for number in range(len(plan.clients)):
        if len(plan.clients) > 1:
            yield plan._replace(clients=plan.clients[:number] + plan.clients[number + 1 :])
    for number in range(len(plan.faults)):
        yield plan._replace(faults=plan.faults[:number] + plan.faults[number + 1 :])
    for number, client in enumerate(plan.clients):
        for one in range(len(client.ops)):
            fewer = client._replace(ops=client.ops[:one] + client.ops[one + 1 :])
            yield plan._replace(clients=(*plan.clients[:number], fewer, *plan.clients[number + 1 :]))
    yield from _calmer(plan, sorted(result.oddities))
    yield from _simpler(plan)


def _calmer(plan: Plan, oddities: list[int]) -> Iterator[Plan]:
    """Plans with fewer oddities of messages: without halves of these, then quarters, then single ones."""
    size = len(oddities)
    while size:
        for begin in range(0, len(oddities), size):
            yield plan._replace(without=plan.without.union(oddities[begin : begin + size]))
        size = size // 2


def _simpler(plan: Plan) -> Iterator[Plan]:
    used = {client.node for client in plan.clients} | {fault.target for fault in plan.faults} | {plan.nodes[0]}
    used |= {key for client in plan.clients for op in client.ops for key in op.keys} | {
        one.other for one in plan.faults
    }
    fewer = tuple(node for node in plan.nodes if node in used)
    if len(fewer) < len(plan.nodes):
        yield plan._replace(nodes=fewer)
    for number, client in enumerate(plan.clients):
        for one, op in enumerate(client.ops):
            for other in (op._replace(items=5), op._replace(replicas=1), op._replace(keys=op.keys[:1])):
                if other != op and (other.keys == op.keys or op.kind.endswith("_many")):
                    ops = (*client.ops[:one], other, *client.ops[one + 1 :])
                    yield plan._replace(
                        clients=(*plan.clients[:number], client._replace(ops=ops), *plan.clients[number + 1 :])
                    )
