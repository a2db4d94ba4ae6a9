"""Too little memory or disk: the object store is full, the disk is full, a worker was killed for memory (and by which policy)."""

from __future__ import annotations

import re

from outlive.explain.evidence import nearby, says
from outlive.explain.knowledge import sizes
from outlive.explain.model import Cause, Entry, Scene

_DOCS = "https://docs.ray.io/en/latest/ray-core/scheduling/ray-oom-prevention.html"
_SIZE = re.compile(r"(?:[Oo]bject (?:of )?size (?:is )?|needs )(\d+)")
_STORE = re.compile(r"(?:capacity|store (?:size|memory)|limit)\D{0,20}(\d{6,})")
_SPILLING = "https://docs.ray.io/en/latest/ray-core/objects/object-spilling.html"


def larger_than_store(scene: Scene) -> str | None:
    """The sizes of object and store, if the message has both and the object is larger."""
    for occurrence in scene.occurrences:
        size, store = _SIZE.search(occurrence.text), _STORE.search(occurrence.text)
        if size and store and int(size[1]) > int(store[1]):
            return f"the object has {int(size[1]):,} bytes, the store {int(store[1]):,}"
    return None


OBJECT_STORE_FULL = Entry(
    name="object-store-full",
    classes=("ObjectStoreFullError",),
    what="The object store has no room for the object: the objects in it are in use, and there was no room on disk either "
    "(for spilled objects or the overflow file).",
    causes=(
        Cause(
            "One object is larger than the store, or than the disk behind it.",
            signs=(
                says(r"[Oo]bject (?:is )?(?:too large|larger than)|larger than the (?:object )?store"),
                larger_than_store,
            ),
        ),
        Cause(
            "The program keeps references that it does not need: lists of refs, globals, idle workers that own objects.",
            signs=(nearby(r"ray::IDLE"), nearby(r"PINNED_IN_MEMORY|LOCAL_REFERENCE|bytes in use: [1-9]\d{8}")),
        ),
        Cause(
            "Spilling to disk does not work or is switched off.",
            signs=(
                nearby(
                    r"[Ss]pill\w* (?:failed|error)|automatic_object_spilling_enabled|No space left on device|OutOfDiskError"
                ),
            ),
        ),
        Cause(
            "/dev/shm is too small (Docker gives 64 MB), so the store is small, or on a slow disk.",
            signs=(nearby(r"/dev/shm|--shm-size"),),
        ),
    ),
    tell_apart=(
        "`ray memory --stats-only` and `ray memory --sort-by OBJECT_SIZE` list the objects and their holders.",
        "`df -h /dev/shm /tmp`: is either nearly full?",
    ),
    fix="""\
del refs                                    # drop references that are no longer needed
ray.init(object_store_memory=8 * 1024**3)   # or --object-store-memory of `ray start`; in Docker: --shm-size=10g""",
    sources=(
        "Ray: python/ray/exceptions.py, ObjectStoreFullError",
        "Ray: src/ray/object_manager/plasma/create_request_queue.cc",
        _SPILLING,
    ),
)
OUT_OF_DISK = Entry(
    name="out-of-disk",
    classes=("OutOfDiskError",),
    what="The object store is full, and so is the disk that it overflows to: it is fuller than RAY_local_fs_capacity_threshold "
    "(0.95), and Ray does not write there any more.",
    causes=(
        Cause(
            "Other files fill the disk: old Ray sessions, logs, data.",
            signs=(nearby(r"is over (?:9\d|100)(?:\.\d+)?% full"), nearby(r"No space left on device")),
        ),
        Cause("Ray's own spilled objects fill it.", signs=(nearby(r"Spilled \d+ MiB"),)),
        Cause(
            "The threshold was lowered.",
            signs=(nearby(r"local_fs_capacity_threshold"), nearby(r"is over (?:[0-8]?\d(?:\.\d+)?)% full")),
        ),
        Cause("One object is larger than the store and the free disk together."),
    ),
    tell_apart=("`df -h /tmp` on that node, and `du -sh /tmp/ray/*`: which session or folder is it?",),
    fix="""\
# in a shell, on that node: remove sessions that no cluster uses any more
ls -dt /tmp/ray/session_2* | tail -n +2 | xargs rm -r
# or spill elsewhere:
ray start --head --object-spilling-directory=/data/spill""",
    sources=("Ray: python/ray/exceptions.py, OutOfDiskError", "Ray: src/ray/common/file_system_monitor.cc", _SPILLING),
)

