"""Objects whose last copy is lost and that Ray cannot make again: each of the reasons that Ray gives.

Ray before 2.54 has three classes and no reasons in brackets; newer Ray one class and a reason
(https://github.com/ray-project/ray/pull/59625).
"""

from __future__ import annotations

from outlive.explain.evidence import is_actor_return, is_put, is_return, nearby, says
from outlive.explain.model import Cause, Entry

_CLASS = "ObjectReconstructionFailedError"
_SOURCES = (
    "Ray: python/ray/exceptions.py, ObjectReconstructionFailedError.REASON_MESSAGES",
    "Ray: src/ray/core_worker/object_recovery_manager.cc",
    "https://github.com/ray-project/ray/pull/59625",
    "https://docs.ray.io/en/latest/ray-core/fault_tolerance/objects.html",
)
_LOST = "The last copy of the object was lost, and Ray cannot make it again: "
_NODE_LOST = Cause(
    "Why it was lost: the node that held the only copy died, was preempted or was scaled down.",
    signs=(
        nearby(r"has been marked dead"),
        nearby(r"Raylet is terminated"),
        nearby(r"\bdrain(?:ed|ing)\b|preempt"),
        nearby(r"Attempting to recover \d+ lost objects"),
    ),
)
_COPY = """
# Or store it where it needs neither an owner nor a task:
import outlive
handle = outlive.open().put(array)"""


def _entry(
    reason: str,
    name: str,
    what: str,
    causes: tuple[Cause, ...],
    fix: str,
    *tell: str,
    classes: tuple[str, ...] = (),
    when: str = "",
) -> Entry:
    pattern = rf"OBJECT_UNRECONSTRUCTABLE_{reason}\b" + (f"|{when}" if when else "")
    return Entry(
        name=f"unreconstructable-{name}",
        classes=(_CLASS, *classes),
        when=pattern,
        what=_LOST + what,
        causes=(*causes, _NODE_LOST),
        tell_apart=(*tell, "`ray list nodes` shows which node died, and why."),
        fix=fix,
        sources=_SOURCES,
    )


