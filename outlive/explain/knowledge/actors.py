"""Actors that are dead or out of reach: each of the causes of death that Ray reports."""

from __future__ import annotations

from outlive.explain.evidence import nearby, says
from outlive.explain.knowledge.ends import KILLED_FOR_MEMORY, PROCESS_ENDED, SCALED_DOWN_LINE, TELL_PROCESS
from outlive.explain.model import Cause, Entry

_CLASSES = ("ActorDiedError", "RayActorError")
_FILE = "Ray: python/ray/exceptions.py, ActorDiedError"
_GCS = "Ray: src/ray/gcs/actor/gcs_actor_manager.cc"
_REASONS = "Ray: src/ray/protobuf/common.proto, ActorDiedErrorContext.Reason"
_DOCS = "https://docs.ray.io/en/latest/ray-core/fault_tolerance/actors.html"
_RESTART = """\
@ray.remote(max_restarts=3, max_task_retries=3)    # start it again, and repeat the call that was lost
class Worker: ...
# State is lost with the process. Arrays that have to survive it: outlive.open().put(array, key="...")"""
KILLED = Entry(
    name="actor-killed",
    classes=_CLASSES,
    when=r"it was killed by `ray\.kill`|killed by ray\.kill",
    what="Somebody ended the actor with ray.kill(handle).",
    causes=(
        Cause(
            "It was killed before it had ever run: it was still waiting for resources.",
            signs=(says(r"never ran|cancelled before it started"),),
        ),
        Cause(
            "The program, or a library that owns the actor (a pool, Tune, Serve, Data), calls ray.kill.",
            signs=(nearby(r"ray\.kill\("),),
        ),
    ),
    tell_apart=("Search the code for ray.kill; with no_restart=True (the default) max_restarts does not help.",),
    fix="""\
del handle                      # without a handle, the actor ends after its pending calls
# or, from within: ray.actor.exit_actor()
ray.kill(handle, no_restart=False)   # if Ray is to start it again (needs max_restarts)""",
    sources=(_REASONS + " RAY_KILL", _GCS, _FILE),
)
INIT_FAILED = Entry(
    name="actor-init-raised",
    classes=(*_CLASSES, "CreationTaskError"),
    when=r"CreationTaskError|error\s+raised in its creation task|exception in the initialization method",
    what="The actor's __init__ raised, so it never came to life. Every call on it raises this same error.",
    causes=(
        Cause(
            "The exception at the end of the message, raised by __init__.",
            signs=(says(r"^\s*[A-Za-z_][\w.]*(?:Error|Exception|Exit)\b(?!.*raised in its creation)"),),
        ),
        Cause(
            "An argument of __init__ could not be read.",
            signs=(says(r"input arguments for this task could not be computed"),),
        ),
    ),
    tell_apart=("The traceback in the message ends with the line of your __init__.",),
    fix="""\
actor = Reader.remote()
ray.get(actor.__ray_ready__.remote())   # raises here, where the actor is made, and not at the first call""",
    sources=(_FILE, 'Ray: src/ray/core_worker/core_worker.cc ("exception in the initialization method")'),
)
OWNER_DEAD = Entry(
    name="actor-owner-died",
    classes=_CLASSES,
    when=r"its owner has died|Owner's (?:worker process|node) has crashed",
    what="The process that created the actor died. Ray then ends the actor, even if other processes have handles.",
    causes=(
        Cause(
            "The owner's node was lost.",
            signs=(says(r"Owner's node has crashed"), nearby(r"has been marked dead")),
        ),
        Cause(
            "The owner crashed or was killed.",
            signs=(says(r"Owner worker exit type: SYSTEM_ERROR|worker process has crashed"), KILLED_FOR_MEMORY),
        ),
        Cause(
            "The owner ended as intended: its task or job was over.", signs=(says(r"Owner worker exit type: INTENDED"),)
        ),
    ),
    tell_apart=("The message has the owner's id and exit type; its log is /tmp/ray/session_latest/logs/*<Owner Id>*.",),
    fix="""\
# A detached actor has no owner. The program has to end it.
worker = Worker.options(name="worker", namespace="app", lifetime="detached", get_if_exists=True).remote()
...
ray.kill(worker)""",
    sources=(
        _REASONS + " OWNER_DIED",
        _GCS,
        "https://docs.ray.io/en/latest/ray-core/actors/named-actors.html#actor-lifetimes",
    ),
)
OUT_OF_SCOPE = Entry(
    name="actor-out-of-scope",
    classes=_CLASSES,
    when=r"all references to the actor were removed",
    what="Every handle that counts is gone, so Ray ended the actor. A handle from ray.get_actor does not count.",
    causes=(
        Cause(
            "The handle that .remote() returned went out of scope, and only handles by name are left.",
            signs=(says(r"^\s*name:"),),
        ),
        Cause("The handle was a temporary, as in Worker.remote().work.remote(), or was overwritten."),
    ),
    tell_apart=("Is the handle that .remote() returned kept somewhere for as long as the actor is needed?",),
    fix="""\
self.worker = Worker.remote()    # keep the handle; or lifetime="detached" with a name and a namespace""",
    sources=(
        _REASONS + " OUT_OF_SCOPE, REF_DELETED",
        "https://docs.ray.io/en/latest/ray-core/actors/terminating-actors.html",
    ),
)
NODE_DEAD = Entry(
    name="actor-node-died",
    classes=_CLASSES,
    when=r"its node has died|node was (?:terminated|preempted)|node was inferred to be dead",
    what="The node that the actor lived on is gone.",
    causes=(
        Cause("The node was preempted (a spot instance).", signs=(says(r"preempt"), nearby(r"preempt"))),
        Cause(
            "The autoscaler or an operator drained it.",
            signs=(says(r"drain|(?<!un)expected"), nearby(SCALED_DOWN_LINE)),
        ),
        Cause(
            "The machine or its raylet crashed or stalled: no heartbeat.",
            signs=(
                says(r"health check failed|heartbeats|terminated unexpectedly"),
                nearby(r"Raylet is terminated|failed to check the health of this node|RAYLET_MARKED_DEAD"),
            ),
        ),
    ),
    tell_apart=("`ray list nodes --filter node_id=<Node Id>` and that node's raylet.out and dmesg.",),
    fix=_RESTART,
    sources=(_REASONS + " NODE_DIED", _GCS, _DOCS),
)
EXITED = Entry(
    name="actor-exited",
    classes=_CLASSES,
    when=r"(?:[Ww]orker exit type: |exit_type = )INTENDED_USER_EXIT|exit_actor\(\) is called|by an user request",
    what="The actor ended on request: by ray.actor.exit_actor(), sys.exit() or a signal.",
    causes=(
        Cause("A method called ray.actor.exit_actor().", signs=(says(r"exit_actor\(\) is called"),)),
        Cause("A method called sys.exit() or raised SystemExit.", signs=(says(r"exit code [1-9]|SystemExit"),)),
        Cause("Its process got SIGTERM.", signs=(says(r"signal"),)),
    ),
    tell_apart=("Search the actor's code for exit_actor and sys.exit.",),
    fix="# Collect the results before the actor is told to leave:\nresults = ray.get(pending)\nray.get(actor.leave.remote())",
    sources=(
        "Ray: src/ray/protobuf/common.proto, WorkerExitType",
        "https://docs.ray.io/en/latest/ray-core/actors/terminating-actors.html",
    ),
)
GROUP_REMOVED = Entry(
    name="actor-placement-group-removed",
    classes=(*_CLASSES, "ActorPlacementGroupRemoved"),
    when=r"placement group (?:corresponding to this Actor has been|was) removed",
    what="The actor's placement group was removed, and that ended the actor.",
    causes=(
        Cause(
            "remove_placement_group was called, or the group's creator ended.",
            signs=(nearby(r"remove_placement_group"),),
        ),
    ),
    tell_apart=("`ray list placement-groups`.",),
    fix='placement_group([...], lifetime="detached", name="...")   # if it has to outlive its creator',
    sources=("Ray: python/ray/exceptions.py", "https://docs.ray.io/en/latest/ray-core/scheduling/placement-group.html"),
)
OUT_OF_MEMORY = Entry(
    name="actor-out-of-memory",
    classes=_CLASSES,
    when=r"NODE_OUT_OF_MEMORY|running low on memory",
    what="Ray's memory monitor killed the actor's process because its node was short of memory.",
    causes=(
        Cause(
            "The node's processes together use more than RAY_memory_usage_threshold (0.95) of its memory.",
            signs=(says(r"running low on memory|NODE_OUT_OF_MEMORY"), nearby(r"OOM kill reason")),
        ),
    ),
    tell_apart=(
        "The message lists the ten processes that use most; `ray::IDLE` among them are workers that hold memory and do nothing.",
    ),
    fix=_RESTART + "\n\n# and fewer at a time on a node:\nWorker.options(memory=8 * 1024**3).remote()",
    sources=("https://docs.ray.io/en/latest/ray-core/scheduling/ray-oom-prevention.html", _FILE),
)
CRASHED = Entry(
    name="actor-crashed",
    classes=_CLASSES,
    when=r"(?:[Ww]orker exit type: |exit_type = )(?:SYSTEM_ERROR|UNEXPECTED_SYSTEM_EXIT)|worker process has died",
    what="The actor's process ended, and no Python exception was seen.",
    causes=PROCESS_ENDED,
    tell_apart=TELL_PROCESS,
    fix=_RESTART,
    sources=(
        'Ray: src/ray/raylet/node_manager.cc ("Worker unexpectedly exits with a connection error code")',
        _REASONS + " WORKER_DIED",
        _DOCS,
    ),
)
UNAVAILABLE = Entry(
    name="actor-unavailable",
    classes=("ActorUnavailableError", "RayActorError"),
    when=r"is unavailable|temporarily unavailable",
    what="The actor could not be reached just now: it is being restarted, or the connection broke. The call may or may not have "
    "run; the actor may be back soon.",
    causes=(
        Cause(
            "Its process does not answer, as it is swapping, stopped, or busy in C code that holds the GIL. gRPC gave the connection up.",
            signs=(says(r"keepalive watchdog timeout|keepalive ping"),),
        ),
        Cause(
            "Its process ended, and Ray starts it again (max_restarts).",
            signs=(
                says(r"Socket closed|restart|actor state change|Connection reset|Broken pipe|recvmsg"),
                nearby(r"(?:[Ww]orker exit type: |exit_type = )SYSTEM_ERROR"),
            ),
        ),
        Cause(
            "The network between caller and actor is broken.",
            signs=(says(r"Connection refused|failed to connect|unreachable|DEADLINE"),),
        ),
    ),
    tell_apart=("`ray list actors --filter actor_id=<id>`: RESTARTING, ALIVE or DEAD, and how many restarts.",),
    fix="@ray.remote(max_restarts=3, max_task_retries=3)   # Ray repeats the call: only if running it twice does no harm\nclass Worker: ...",
    sources=("Ray: python/ray/exceptions.py, ActorUnavailableError", _DOCS),
)
UNSCHEDULABLE = Entry(
    name="actor-unschedulable",
    classes=("ActorUnschedulableError",),
    what="No node may run the actor: the one that it was bound to is dead, or none has the labels it asks for.",
    causes=(Cause("NodeAffinitySchedulingStrategy(soft=False) names a node that is gone.", signs=(says(r"[Nn]ode"),)),),
    tell_apart=("`ray list nodes`: is the node of the message there and alive?",),
    fix="NodeAffinitySchedulingStrategy(node_id, soft=True)   # elsewhere, if that node is gone",
    sources=("Ray: python/ray/exceptions.py, ActorUnschedulableError",),
)
DIED = Entry(
    name="actor-died",
    classes=_CLASSES,
    what="The actor is dead. The text does not say why.",
    causes=(
        *PROCESS_ENDED[:-1],
        Cause(
            "Its process ended.",
            signs=(
                nearby(
                    r"(?:[Ww]orker exit type: |exit_type = )SYSTEM_ERROR|Socket closed|received notification on actor, state: DEAD"
                ),
            ),
        ),
    ),
    tell_apart=("`ray list actors --filter actor_id=<id> --detail` has the cause of death.",),
    fix=_RESTART,
    sources=(_FILE, _DOCS),
)

ENTRIES = (
    INIT_FAILED, KILLED, OWNER_DEAD, OUT_OF_SCOPE, NODE_DEAD, EXITED, GROUP_REMOVED, OUT_OF_MEMORY, CRASHED, UNAVAILABLE,
    UNSCHEDULABLE, DIED,
)  # fmt: skip