_KILLED = "Ray's memory monitor killed the worker, because the node used more memory than RAY_memory_usage_threshold (0.95) allows. "
_CAUSES = (
    Cause("Idle workers hold the memory: they keep what their tasks leaked, and do not exit while they own a live object.",
          signs=(sizes.held_by("idle"), says(r"non-selected idle workers: [1-9]")), weight=sizes.weight("idle")),
    Cause("The tasks and actors need it: one needs much, or too many run on this node at a time (Ray counts their CPUs, and their memory "
          "only if they ask for it).", signs=(sizes.held_by("tasks"), says(r"actual memory used=(?:[1-9]\d*\.|0\.[5-9])")), weight=sizes.weight("tasks")),
    Cause("Something else on the machine uses the memory: the driver, other programs.", signs=(sizes.held_by("others"),), weight=sizes.weight("others")),
    Cause("Ray's own processes use much of it (GCS, raylet, dashboard).", signs=(sizes.held_by("ray"),), weight=sizes.weight("ray")),
    Cause("The object store is full of objects in use: its pages count as memory too.", signs=(says(r"bytes in use: [1-9]\d{8}"),)),
    Cause("The threshold is far below what the node has.", signs=(says(r"threshold of (?:\d+B \()?(?:0?\.[0-7]\d*|[0-7]?\d\.\d%)"), nearby(r"RAY_memory_usage_threshold\s*="))),
)  # fmt: skip
_TELL = (
    "The message lists the ten processes that use most, and what the chosen worker used.",
    'The message does not say which policy chose. With RAY_BACKEND_LOG_LEVEL=debug that node\'s raylet.out says "Workers sorted by time based worker killing policy" or "Sorted list of leases based on the policy".',
)
_FIX = """\
@ray.remote(memory=2 * 1024**3, max_retries=5)   # as many at a time as fit; retried when killed
def work(): ...

# Store each array in outlive, so that workers own nothing and can exit after max_calls.
@ray.remote(max_calls=10)
def work(handle):
    return outlive.open().put(process(handle.get()))"""
_SOURCES = (
    _DOCS,
    "https://github.com/ray-project/ray/pull/61323 (time based policy)",
    "https://github.com/ray-project/ray/pull/63521 (idle workers first)",
    "Ray: src/ray/raylet/worker_killing_policy_by_time.cc, worker_killing_policy_group_by_owner.cc",
)
_BY_GROUP = (
    "Policy: by group. Workers are grouped by the task or driver that submitted their work. The newest worker of the largest group that "
    "can be retried is killed, one at a time. This is the default before Ray 2.56; later RAY_worker_killing_policy_by_group=1 sets it."
)
_BY_TIME = (
    "Policy: by time. Idle workers are killed first, then workers whose work can be retried, the newest first, several at once if needed. "
    "This is the default since Ray 2.56."
)


_MESSAGE = r"worker\(s\) were killed due to the node running low on memory"


def _oom(name: str, when: str | None, policy: str, refined: tuple[tuple[str, Entry], ...] = ()) -> Entry:
    return Entry(
        name=name,
        classes=("OutOfMemoryError",),
        when=when,
        what=_KILLED + policy,
        causes=_CAUSES,
        tell_apart=_TELL,
        fix=_FIX,
        sources=_SOURCES,
        refined=refined,
    )


BY_TIME = _oom("out-of-memory-by-time", _MESSAGE, _BY_TIME)
BY_GROUP = _oom("out-of-memory-by-group", r"(?:Task|Actor|worker) was killed due to the node running low", _BY_GROUP)
_REFINED = (
    (r"sorted by time based worker killing policy", BY_TIME),
    (
        r"based on the policy: .{0,500}Lease should be retried|Grouping the workers by owner|Running GroupByOwner policy",
        BY_GROUP,
    ),
)
OUT_OF_MEMORY = _oom(
    "out-of-memory",
    _MESSAGE,
    "This text does not say which policy chose it. " + _BY_TIME + " The other one: " + _BY_GROUP,
    _REFINED,
)
GPU = Entry(
    name="out-of-gpu-memory",
    classes=("OutOfMemoryError",),
    when=r"CUDA|cuda|HIP|MPS|GPU",
    what="The GPU's memory is full (PyTorch's OutOfMemoryError). It is not Ray's OutOfMemoryError: the node has enough memory.",
    causes=(
        Cause("Several tasks or actors share the GPU, or a batch is too large.", signs=(says(r"CUDA out of memory"),)),
    ),
    tell_apart=("`nvidia-smi` on that node: which processes hold GPU memory?",),
    fix="@ray.remote(num_gpus=1, max_calls=1)   # a whole GPU for each task; its process ends afterwards and frees all\ndef train(): ...",
    sources=("https://docs.ray.io/en/latest/ray-core/scheduling/accelerators.html",),
)
UNKNOWN_MEMORY = _oom("out-of-memory", None, "The text says no more than that. " + _BY_TIME)

ENTRIES = (OBJECT_STORE_FULL, OUT_OF_DISK, OUT_OF_MEMORY, BY_GROUP, GPU, UNKNOWN_MEMORY)
