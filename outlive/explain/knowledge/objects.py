"""Objects that can no longer be read: owner dead, owner alive but let go, freed by hand, copies lost, fetch timed out."""

from __future__ import annotations

from outlive.explain.evidence import (
    is_actor_return,
    is_put,
    is_return,
    nearby,
    owned_by_driver,
    put_by_actor,
    put_by_driver,
    put_by_task,
    says,
    was_retried,
)
from outlive.explain.model import Cause, Entry

_CLASSES_FILE = "Ray: python/ray/exceptions.py"
_DOCS = "https://docs.ray.io/en/latest/ray-core/fault_tolerance/objects.html"
_SHOW_CREATION = (
    "RAY_record_ref_creation_sites=1, set for `ray start` and the driver, makes Ray name the line that made the object."
)

_KEEP_WITHOUT_OWNER = """\
# No owner: the array is a file in shared memory, and any process may end.
import outlive
handle = outlive.open().put(array)      # instead of: ref = ray.put(array)
array = handle.get()                    # instead of: array = ray.get(ref)

# With Ray alone: return the value, so that the caller owns it (and Ray can make it again):
@ray.remote
def make():
    return array                        # instead of: return [ray.put(array)]"""

OWNER_DIED = Entry(
    name="owner-died",
    classes=("OwnerDiedError",),
    what="The process that owned the object (called ray.put for it, or called .remote() for the task whose result it is) "
    "is dead. Only the owner knows where an object's copies are, so the object is lost, even if other nodes have copies.",
    causes=(
        Cause(
            "The owner's whole node was lost, or its raylet ended.",
            signs=(
                nearby(r"has been marked dead"),
                nearby(r"Raylet is terminated"),
                nearby(r"node was terminated|node has died|node it was running on is dead"),
            ),
        ),
        Cause(
            "Ray's memory monitor killed the owner. It takes idle workers first, even those that own live objects.",
            signs=(
                nearby(r"killed due to (?:the node running low on memory|memory pressure)"),
                nearby(r"NODE_OUT_OF_MEMORY"),
            ),
        ),
        Cause(
            "The owner was killed or crashed: kernel OOM killer, SIGKILL, a crash in a C extension, os._exit().",
            signs=(
                nearby(r"(?:[Ww]orker exit type: |exit_type = )SYSTEM_ERROR"),
                nearby(r"unexpected system error"),
                nearby(r"SIGSEGV received|Segmentation fault|Fatal Python error|oom-kill|Out of memory: Killed"),
            ),
        ),
        Cause(
            "The owner was an actor that ended: ray.kill, exit_actor(), its last handle gone, or its own owner dead.",
            signs=(
                put_by_actor,
                nearby(
                    r"The actor is dead because|exit_actor\(\) is called|(?:[Ww]orker exit type: |exit_type = )INTENDED_USER_EXIT"
                ),
            ),
        ),
        Cause(
            "The owner was a driver that ended (a notebook, a job). The objects that it owned ended with it.",
            signs=(owned_by_driver, put_by_driver, nearby(r"Worker force exited because its job has finished")),
            against=(put_by_task,),
        ),
        Cause(
            "A pooled worker owned it and ended. max_calls alone is not enough: a worker that has used up its calls does not "
            "exit while it owns a live object, so something killed it.",
            signs=(put_by_task,),
            against=(put_by_driver, put_by_actor),
        ),
    ),
    tell_apart=(
        "`outlive explain --address ... FILE` while the cluster lives: it knows the owner's exit type and detail.",
        "The owner's log: `ls /tmp/ray/session_latest/logs/*<owner worker id>*` on the owner's node; the message names both.",
        "`dmesg -T | grep -i oom` on that node: the kernel's OOM killer leaves a line there and nowhere else.",
        _SHOW_CREATION,
    ),
    fix=_KEEP_WITHOUT_OWNER,
    sources=(
        f"{_CLASSES_FILE}, OwnerDiedError",
        f"{_DOCS}#recovering-from-owner-failure",
        'Ray: src/ray/object_manager/ownership_object_directory.cc ("Owner of object died")',
        "max_calls: measured on Ray 2.60, docs/explain.md of outlive",
    ),
)

