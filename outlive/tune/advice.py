"""Advice: what would make a node's shared memory faster or larger, as commands, each with its reason."""

from __future__ import annotations

import json
import shlex
from typing import NamedTuple

from outlive.arrays.huge import KERNEL
from outlive.arrays.root import LEAST_SHARED_MEMORY, SHARED_MEMORY
from outlive.tune.facts import Facts
from outlive.tune.mount import IN_MEMORY, Mount, fstab_line, huge_option, in_fstab, remount_command, size_option
from outlive.tune.record import WANTED
from outlive.units import format_size

_DESCRIPTORS, _MAPS = 65_536, 262_144
_SETTING = f"{KERNEL}/shmem_enabled"
_ROOT, _LAST = "now, as root", "to last"
_FSTAB = f"/etc/fstab, {_LAST}, in place of the line for this folder if it has one"
_CONTAINER = "Kubernetes, in the pod's spec, where a privileged container is allowed"
_ON_DISK = "Arrays then go through the disk's file system, and the disk is read for all that does not fit into memory."
_LEAST = LEAST_SHARED_MEMORY >> 20
_LITTLE = (
    f"Below {_LEAST} MiB of shared memory (Docker gives 64 MiB by default) outlive keeps arrays on disk. {_ON_DISK}"
)


class Way(NamedTuple):
    """One way to make a change: commands or lines of a file, and where they go."""

    where: str
    command: str


class Advice(NamedTuple):
    """One change that helps, the reason, and the ways to make it."""

    kind: str  # a name that scripts can rely on
    what: str
    why: str
    ways: tuple[Way, ...]


def advice(facts: Facts) -> list[Advice]:
    """The changes that are worth making on this machine, the most useful first."""
    found = [_huge(facts), _size(facts), _descriptors(facts), _maps(facts)]
    return [one for one in found if one is not None]


def _huge(facts: Facts) -> Advice | None:
    mount = facts.mount
    if mount.kind != IN_MEMORY or not facts.huge_page or facts.kernel_setting in (None, "force"):
        return None
    page = format_size(facts.huge_page)
    if facts.kernel_setting == "deny":
        return Advice(
            "huge-pages-denied",
            f"{_SETTING} says deny",
            "The kernel then gives huge pages to no mount, whatever its options say. `never` leaves it to each mount: "
            "once it is set, `outlive tune` says what this one gives.",
            (
                Way(_ROOT, f"echo never > {_SETTING}"),
                Way(f"/etc/tmpfiles.d/outlive.conf, {_LAST}", f"w {_SETTING} - - - - never"),
            ),
        )
    if mount.huge in (WANTED, "always"):
        return None
    fills = f"With huge={WANTED} only files that fill such pages get them, so small files waste nothing."
    if mount.huge == "advise":
        return Advice(
            "pages-if-asked",
            f"{mount.folder} gives pages of {page} only to programs that ask (huge=advise)",
            "outlive asks for each new array that fills one. Ray's object store does not, nor do most other programs: "
            f"theirs have 4 KiB. {fills}",
            _remounts(mount),
        )
    return Advice(
        "small-pages",
        f"{mount.folder} gives pages of 4 KiB (huge={mount.huge})",
        f"New memory comes in pages of 4 KiB, and the kernel finds and clears them one by one. With pages of {page} "
        f"a first write and a first read take a fraction of that time. {fills}",
        _remounts(mount),
    )


def _remounts(mount: Mount) -> tuple[Way, ...]:
    command = shlex.join(remount_command(mount.folder, huge_option(WANTED)))
    options = f"mode=1777,{size_option(mount.size)},{huge_option(WANTED)}"
    return (
        Way(f"{_ROOT} (or: outlive tune --apply)", command),
        Way(_FSTAB, fstab_line(mount, WANTED)),
        Way(f"{_CONTAINER}; `shm` is its emptyDir of medium Memory", _init_container("huge-pages", command, mount)),
        Way(
            "Docker, whose --shm-size and --tmpfs take no huge=: a volume that is a tmpfs",
            f"docker volume create --opt type=tmpfs --opt device=tmpfs --opt o={options} shm\n"
            f"docker run --mount {shlex.quote(f'type=volume,src=shm,dst={mount.folder}')} ...",
        ),
    )


def _init_container(name: str, command: str, mount: Mount | None = None) -> str:
    """Lines of YAML. JSON's strings are YAML's too."""
    lines = [
        "initContainers:",
        f"- name: {name}",
        "  image: IMAGE  # that of the pod",
        f"  command: [sh, -c, {json.dumps(command)}]",
        "  securityContext: {privileged: true, runAsUser: 0, runAsNonRoot: false}",
    ]
    if mount is not None:
        lines.append(f"  volumeMounts: [{{name: shm, mountPath: {json.dumps(mount.folder)}}}]")
    return "\n".join(lines)


