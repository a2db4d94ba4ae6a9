"""The meaning of ids in plain words, and the numbers that Ray builds them with."""

from __future__ import annotations

from typing import Literal

Maker = Literal["driver", "normal task", "actor task", "actor creation task", "thread or async actor", "unknown"]

FIRST_PUT = 100_000_000
"""`RAY_max_num_generator_returns` (src/ray/common/ray_config_def.h): indices up to here are return values, those above
it are `ray.put`s, which `WorkerContext::GetNextPutIndex` (src/ray/core_worker/context.cc) numbers from here plus the
task's number of return values. The same in all of Ray 2.49 to 2.60; much older Ray had no such gap."""


def ordinal(n: int) -> str:
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return {1: "first", 2: "second", 3: "third"}.get(n, f"{n:,}{suffix}")


_OWNERS: dict[Maker, str] = {
    "driver": "The driver process owned it: it dies with the driver",
    "normal task": (
        "The pooled worker that ran the task owned it (later one of the `ray::IDLE`), not an actor and not the driver"
    ),
    "actor task": "The actor's process owned it",
    "actor creation task": "The actor's process owned it",
    "thread or async actor": "The process of that thread owned it; the id does not say whether driver, worker or actor",
    "unknown": "The id does not say which process owned it",
}


def put_sentence(maker: Maker, job: str, attempt: int | None, index: int, task: str) -> str:
    count = index - FIRST_PUT if index > FIRST_PUT else index
    if maker in {"driver", "actor creation task", "thread or async actor"}:
        nth = f"the {ordinal(count)} ray.put"
    elif count >= 2:
        nth = f"the {ordinal(count - 1)} ray.put (if the task has one return value, as by default)"
    else:
        nth = "the first ray.put (of a task with num_returns=0)"
    what = {
        "driver": f"of the driver of {job}",
        "normal task": f"of a normal task of {job}",
        "actor task": f"of a method of actor {task[16:]}, or of a thread, in {job}",
        "actor creation task": f"of __init__ of actor {task[16:]} ({job})",
        "thread or async actor": f"of a thread or of an async actor in {job}",
    }[maker]
    ran = (
        ""
        if attempt is None or maker in {"driver", "thread or async actor"}
        else f", in its {ordinal(attempt + 1)} execution"
    )
    dynamic = ""
    if (attempt is None or attempt > 3) and maker in {"normal task", "actor task"}:
        dynamic = ' (or a value yielded with num_returns="dynamic")'
    return (
        f"Made by {nth} {what}{ran}{dynamic}. {_OWNERS[maker]}. A put has no lineage: once lost, Ray cannot make "
        "it again. Large arguments that Ray puts by itself count as puts too."
    )


def return_sentence(maker: Maker, job: str, index: int, task: str) -> str:
    what = {
        "normal task": f"a normal task of {job}",
        "actor task": f"a method of actor {task[16:]} ({job})",
        "actor creation task": f"the creation of actor {task[16:]} ({job})",
        "driver": f"the driver of {job}",
        "thread or async actor": f"a method of actor {task[16:]} ({job})",
    }[maker]
    lineage = (
        "max_task_retries is more than 0 (by default it is 0)"
        if maker in {"actor task", "actor creation task"}
        else "max_retries is not 0 (by default it is 3)"
    )
    nth = (
        f"Return value {index}"
        if index == 1
        else f"Return value {index} (or item {index - 1} that a generator yielded)"
    )
    return (
        f"{nth} of {what}. The process that called it with .remote() owned it, not the one that ran it; the id does "
        f"not say which process that was. It has lineage, so that Ray can make it again, if {lineage}."
    )