REFERENCE_COUNTING = Entry(
    name="owner-let-go",
    classes=("ReferenceCountingAssertionError",),
    what="The owner is alive and answered: it has deleted the object, because as far as it knew nobody held a reference any more. "
    "So there was a reference that it never heard of. The owner did not die: that would be an OwnerDiedError.",
    causes=(
        Cause(
            "A process in the middle died: it had borrowed the reference, passed it on, and ended before it could tell the "
            "owner about the new holder. A borrower reports new holders only when it drops its own reference.",
            signs=(
                nearby(r"A worker died or was killed while executing a task"),
                nearby(r"exit[ _]type(?:: | = )(?:SYSTEM_ERROR|NODE_OUT_OF_MEMORY|USER_ERROR)"),
                nearby(r"WorkerCrashedError|ActorDiedError|OutOfMemoryError|NodeDiedError"),
                nearby(r"has been marked dead"),
                nearby(r"killed due to (?:the node running low on memory|memory pressure)"),
                was_retried,
            ),
        ),
        Cause(
            "The reference was passed on in a way that Ray does not count: pickled by hand (cloudpickle, a file, a queue, a "
            "database), or rebuilt from its hex or bytes.",
            signs=(
                nearby(r"cloudpickle|pickle\.(?:loads?|dumps?)\(|ObjectRef\.from_binary|from_hex\(|ObjectRef\(bytes"),
                nearby(r"OufOfBandObjectRefSerializationException|out.of.band"),
            ),
        ),
        Cause(
            "The object was made by ray.put(..., _owner=actor), and its maker ended before the owner had heard of the borrower "
            "(Ray before 2.56).",
            signs=(nearby(r"\b_owner\s*="),),
        ),
    ),
    tell_apart=(
        "Does a WorkerCrashedError, ActorDiedError or a worker's exit come shortly before it in the logs? Then a middle process died.",
        "Search the code for pickling of ObjectRefs; RAY_allow_out_of_band_object_ref_serialization=0 makes Ray raise where it happens.",
        "Whether max_calls is set says little: such a worker waits until it holds no reference before it exits.",
        _SHOW_CREATION,
    ),
    fix="""\
# A handle of outlive needs no counting: it may pass through any process.
import outlive
handle = outlive.open().put(array)      # instead of: ref = ray.put(array)

# With Ray alone: no short-lived process between owner and holder, and the owner keeps the ref until the holder has it.
ref = make.remote()                     # the driver owns it
ray.get(holder.store.remote([ref]))     # in a list: a bare ref would arrive as its value
# and let a process that passes it on wait for the receiver before it ends.""",
    sources=(
        'https://github.com/ray-project/ray/issues/18456 (open: "may be thrown if ObjectRef is passed through intermediate worker that dies")',
        'https://github.com/ray-project/ray/pull/63560 (the owner "has already removed the ref")',
        "Ray: src/ray/protobuf/common.proto, OBJECT_DELETED",
        f"{_CLASSES_FILE}, ReferenceCountingAssertionError",
    ),
)

OBJECT_FREED = Entry(
    name="freed-by-hand",
    classes=("ObjectFreedError",),
    what="The program itself deleted the object with Ray's internal `free`, while a reference was still in use.",
    causes=(
        Cause(
            "A call of ray._private.internal_api.free (formerly ray.internal.free), in your code or a library's, came too early.",
            signs=(nearby(r"\bfree\(\["), nearby(r"internal_api|ray\.internal")),
        ),
    ),
    tell_apart=("Search the code and its libraries for `internal_api` and `free(`.", _SHOW_CREATION),
    fix="""\
del ref     # instead of: free([ref]). Ray deletes the object when the last reference is gone.
# To delete an array when you choose: outlive.open().delete(handle); open views stay valid.""",
    sources=(f"{_CLASSES_FILE}, ObjectFreedError", "https://github.com/ray-project/ray/pull/27567"),
)

FETCH_TIMED_OUT = Entry(
    name="fetch-timed-out",
    classes=("ObjectFetchTimedOutError",),
    what="The owner lives, the object was made, and yet for ten minutes (RAY_fetch_fail_timeout_milliseconds, default 600,000) "
    "no node was known to have a copy, and nobody was making it again.",
    causes=(
        Cause(
            "The node with the copy died or left, and the owner did not learn of it, or was too busy or stopped to answer.",
            signs=(
                nearby(r"has been marked dead"),
                nearby(r"Raylet is terminated"),
                nearby(r"\bdrain(?:ed|ing)\b"),
            ),
        ),
        Cause(
            "The network between the nodes is broken or very slow: the copy is known, but cannot be fetched.",
            signs=(
                nearby(
                    r"RPC error|failed to connect to all addresses|Connection refused|Socket closed|DEADLINE_EXCEEDED"
                ),
            ),
        ),
        Cause("Ray itself lost a message about the location. Such bugs were fixed more than once: use a newer Ray."),
    ),
    tell_apart=(
        "`ray list nodes`: is a node dead? Then find out why; the object was lost with it.",
        'In the reader\'s raylet.out: "Send pull request for [<object id>] ... failed" names the node and the reason.',
        "`py-spy dump --pid <owner>`: an owner that holds the GIL for minutes answers nobody.",
    ),
    fix="""\
# Let Ray make it again: return the value from a task instead of ray.put, with retries on.
@ray.remote(max_retries=3)
def make(): return array

# On a slow network, wait longer (set where each node starts):
#   RAY_fetch_fail_timeout_milliseconds=1800000 ray start ...""",
    sources=(
        "https://github.com/ray-project/ray/pull/20516 (the ten minutes)",
        "https://github.com/ray-project/ray/issues/23596 (a location update that is lost)",
        "Ray: src/ray/object_manager/pull_manager.cc",
        f"{_CLASSES_FILE}, ObjectFetchTimedOutError",
    ),
)

