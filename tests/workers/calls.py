"""Every kind of call, each of which notices when its worker, or what its worker owns, is taken from it. No retries.

A kind is a function that submits calls and returns what is to come of them: `(result, expected)` pairs, in which the
result is a reference, or a function that fetches it.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray

Outcome = tuple[Any, Any]
PATIENCE = 120  # seconds for one result
_WORDS = 1 << 15  # 256 KiB: in the object store
_LATE = 3  # rounds for which what a worker owns is kept before it is read again


@ray.remote(max_retries=0)
def short(number):
    return number


@ray.remote(max_retries=0, num_cpus=0.5)
def nested(number):
    return ray.get(short.remote(number))


@ray.remote(max_retries=0, num_cpus=0)
def deep(number):
    return ray.get([nested.remote(number), short.remote(number)])


@ray.remote(max_retries=0)
def plus_one(number):
    return number + 1


@ray.remote(max_retries=0, num_returns=3)
def three(number):
    return number, number + 1, number + 2


@ray.remote(max_retries=0, num_returns="streaming")
def stream(number):
    for step in range(4):
        time.sleep(0.02)
        yield np.full(_WORDS >> 1, number + step)


@ray.remote(max_retries=0)
def variable(name):
    return os.environ[name]


@ray.remote(max_retries=0)
def own(number):
    return [ray.put(np.full(_WORDS, number))]


@ray.remote(max_retries=0)
def submit(number):
    return [short.remote(number)]  # this worker owns the result


@ray.remote(max_retries=0)
def read(box):
    return int(np.asarray(ray.get(box[0])).flat[0])


@ray.remote(max_retries=0)
def double(array):
    return array * 2


@ray.remote(max_calls=1, max_retries=0)
def last(number):
    return number


@ray.remote(max_retries=0, num_gpus=0.1)
def on_gpu(number):
    return number


@ray.remote(max_retries=0)
def fail(number):
    raise ValueError(number)


@ray.remote(max_retries=1, retry_exceptions=True)
def second_time(path, number):
    if not Path(path).exists():
        Path(path).touch()
        raise ConnectionError(number)
    return number


@ray.remote(max_retries=0, num_cpus=0)
def endless():
    while True:
        time.sleep(0.01)


@ray.remote(num_cpus=0, max_restarts=0)
class Plain:
    def call(self, number):
        return ray.get([short.remote(number), nested.remote(number)])

    def hold(self, box):
        self.held = box

    def held_value(self):
        return int(np.asarray(ray.get(self.held[0])).flat[0])


@ray.remote(num_cpus=0, max_restarts=0)
class Coroutines:
    async def call(self, number):
        return await short.remote(number)


@ray.remote(num_cpus=0, max_restarts=0, max_concurrency=3)
class Threads:
    def call(self, number):
        return ray.get(short.remote(number))


class Calls:
    """Makes calls of all kinds, and counts them and what went wrong."""

    def __init__(self, folder: Path, others: list[Any]) -> None:
        """`others`: detached actors of jobs that ended; their `run` returns the pid of a worker."""
        self._folder = folder
        self._actors = {name: kind.remote() for name, kind in (("a", Plain), ("b", Coroutines), ("c", Threads))}
        self._detached = Plain.options(name="calls", lifetime="detached").remote()
        self._others = others
        self._owned: deque[tuple[Any, int]] = deque()
        self._held: int | None = None
        self.made: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._group = ray.util.placement_group([{"CPU": 1}])

    def kinds(self) -> list[Callable[[int], Iterator[Outcome]]]:
        return [getattr(self, name) for name in dir(self) if name.startswith("call_")]

    def run(self, seconds: float, seed: int = 0) -> None:
        """Rounds of all kinds in any order, with pauses in which workers become idle."""
        rng, deadline, number = random.Random(seed), time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            number += 1
            kinds = self.kinds()
            rng.shuffle(kinds)
            submitted = [(kind.__name__[5:], pair) for kind in kinds for pair in kind(number)]
            for name, (result, expected) in submitted:
                self._check(name, result, expected)
            time.sleep(rng.choice([0, 0.05, 0.3]))  # not waiting for anything: workers shall be idle for a moment
        self.made["round"] = number

    def stop(self) -> None:
        for actor in (*self._actors.values(), self._detached, *self._others):
            ray.kill(actor)
        ray.util.remove_placement_group(self._group)

    def _check(self, name: str, result: Any, expected: Any) -> None:
        self.made[name] += 1
        try:
            value = result() if callable(result) else ray.get(result, timeout=PATIENCE)
        except Exception as error:
            value = f"{type(error).__name__}: {error}"
        if value != expected:
            self.wrong.append(f"{name}: {str(value)[:300]} instead of {expected}")

    # --- tasks

    def call_short(self, number):
        yield from ((short.remote(i), i) for i in range(number, number + 20))

    def call_nested(self, number):
        yield from ((nested.remote(i), i) for i in range(4))

    def call_deep(self, number):
        yield deep.remote(number), [number, number]

    def call_chain(self, number):
        yield plus_one.remote(plus_one.remote(plus_one.remote(number))), number + 3

    def call_several_results(self, number):
        yield from zip(three.remote(number), range(number, number + 3), strict=True)

    def call_stream(self, number):
        steps = stream.remote(number)
        yield lambda: [int(ray.get(step, timeout=PATIENCE)[0]) for step in steps], list(range(number, number + 4))

    def call_environment(self, number):
        environment = {"env_vars": {"NUMBER": str(number % 2)}}
        yield variable.options(runtime_env=environment).remote("NUMBER"), str(number % 2)

    def call_large(self, number):
        array = np.full(_WORDS, number)
        yield read.remote([double.remote(array)]), 2 * number
        yield read.remote([ray.put(array)]), number

    def call_max_calls(self, number):
        yield last.remote(number), number

    def call_gpu(self, number):
        yield on_gpu.remote(number), number

    def call_no_cpu(self, number):
        yield short.options(num_cpus=0).remote(number), number

    def call_spread(self, number):
        yield short.options(scheduling_strategy="SPREAD").remote(number), number

    def call_group(self, number):
        place = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(self._group)
        yield short.options(scheduling_strategy=place).remote(number), number

    def call_that_fails(self, number):
        def cause():
            try:
                ray.get(reference, timeout=PATIENCE)
            except ray.exceptions.RayTaskError as error:
                return str(error.cause)

        reference = fail.remote(number)
        yield cause, str(number)

    def call_that_is_retried(self, number):
        yield second_time.remote(str(self._folder / str(number)), number), number

    def call_that_is_cancelled(self, number):
        def outcome():
            ray.cancel(reference)
            with contextlib.suppress(ray.exceptions.TaskCancelledError):
                return ray.get(reference, timeout=PATIENCE)
            return "cancelled"

        reference = endless.remote()
        yield outcome, "cancelled"

    def call_wait(self, number):
        references = [short.remote(number) for _ in range(5)]
        yield lambda: len(ray.wait(references, num_returns=5, timeout=PATIENCE)[0]), 5

    # --- what workers own

    def call_owner(self, number):
        def now():
            (reference,) = ray.get(box, timeout=PATIENCE)
            self._owned.append((reference, number))
            return ray.get(read.remote([reference]), timeout=PATIENCE)

        box = own.remote(number)
        yield now, number

    def call_late_read(self, number):
        if len(self._owned) > _LATE:
            reference, expected = self._owned.popleft()
            yield read.remote([reference]), expected

    def call_owner_of_a_result(self, number):
        yield read.remote(ray.get(submit.remote(number), timeout=PATIENCE)), number

    def call_borrower(self, number):
        if self._held is not None:
            yield self._detached.held_value.remote(), self._held
        self._held = number
        ray.get(self._detached.hold.remote(ray.get(own.remote(number), timeout=PATIENCE)), timeout=PATIENCE)

    # --- actors

    def call_plain_actor(self, number):
        yield self._actors["a"].call.remote(number), [number, number]

    def call_coroutine_actor(self, number):
        yield from ((self._actors["b"].call.remote(i), i) for i in range(4))

    def call_threaded_actor(self, number):
        yield from ((self._actors["c"].call.remote(i), i) for i in range(4))

    def call_detached_actor(self, number):
        yield self._detached.call.remote(number), [number, number]

    def call_new_actor(self, number):
        actor = Coroutines.remote()
        yield actor.call.remote(number), number

    def call_actor_of_ended_job(self, _):
        for actor in self._others:
            result = actor.run.remote()
            yield lambda result=result: ray.get(result, timeout=PATIENCE) > 0, True
