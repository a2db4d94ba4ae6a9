"""Workers and nodes that ended: crashes, and each exit type in the lines that Ray logs about them."""

from __future__ import annotations

from outlive.explain.evidence import nearby, says
from outlive.explain.knowledge import node_failures
from outlive.explain.knowledge.ends import KILLED_FOR_MEMORY, PROCESS_ENDED, SCALED_DOWN_LINE, TELL_PROCESS
from outlive.explain.model import Cause, Entry

_EXIT_TYPES = "Ray: src/ray/protobuf/common.proto, WorkerExitType"
_RAYLET = "Ray: src/ray/raylet/node_manager.cc"
_CORE_WORKER = "Ray: src/ray/core_worker/core_worker.cc"
_DOCS = "https://docs.ray.io/en/latest/ray-core/fault_tolerance/tasks.html"
CRASHED = Entry(
    name="worker-crashed",
    classes=("WorkerCrashedError", "RayWorkerError"),
    what="The worker process ended while it ran the task, and no retry was left. No Python exception was seen.",
    causes=PROCESS_ENDED,
    tell_apart=TELL_PROCESS,
    fix="""\
@ray.remote(max_retries=3)      # run it again elsewhere; 3 is the default, 0 switches it off
def work(): ...""",
    sources=("Ray: python/ray/exceptions.py, WorkerCrashedError", _RAYLET, _DOCS),
)
NODE_DIED = Entry(
    name="node-died",
    classes=("NodeDiedError",),
    what="The node that ran the task is dead or out of reach, and no retry was left.",
    causes=(
        Cause("It was preempted (a spot instance).", signs=(nearby(r"preempt(?:ed|ion notice)(?!, had a hardware)"),)),
        Cause("The autoscaler or an operator took it away (drained).", signs=(nearby(SCALED_DOWN_LINE),)),
        Cause(
            "Its raylet crashed or was killed, perhaps for memory.",
            signs=(nearby(r"Raylet is terminated|oom-kill|Out of memory: Killed"),),
        ),
        Cause(
            "It was too busy, or the network too slow, for its heartbeats.",
            signs=(nearby(r"failed to check the health of this node|RAYLET_MARKED_DEAD|health check failed"),),
        ),
    ),
    tell_apart=("`ray list nodes --filter node_id=<id>` has the reason; then raylet.out of that node, and dmesg.",),
    fix="@ray.remote(max_retries=3)      # run it again on another node\ndef work(): ...",
    sources=("Ray: python/ray/exceptions.py, NodeDiedError", "Ray: src/ray/gcs/gcs_health_check_manager.cc", _DOCS),
)
RAYLET_DIED = Entry(
    name="local-raylet-died",
    classes=("LocalRayletDiedError",),
    what="The raylet (Ray's process on each node) that was to run the task died.",
    causes=(
        Cause("It was killed for memory: the kernel's OOM killer may choose it.", signs=(KILLED_FOR_MEMORY,)),
        Cause(
            "It crashed itself.",
            signs=(nearby(r"Raylet is terminated|\(raylet\).{0,200}(?:Check failed|SIGSEGV|SIGABRT)"),),
        ),
        Cause("Its node went away, or Ray was stopped there.", signs=(nearby(r"ray stop|SIGTERM|marked dead"),)),
    ),
    tell_apart=("The end of raylet.out on that node, and `dmesg -T`.",),
    fix="@ray.remote(max_retries=3)\ndef work(): ...",
    sources=("Ray: python/ray/exceptions.py, LocalRayletDiedError",),
)


def _exit(
    name: str, line: str, what: str, causes: tuple[Cause, ...], fix: str, *sources: str, counts: str | None = None
) -> Entry:
    return Entry(
        name=name,
        line=line,
        counts=counts,
        what=what,
        causes=causes,
        tell_apart=(
            "The worker's log: /tmp/ray/session_latest/logs/*<Worker ID>*. Where no Worker ID is named: `ray logs raylet.out -ip <IP>`.",
            "`ray list workers --detail --filter worker_id=<Worker ID>`.",
        ),
        fix=fix,
        sources=(_EXIT_TYPES, *sources),
    )


_TYPE = r"(?:[Ww]orker exit type: |exit_type = )"
_NOTHING = "# Nothing to fix: workers are meant to end like this."
ENTRIES = (
    CRASHED,
    NODE_DIED,
    RAYLET_DIED,
    _exit(
        "exit-out-of-memory", _TYPE + r"NODE_OUT_OF_MEMORY|[1-9]\d* Workers \(tasks / actors\) killed due to memory pressure|worker\(s\) were killed due to the node running low",
        "Ray's memory monitor killed a worker, because its node was short of memory.",
        (Cause("The node's processes together use more than RAY_memory_usage_threshold (0.95) of its memory.", signs=(says(r"(?:\d+ [Ww]orker.{0,60})?memory|NODE_OUT_OF_MEMORY"),)),),
        "@ray.remote(memory=2 * 1024**3)   # as many at a time as fit\ndef work(): ...",
        "https://docs.ray.io/en/latest/ray-core/scheduling/ray-oom-prevention.html",
        counts=r"(?<!\d)([1-9]\d{0,5})(?: Workers \(tasks / actors\) killed| worker\(s\) were killed)",
    ),
    _exit(
        "exit-crashed", _TYPE + r"(?:SYSTEM_ERROR|UNEXPECTED_SYSTEM_EXIT)|UnexpectedSystemExit",
        "A worker process ended without telling Ray.",
        PROCESS_ENDED,
        "@ray.remote(max_retries=3)\ndef work(): ...",
        _RAYLET,
    ),
    _exit(
        "exit-init-raised", _TYPE + r"USER_ERROR|Exception raised in creation task",
        "An actor's process ended because its __init__ raised, or user code ended it with an error.",
        (Cause("The exception of __init__ in the same log.", signs=(says(r"creation task|initialization method"),)),),
        "ray.get(actor.__ray_ready__.remote())   # raises where the actor is made",
        _CORE_WORKER,
    ),
    _exit(
        "exit-by-user", _TYPE + r"INTENDED_USER_EXIT|IntentionalUserExit",
        "A worker ended because user code asked it to.",
        (
            Cause("exit_actor() was called.", signs=(says(r"exit_actor\(\)"),)),
            Cause("sys.exit() was called, or SIGTERM was sent.", signs=(says(r"signal|exit code"),)),
        ),
        _NOTHING,
        _CORE_WORKER,
    ),
    _exit(
        "exit-by-ray", _TYPE + r"INTENDED_SYSTEM_EXIT|IntentionalSystemExit",
        "Ray ended a worker on purpose.",
        (
            Cause("It had been idle for long.", signs=(says(r"idle for a long time|no longer needed"),)),
            Cause("It had used up its max_calls.", signs=(says(r"max_calls"),)),
            Cause("Its job was over.", signs=(says(r"job has finished"),)),
            Cause("Its owner died.", signs=(says(r"owner(?:'s node)? died|owner has died"),)),
            Cause("Its actor was killed or no longer referenced.", signs=(says(r"actor is killed|ray\.kill|references"),)),
            Cause("ray.cancel(force=True) ended it.", signs=(says(r"ray\.cancel\(force=True\)"),)),
        ),
        _NOTHING,
        _RAYLET,
        _CORE_WORKER,
    ),
    *node_failures.ENTRIES,
)  # fmt: skip
