"""Counting the calls of the catalog, in whichever process they are made: by its port, and through Ray."""

from __future__ import annotations

from collections import Counter
from typing import Any

import ray.actor

from outlive.calls.line import Line, NotMade

_made: Counter[str] = Counter()


def watch() -> None:
    """Count, from now on, what this process calls."""
    inner = ray.actor.ActorHandle._actor_method_call
    if getattr(inner, "counts", False):
        return

    def counting(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if self._ray_actor_creation_function_descriptor.class_name == "Catalog":
            _made[method] += 1
        return inner(self, method, *args, **kwargs)

    counting.counts = True  # type: ignore[attr-defined]
    ray.actor.ActorHandle._actor_method_call = counting
    by_port = Line.call

    def counting_too(self: Line, method: str, *args: Any) -> Any:
        try:
            answer = by_port(self, method, *args)
        except NotMade:  # it goes through Ray
            raise
        except BaseException:
            _made[method] += 1
            raise
        _made[method] += 1
        return answer

    Line.call = counting_too  # type: ignore[method-assign]


def taken() -> Counter[str]:
    """What was counted since this was last asked."""
    found = Counter(_made)
    _made.clear()
    return found


class Watched:
    """The calls that this process and some actors make, from when this is made."""

    def __init__(self, some: list[Any]) -> None:
        self._actors = some
        watch()
        ray.get([actor.__ray_call__.remote(lambda _: watch()) for actor in some])
        self.taken()

    def taken(self) -> Counter[str]:
        """What they have called since this was last asked."""
        theirs = ray.get([actor.__ray_call__.remote(lambda _: taken()) for actor in self._actors])
        return sum(theirs, taken())
