"""Run as a program: a driver with work of one kind, the same each time. Arguments: address, kind, seed."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

import ray

SECONDS = 12.0


@ray.remote
def work(seconds: float) -> None:
    time.sleep(seconds)


@ray.remote
def parent(number: int, seconds: float) -> None:
    ray.get([work.remote(seconds) for _ in range(number)])
    time.sleep(0.3)


@ray.remote(num_cpus=0.5)
def half(seconds: float) -> None:
    time.sleep(seconds)


@ray.remote
class Actor:
    def call(self, seconds: float) -> None:
        time.sleep(seconds)


def poisson(chance: random.Random) -> list[object]:
    time.sleep(chance.expovariate(1.6))
    return [work.remote(chance.expovariate(1 / 0.6))]


def bursts(chance: random.Random) -> list[object]:
    time.sleep(chance.choice([2.0, 4.0]))
    return [work.remote(1.0) for _ in range(chance.choice([2, 4, 7]))]


def nested(chance: random.Random) -> list[object]:
    refs: list[object] = [parent.remote(2, 0.6) for _ in range(3)]
    time.sleep(chance.choice([2.5, 5]))
    return refs


def fractional(chance: random.Random) -> list[object]:
    refs: list[object] = [half.remote(0.7) for _ in range(5)]
    time.sleep(chance.choice([1.5, 4]))
    return refs


def actors(chance: random.Random) -> list[object]:
    pair = [Actor.remote() for _ in range(2)]
    refs = [actor.call.remote(0.5) for actor in pair] + [work.remote(0.8) for _ in range(3)]
    ray.get(refs)
    time.sleep(chance.choice([1.0, 2.0]))
    return []


def environments(chance: random.Random) -> list[object]:
    refs: list[object] = []
    for name in "ab":
        of_its_own = work.options(runtime_env={"env_vars": {"NAME": name}})
        refs += [of_its_own.remote(0.8) for _ in range(2)]
    time.sleep(chance.choice([2.0, 4.0]))
    return refs


KINDS: dict[str, Callable[[random.Random], list[object]]] = {
    "poisson": poisson,
    "bursts": bursts,
    "nested": nested,
    "fractional": fractional,
    "actors": actors,
    "environments": environments,
}


def main(address: str, kind: str, seed: str) -> None:
    """Work for a while, then wait until all is done, and leave."""
    ray.init(address, log_to_driver=False, logging_level="ERROR")
    print("ready", flush=True)
    sys.stdin.readline()
    chance = random.Random(int(seed))
    refs = []
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        refs += KINDS[kind](chance)
    ray.get(refs)


if __name__ == "__main__":
    main(*sys.argv[1:])