OBJECT_LOST = Entry(
    name="copies-lost",
    classes=("ObjectLostError",),
    what="Every copy of the object is lost, and its owner, alive, could or would not make it again.",
    causes=(
        Cause(
            "The node that had the only copy died or was removed.",
            signs=(
                nearby(r"has been marked dead"),
                nearby(r"Raylet is terminated"),
                says(r"due to node failure"),
            ),
        ),
        Cause("It comes from ray.put, which has no lineage.", signs=(is_put,), against=(is_return,)),
        Cause(
            "It is the result of an actor's method, which Ray makes again only with max_task_retries and a living or restarted actor.",
            signs=(is_actor_return,),
        ),
        Cause("Lineage reconstruction does not cover it: max_retries=0, lineage evicted or switched off."),
    ),
    tell_apart=(
        "Ray 2.54 and newer say which reason it is (ObjectReconstructionFailedError); older Ray does not.",
        "`ray list nodes` shows which node died.",
        _SHOW_CREATION,
    ),
    fix=_KEEP_WITHOUT_OWNER,
    sources=(
        f"{_CLASSES_FILE}, ObjectLostError",
        "Ray: src/ray/core_worker/object_recovery_manager.cc",
        "https://github.com/ray-project/ray/pull/59625",
    ),
)

SYSTEM_ERROR_UNPICKLE = Entry(
    name="cannot-be-unpickled",
    classes=("RaySystemError",),
    when=r"System error: (?:No module named|Can't get attribute|cannot import name|Ran out of input|invalid load key)|"
    r"traceback: Traceback",
    what="The value arrived, but this process could not turn it back into a Python object. It is not lost.",
    causes=(
        Cause(
            "A module that the value needs is not installed, or not found, where it is read.",
            signs=(says(r"No module named|ModuleNotFoundError|cannot import name"),),
        ),
        Cause(
            "The class has changed or is defined elsewhere in the writer's version of the code.",
            signs=(says(r"Can't get attribute|AttributeError"),),
        ),
        Cause(
            "Writer and reader have different versions of a library (NumPy, pandas, PyTorch, cloudpickle, Python).",
            signs=(says(r"invalid load key|unsupported pickle protocol|numpy\._?core|TypeError|code\(\)"),),
        ),
        Cause(
            "The class's own __setstate__, __reduce__ or __init__ raises.",
            signs=(says(r"in __setstate__|in __init__|in _\w+$"),),
        ),
    ),
    tell_apart=(
        "The last lines of the traceback inside the message name the module or class.",
        "`pip freeze` on both sides.",
    ),
    fix="""\
ray.init(runtime_env={"pip": ["scanlib==1.2"], "py_modules": ["./mypackage"]})   # the same code in every process""",
    sources=(
        "Ray: python/ray/_private/serialization.py, deserialize_objects",
        "https://docs.ray.io/en/latest/ray-core/handling-dependencies.html",
    ),
)

SYSTEM_ERROR = Entry(
    name="system-error",
    classes=("RaySystemError",),
    what="A part of Ray itself failed: the raylet or the GCS is gone, a worker could not start, or a value could not be read.",
    causes=(
        Cause(
            "The local raylet or the head's GCS ended or is being restarted.",
            signs=(
                nearby(
                    r"Raylet is terminated|raylet.{0,200}(?:died|killed)|Failed to connect to GCS|GCS.{0,200}(?:unavailable|timed out)"
                ),
                says(r"Broken pipe|Connection reset|RpcError|RPC error"),
            ),
        ),
        Cause(
            "A worker process could not be started.",
            signs=(says(r"[Ww]orker (?:startup|failed to start)|failed to start"),),
        ),
        Cause("A newer Ray wrote the object than reads it.", signs=(says(r"Unrecognized error type"),)),
    ),
    tell_apart=(
        'The text behind "System error:" is the cause as Ray knows it; raylet.out and gcs_server.out have the rest.',
    ),
    fix="ray list nodes    # in a shell: which node, if any, is dead; then its /tmp/ray/session_latest/logs/raylet.out",
    sources=(f"{_CLASSES_FILE}, RaySystemError", "Ray: python/ray/_private/serialization.py"),
)

ENTRIES = (
    OWNER_DIED,
    REFERENCE_COUNTING,
    OBJECT_FREED,
    FETCH_TIMED_OUT,
    OBJECT_LOST,
    SYSTEM_ERROR_UNPICKLE,
    SYSTEM_ERROR,
)