ENTRIES = (
    _entry(
        "PUT", "put", "it was made by ray.put, and a put has no task that could be run again.",
        (Cause("ray.put of a value that only one node had.", signs=(is_put,)),),
        "@ray.remote\ndef make():\n    return array     # instead of ray.put(array): then Ray can run the task again\n" + _COPY,
    ),
    _entry(
        "RETRIES_DISABLED", "retries-disabled", "retries of its task are off (max_retries=0, or max_task_retries=0 of an actor's method).",
        (
            Cause("It is the result of an actor's method: max_task_retries is 0 unless set.", signs=(is_actor_return,)),
            Cause("The task has max_retries=0, set for it or by RAY_TASK_MAX_RETRIES=0.", signs=(is_return,), against=(is_actor_return,)),
        ),
        "@ray.remote(max_retries=3)                               # a task\ndef make(): ...\n\n"
        "@ray.remote(max_restarts=3, max_task_retries=3)          # an actor, if running a method twice does no harm\nclass Maker: ...\n" + _COPY,
    ),
    _entry(
        "MAX_ATTEMPTS_EXCEEDED", "attempts-exceeded", "its task has been run again as often as max_retries allows (3 unless set).",
        (
            Cause("Nodes are lost again and again, as with spot instances: each loss uses up one attempt.",
                  signs=(nearby(r"preempt|spot|\bdrain(?:ed|ing)\b"), nearby(r"has been marked dead.{0,500}repeated|Attempting to recover \d+ lost objects"))),
            Cause("The task itself fails or kills its worker on each attempt.",
                  signs=(nearby(r"WorkerCrashedError|OutOfMemoryError|killed due to"), nearby(r"Task .{1,200} failed\. There are"))),
        ),
        "@ray.remote(max_retries=-1)    # as often as it takes; or a larger number\ndef make(): ...\n" + _COPY,
        'The log of the owner: "Attempting to recover" once for each loss.',
        classes=("ObjectReconstructionFailedMaxAttemptsExceededError",),
        when="maximum number of task retries has been exceeded",
    ),
    _entry(
        "LINEAGE_EVICTED", "lineage-evicted", "its lineage (the tasks that led to it) was dropped, because the owner's lineage grew over "
        "RAY_max_lineage_bytes (1 GiB).",
        (Cause("Very many tasks, or large arguments passed by value, of one owner.", signs=(nearby(r"task lineage|Total lineage size|max_lineage_bytes"),)),),
        "# Pass large arguments once, by reference, not in each call:\nargument = ray.put(table)\nrefs = [work.remote(argument, i) for i in range(n)]\n\n"
        "# Or allow more, where each node and the driver start:\n#   RAY_max_lineage_bytes=8589934592 ray start ...\n" + _COPY,
        classes=("ObjectReconstructionFailedLineageEvictedError",),
        when="its lineage has been\\s+evicted",
    ),
    _entry(
        "BORROWED", "borrowed", "this process only borrowed the reference, and only the owner may have the object made again.",
        (Cause("The reference came in a value (a list, a dict, an attribute) from the process that owns it."),),
        "# Let the owner read it once: that makes it again there.\nray.get(owner.read.remote())\n" + _COPY,
        "`ray memory` shows owner and borrowers of a reference.",
    ),
    _entry(
        "REF_NOT_FOUND", "ref-not-found", "the owner no longer has any record of the reference.",
        (
            Cause("The reference was passed on in a way that Ray does not count (pickled by hand, as hex).",
                  signs=(nearby(r"cloudpickle|pickle\.(?:loads?|dumps?)\(|from_hex\(|from_binary"),)),
            Cause("A process that had passed it on died before it reported that (as with ReferenceCountingAssertionError).",
                  signs=(nearby(r"A worker died or was killed|WorkerCrashedError|ActorDiedError"),)),
        ),
        _COPY.lstrip(),
        "https://github.com/ray-project/ray/issues/18456 is the same gap in Ray's counting.",
    ),
    _entry(
        "TASK_CANCELLED", "task-cancelled", "the task that would make it was cancelled.",
        (Cause("ray.cancel was called on it, or on the task that started it (recursive=True is the default).",
               signs=(nearby(r"TaskCancelledError|was cancelled|ray\.cancel"),)),),
        "ray.cancel(ref, recursive=False)   # only this task, not the ones it started\n" + _COPY,
    ),
    _entry(
        "LINEAGE_DISABLED", "lineage-disabled", "reconstruction is switched off for the whole cluster.",
        (Cause("RAY_lineage_pinning_enabled=0 in the environment of the owner, or in --system-config.",
               signs=(nearby(r"lineage_pinning_enabled|object_reconstruction_enabled"),)),),
        "# Leave out RAY_lineage_pinning_enabled=0 (and enable_object_reconstruction=False) where Ray starts.\n" + _COPY,
    ),
    Entry(
        name="unreconstructable",
        classes=(_CLASS, "ObjectReconstructionFailedMaxAttemptsExceededError", "ObjectReconstructionFailedLineageEvictedError"),
        when=r"created by an actor, ray\.put\(\) call, or its|created by a different worker",
        what=_LOST + "it was made by an actor, by ray.put, or in another process (this version of Ray does not say which; 2.54 and newer do).",
        causes=(
            Cause("It was made by ray.put.", signs=(is_put,), against=(is_return,)),
            Cause("It is the result of an actor's method, and max_task_retries is 0 unless set.", signs=(is_actor_return,), against=(is_put,)),
            Cause("This process borrowed the reference; only its owner may have the object made again.", signs=(says(r"RayTaskError"),)),
            _NODE_LOST,
        ),
        tell_apart=("The id says whether it is a put, a task's or an actor's result.", "`ray memory` shows owner and borrowers."),
        fix="@ray.remote(max_retries=3)\ndef make():\n    return array     # return the value from a task instead of ray.put(array)\n" + _COPY,
        sources=_SOURCES,
    ),
    Entry(
        name="unreconstructable-unknown-reason",
        classes=(_CLASS,),
        what=_LOST + "the text names no reason that is known here.",
        causes=(_NODE_LOST,),
        tell_apart=("The rest of the message: Ray gives the reason in square brackets.",),
        fix=_COPY.lstrip(),
        sources=_SOURCES,
    ),
)  # fmt: skip
