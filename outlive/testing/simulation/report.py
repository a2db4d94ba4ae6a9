"""Reports for people: the course of a schedule, and the planted faults that are found."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from outlive.testing.simulation.plan import Plan
from outlive.testing.simulation.planted import PLANTED, planted
from outlive.testing.simulation.shrink import shrink
from outlive.testing.simulation.themed_faults import THEME_OF
from outlive.testing.simulation.themes import plan_of
from outlive.testing.simulation.world import Result, World, a_world


def show(seed: int | None, path: Path | None, theme: str | None, plant: str | None, *, shrink_it: bool) -> int:
    """Play one schedule and say what happened; 1 if something is violated."""
    plan = plan_of(seed or 0, theme) if path is None else Plan.loads(path.read_text())
    with a_world() as world, planted(plant) if plant else contextlib.nullcontext():
        result = world.play(plan)
        if shrink_it and result.violations:
            result = shrink(result, world.play, _attempts)
            _say("")
        _tell(world.play(result.plan, traced=True))
    return 1 if result.violations else 0


def _attempts(count: int, plan: Plan) -> None:
    sys.stderr.write(f"\r{count} attempts, {plan.size} things happen ")
    sys.stderr.flush()


def _tell(result: Result) -> None:
    plan = result.plan
    _say(f"machines {', '.join(plan.nodes)}; {plan.nodes[0]} is the head")
    for client in plan.clients:
        _say(f"{client.name} on {client.node}:")
        for op in client.ops:
            _say(f"  {op.at:8.4f}  {op}")
    for fault in plan.faults:
        _say(f"goes wrong at {fault.at:.4f}: {fault}")
    for name in result.oddities.values():
        _say(f"goes wrong: {name}")
    _say("\nseconds    what happens")
    for line in result.trace:
        _say(line)
    _say(f"\nthe plan, for --plan: {plan.dumps()}")
    _say("\n".join(result.violations) if result.violations else "all is well")


def look_for_planted(first: int, most: int, theme: str | None, only: str | None) -> int:
    """Plant each known fault, and say after how many schedules it was found; 1 if one was not."""
    missed = 0
    with a_world() as world:
        for name in only.split(",") if only else list(PLANTED):
            found = _look(world, name, range(first, first + most), theme or THEME_OF.get(name))
            if found is None:
                missed += 1
                _say(f"{name}: not found in {most} schedules")
            else:
                count, violation = found
                _say(f"{name}: found by schedule {count}: {violation.splitlines()[0][:120]}")
    return 1 if missed else 0


def _look(world: World, name: str, seeds: range, theme: str | None) -> tuple[int, str] | None:
    """The first schedule that fails with the fault and not without it: its count, and the violation."""
    for count, seed in enumerate(seeds, 1):
        plan = plan_of(seed, theme)
        with planted(name):
            violations = world.play(plan).violations
        if violations and not world.play(plan).violations:
            return count, violations[0]
    return None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