def _size(facts: Facts) -> Advice | None:
    mount, shared = facts.mount, facts.shared_memory
    if facts.why_on_disk is not None:
        what = f"outlive keeps arrays on disk, in {facts.root}: {facts.why_on_disk}"
        if shared is not None and shared.size >= LEAST_SHARED_MEMORY:
            return Advice("shared-memory-closed", what, _ON_DISK, (Way(_ROOT, f"chmod 1777 {SHARED_MEMORY}"),))
        return Advice("little-shared-memory", what, _LITTLE, _larger(facts, shared))
    if mount.kind == IN_MEMORY and mount.size >= LEAST_SHARED_MEMORY:
        return None
    if mount.kind == IN_MEMORY:
        what = (
            f"{mount.folder} has only {format_size(mount.size)}, and outlive keeps arrays there, as OUTLIVE_ROOT says"
        )
        return Advice(
            "little-shared-memory", what, "Arrays that do not fit are spilled or refused.", _larger(facts, mount)
        )
    if shared is not None and mount.folder == shared.folder:
        what = f"{SHARED_MEMORY} is no tmpfs but {mount.kind}"
        return Advice("little-shared-memory", what, _ON_DISK, _larger(facts, shared))
    return Advice(
        "root-on-disk",
        f"outlive keeps arrays on disk ({mount.kind}), in {facts.root}, as OUTLIVE_ROOT says",
        _ON_DISK,
        (Way("where Ray starts", "unset OUTLIVE_ROOT"),),
    )


def _larger(facts: Facts, mount: Mount | None) -> tuple[Way, ...]:
    """How this mount, or one at /dev/shm, gets as large as half of the memory."""
    gigabytes = max(1, facts.memory // 2 >> 30)
    size = f"size={gigabytes}g"
    new, folder = f"rw,nosuid,nodev,mode=1777,{size}", SHARED_MEMORY
    if mount is not None and mount.kind == IN_MEMORY and mount.folder != "/dev":
        folder = mount.folder
        command = shlex.join(remount_command(folder, size))
    else:
        command = f"mkdir -p {folder} && mount -t tmpfs -o {new} tmpfs {folder}"
    return (
        Way(f"{_ROOT}, before Ray starts", command),
        Way(_FSTAB, f"tmpfs {in_fstab(folder)} tmpfs {new} 0 0"),
        Way("Docker", f"docker run --shm-size={gigabytes}g ..."),
        Way(
            "Kubernetes, in the pod's spec and in that of its container",
            f"volumes: [{{name: shm, emptyDir: {{medium: Memory, sizeLimit: {gigabytes}Gi}}}}]\n"
            f"volumeMounts: [{{name: shm, mountPath: {json.dumps(folder)}}}]",
        ),
    )


def _descriptors(facts: Facts) -> Advice | None:
    if not 0 <= facts.descriptors < _DESCRIPTORS:  # -1: no limit
        return None
    return _limit(
        "few-descriptors",
        f"a process may open {facts.descriptors} files",
        Way("the shell that starts Ray, with the rights of root", f"sudo prlimit --pid $$ --nofile={_DESCRIPTORS}"),
        Way(f"/etc/security/limits.d/outlive.conf, {_LAST}, from the next login on", _lines_of_limits()),
        Way("systemd, in the unit that starts Ray (Kubernetes: containerd)", f"LimitNOFILE={_DESCRIPTORS}"),
        Way("Docker", f"docker run --ulimit nofile={_DESCRIPTORS} ..."),
    )


def _lines_of_limits() -> str:
    """By limits.conf(5); `*` leaves out root."""
    return "\n".join(f"{user} - nofile {_DESCRIPTORS}" for user in ("*", "root"))


def _maps(facts: Facts) -> Advice | None:
    if facts.maps is None or facts.maps >= _MAPS:
        return None
    command = f"sysctl -w vm.max_map_count={_MAPS}"
    return _limit(
        "few-maps",
        f"a process may have {facts.maps} maps",
        Way(f"{_ROOT}, on the machine itself if this is a container", command),
        Way(f"/etc/sysctl.d/outlive.conf, {_LAST}", f"vm.max_map_count = {_MAPS}"),
        Way(_CONTAINER, _init_container("maps", f"echo {_MAPS} > /proc/sys/vm/max_map_count")),
    )


def _limit(kind: str, what: str, *ways: Way) -> Advice:
    return Advice(kind, what, "Each array above 32 KiB that a process looks at takes one.", ways)
