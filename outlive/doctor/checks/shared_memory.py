"""/dev/shm: whether each node's object store is there, and fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from outlive.doctor.cluster import Cluster
from outlive.doctor.model import Evidence, Symptom
from outlive.errors import StoreUnavailable
from outlive.ray_internals.node_workers import LiveNode
from outlive.tune import facts
from outlive.tune.advice import Advice, advice
from outlive.units import count, format_size

SHM = "/dev/shm"
DOCKER = 64 << 20
"""Bytes of /dev/shm in a container without --shm-size (docs.docker.com/reference/cli/docker/container/run)."""
_PATIENCE = 20.0  # seconds for a node to run the probe
_PAGES = 16 << 20  # bytes: a store that is larger than the free room by less than this is no finding
_SERVICES = "Ray: python/ray/_private/services.py, determine_plasma_store_config"
_gains: dict[str, dict[str, float]] = {}  # by the folder of a mount
_SIGBUS = "https://github.com/ray-project/ray/issues/14182, https://github.com/ray-project/ray/issues/5543"


@dataclass(frozen=True)
class Room:
    """The shared memory of a node, as a process there sees it. Bytes."""

    total: int
    free: int
    directory: str
    """The folder in which the raylet was told to keep its store."""
    capacity: int
    """The size of the store that the raylet was told."""
    taken: int
    """Bytes of the store's file that have pages already."""


def check(cluster: Cluster) -> Iterable[Symptom]:
    """Look at each node of this machine. If asked for, a task without CPUs looks at each other one."""
    missing, elsewhere, here = [], [], False
    for node in cluster.nodes:
        room = look(node)
        here = here or room is not None
        if room is None and not cluster.exact:
            elsewhere.append(node.node_id[:8])
        elif room is None and (room := look_there(node)) is None:
            missing.append(node.node_id[:8])
        if room is not None:
            yield from of_room(node, room)
    if elsewhere:
        cluster.notes.append(
            f"/dev/shm of {count(len(elsewhere), 'node')} on other machines was not looked at; --exact asks there, by a "
            "task that makes the node busy for a moment"
        )
    if here and (note := page_note(measured=cluster.exact)) is not None:
        cluster.notes.append(note)
    if missing:
        raise StoreUnavailable(f"no look at /dev/shm of node {', '.join(missing)}")


def page_note(*, measured: bool = False) -> str | None:
    """A note on this machine's pages; None if they are huge, or cannot be. `measured`: with what huge pages gain."""
    seen = facts.look()
    found = advice(seen)
    small = next((one for one in found if one.kind == "small-pages"), None)
    if small is None:
        return None
    if not measured:
        return f"{small.what}; `outlive tune`, and --exact, measure what huge pages bring here"
    return f"{small.what}; {_gain(seen, found)}. `outlive tune` says how to get them"


def _gain(seen: facts.Facts, found: list[Advice]) -> str:
    """The gain of huge pages on this machine. It is measured until it is known: `doctor --watch` looks many times."""
    from outlive.tune.compare import compare  # here: it loads NumPy, which a look without it does not need

    folder = seen.mount.folder
    if folder not in _gains:
        now, huge, refused = compare(seen, found)
        if now is None or huge is None:
            return f"what huge pages bring was not measured: {refused}"
        _gains[folder] = huge.times(now)
    times = _gains[folder]
    return (
        f"measured here with huge pages: a put into new memory is {times['put']:.1f} times as fast, a first read "
        f"{times['first_read']:.1f} times"
    )


def look(node: LiveNode) -> Room | None:
    """The node's /dev/shm; None if its raylet does not run on this machine."""
    seen = _make_probe()(node.node_id)
    return None if seen is None else Room(*seen)


def look_there(node: LiveNode) -> Room | None:
    """`look`, by a task on the node; None if that fails. This process must have joined the cluster."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    task: Any = ray.remote(num_cpus=0, max_retries=0)(_make_probe())
    try:
        seen = ray.get(task.options(scheduling_strategy=strategy).remote(node.node_id), timeout=_PATIENCE)
    except ray.exceptions.RayError:
        return None
    return None if seen is None else Room(*seen)


def of_room(node: LiveNode, room: Room) -> Iterator[Symptom]:
    """`check`, on plain data, for one node."""
    name = f"node {node.node_id[:8]} ({node.ip})"
    docker = (
        f"docker run --shm-size={_gigabytes(room.capacity)}g ...   # Kubernetes: an emptyDir of medium Memory there"
    )
    evidence = Evidence(
        f"{SHM} has {format_size(room.free)} free of {format_size(room.total)}; the store is in {room.directory}, "
        f"at most {format_size(room.capacity)}",
        node=node.node_id,
        numbers={"shm_bytes": room.total, "shm_free_bytes": room.free, "capacity_bytes": room.capacity},
    )
    if not f"{room.directory}/".startswith(f"{SHM}/"):
        small = f": {SHM} has only {format_size(room.total)}" if room.total < room.capacity else ""
        docker_like = " (Docker's default)" if room.total == DOCKER else ""
        yield Symptom(
            kind="store-on-disk",
            severity="risk",
            what=f"the object store of {name} is on disk, in {room.directory}{small}{docker_like}",
            why="Ray falls back to a folder on disk where /dev/shm is too small: every object is then written to disk by "
            "the kernel, and puts and gets run at its speed.",
            fix=docker if small else f"start Ray without --plasma-directory, to keep the store in {SHM}",
            evidence=(evidence,),
            source=_SERVICES,
            weight=room.capacity,
        )
        return
    wanted = max(0, room.capacity - room.taken)
    if wanted > room.free + _PAGES:
        yield Symptom(
            kind="shm-too-small",
            severity="risk",
            what=f"the object store of {name} may take {format_size(wanted)} more, and {SHM} has "
            f"{format_size(room.free)} left",
            why="The store's pages are taken when they are first written. With none left the kernel ends the writer, or "
            "the raylet, with SIGBUS: a worker that dies without a word.",
            fix=f"free what others keep there (`ls -lS {SHM}`); start Ray with --object-store-memory={room.free}; or: "
            + docker,
            evidence=(evidence,),
            source=_SIGBUS,
            weight=wanted,
        )
    elif room.total <= DOCKER:
        yield Symptom(
            kind="shm-docker-default",
            severity="risk",
            what=f"{SHM} of {name} has {format_size(room.total)}, what Docker gives by default",
            why="No object, and no array of outlive, that is larger fits into shared memory.",
            fix=docker,
            evidence=(evidence,),
            source="https://docs.docker.com/reference/cli/docker/container/run/ (--shm-size)",
            weight=room.capacity,
        )


def _gigabytes(size: int) -> int:
    return max(1, -(-size // (1 << 30)) + 1)


def _make_probe() -> Callable[[str], tuple[int, int, str, int, int] | None]:
    """The probe as a closure, which travels by value: the node needs no outlive."""

    def probe(node_id: str) -> tuple[int, int, str, int, int] | None:
        import os

        try:
            found = os.statvfs("/dev/shm")
        except OSError:
            return None
        total, free = found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if not words[0].endswith("raylet") or f"--node_id={node_id}" not in words:
                continue
            given = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
            taken = 0
            try:
                for number in os.listdir(f"/proc/{entry}/fd"):
                    path = f"/proc/{entry}/fd/{number}"
                    if os.readlink(path).startswith("/dev/shm/plasma"):
                        taken += os.stat(path).st_blocks * 512
            except OSError:
                pass  # it belongs to another user
            return total, free, given.get("plasma_directory", "/dev/shm"), int(given["object_store_memory"]), taken
        return None

    return probe
