"""Tasks that did not finish: cancelled, not schedulable, not in time, or without an environment to run in."""

from __future__ import annotations

from outlive.explain.evidence import nearby, says
from outlive.explain.model import Cause, Entry

_FILE = "Ray: python/ray/exceptions.py, "

ENTRIES = (
    Entry(
        name="task-cancelled",
        classes=("TaskCancelledError",),
        what="The task was cancelled before it ended.",
        causes=(
            Cause("ray.cancel was called on it.", signs=(nearby(r"ray\.cancel\("), says(r"was cancelled"))),
            Cause("ray.cancel was called on the task that started it: cancelling is recursive unless recursive=False.",
                  signs=(nearby(r"recursive=True"),)),
            Cause("Its worker got SIGTERM while it owned objects. It stays in the pool, and every later task on it fails in the same way.",
                  signs=(nearby(r"SIGTERM"),)),
            Cause("Its actor was shut down, or its job ended, while it was queued.", signs=(says(r"actor"),)),
        ),
        tell_apart=(
            "Search the code and its libraries (Tune, Serve, Data) for ray.cancel.",
            "Many tasks, and no ray.cancel anywhere? Look for what sends SIGTERM to workers (a supervisor, `kill`).",
        ),
        fix="""\
ray.cancel(ref, recursive=False)     # only this task
try:
    ray.get(ref)
except ray.exceptions.TaskCancelledError:
    ...                              # the task was cancelled, as intended""",
        sources=(_FILE + "TaskCancelledError", "https://docs.ray.io/en/latest/ray-core/tasks.html#cancelling-tasks",
                 "SIGTERM: measured on Ray 2.60, docs/explain.md of outlive"),
    ),
    Entry(
        name="get-timeout",
        classes=("GetTimeoutError",),
        what="ray.get was given a timeout, and the object was not there in time. It may still come; nothing is lost.",
        causes=(
            Cause("The task waits for resources that are taken, or that no node has.", signs=(nearby(r"No available node types|infeasible|cannot be scheduled right now"),)),
            Cause("The task is still running."),
            Cause("The object is being fetched, restored from disk or made again.", signs=(nearby(r"Attempting to recover|[Rr]estor(?:ed|ing)"),)),
        ),
        tell_apart=("`ray status` and `ray summary tasks`: is it pending, running or finished?",),
        fix="ready, waiting = ray.wait([ref], timeout=10)   # ask, without an exception",
        sources=(_FILE + "GetTimeoutError",),
    ),
    Entry(
        name="task-unschedulable",
        classes=("TaskUnschedulableError",),
        what="No node may run the task: the one that it was bound to is dead, or none has the labels it asks for.",
        causes=(Cause("NodeAffinitySchedulingStrategy(soft=False) names a node that is gone.", signs=(says(r"[Nn]ode"),)),),
        tell_apart=("`ray list nodes`: is the node of the message there and alive?",),
        fix="NodeAffinitySchedulingStrategy(node_id, soft=True)   # elsewhere, if that node is gone",
        sources=(_FILE + "TaskUnschedulableError",),
    ),
    Entry(
        name="task-placement-group-removed",
        classes=("TaskPlacementGroupRemoved",),
        what="The placement group that the task was to run in was removed.",
        causes=(Cause("remove_placement_group was called, or the group's creator ended.", signs=(nearby(r"remove_placement_group"),)),),
        tell_apart=("`ray list placement-groups`.",),
        fix='placement_group([...], lifetime="detached", name="...")   # if it has to outlive its creator',
        sources=(_FILE + "TaskPlacementGroupRemoved",),
    ),
    Entry(
        name="runtime-env-failed",
        classes=("RuntimeEnvSetupError",),
        what="The environment that the task or actor asked for (runtime_env) could not be set up, so it never ran.",
        causes=(
            Cause("A package could not be installed.", signs=(says(r"pip|conda|uv |Could not find a version|No matching distribution"),)),
            Cause("A folder or archive could not be fetched or unpacked.", signs=(says(r"working_dir|py_modules|download|URI"),)),
        ),
        tell_apart=("runtime_env_setup-*.log and runtime_env_agent.log in /tmp/ray/session_latest/logs of that node.",),
        fix='ray.init(runtime_env={"pip": ["package==1.0"]})   # exact versions, and no slow installs where an image will do',
        sources=(_FILE + "RuntimeEnvSetupError", "https://docs.ray.io/en/latest/ray-core/handling-dependencies.html"),
    ),
    Entry(
        name="too-many-pending-calls",
        classes=("PendingCallsLimitExceeded",),
        what="More calls wait for the actor than its max_pending_calls allows.",
        causes=(Cause("Calls are made faster than the actor answers."),),
        tell_apart=("`ray summary tasks` counts the pending ones.",),
        fix="if len(pending) > 100:\n    _, pending = ray.wait(pending, num_returns=1)   # let some finish first",
        sources=(_FILE + "PendingCallsLimitExceeded",),
    ),
)  # fmt: skip
