"""Advice: what would make a node's shared memory faster or larger, as commands, each with its reason."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from outlive.tune.facts import Facts
from outlive.tune.mount import IN_MEMORY, Mount, fstab_line, remount_command
from outlive.tune.record import WANTED
from outlive.units import format_size

_SMALL = 512 << 20  # bytes of shared memory below which outlive keeps arrays on disk
_DESCRIPTORS, _MAPS = 65_536, 262_144
_SETTING = "/sys/kernel/mm/transparent_hugepage/shmem_enabled"


class Way(NamedTuple):
    """One way to make a change: a command or a setting, and where it goes."""

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
        why = "The kernel then gives them to no mount, whatever its options say."
        return Advice("huge-pages-denied", f"{_SETTING} says deny", why, (Way("now", f"echo never > {_SETTING}"),))
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
    command = shlex.join(remount_command(mount.folder, WANTED))
    return (
        Way("now, as root (or: outlive tune --apply)", command),
        Way("/etc/fstab, to last", fstab_line(mount, WANTED)),
        Way(
            "Kubernetes: a privileged init container that mounts the pod's emptyDir (medium: Memory) there",
            f"command: [sh, -c, {command!r}]",
        ),
        Way(
            "Docker, whose --shm-size and --tmpfs take no huge=: use the machine's own, remounted there",
            "docker run --ipc=host ...",
        ),
    )


def _size(facts: Facts) -> Advice | None:
    mount = facts.mount
    if mount.kind == IN_MEMORY and mount.size >= _SMALL:
        return None
    half = max(1, facts.memory // 2 >> 30)
    kept = "keeps arrays" if mount.kind == IN_MEMORY else f"keeps arrays in {mount.folder}, which is not memory,"
    return Advice(
        "little-shared-memory",
        f"outlive {kept} on {format_size(mount.size)}",
        "Below 512 MiB of shared memory, as Docker gives by default (64 MiB), outlive keeps arrays on disk.",
        (
            Way("now, as root", f"mount -o remount,size={half}g /dev/shm"),
            Way("Docker", f"docker run --shm-size={half}g ..."),
            Way("Kubernetes", f"an emptyDir of medium Memory and sizeLimit {half}Gi, mounted at /dev/shm"),
        ),
    )


def _descriptors(facts: Facts) -> Advice | None:
    if not 0 <= facts.descriptors < _DESCRIPTORS:  # -1: no limit
        return None
    return _limit(
        "few-descriptors",
        f"a process may open {facts.descriptors} files",
        Way("the shell that starts Ray", f"ulimit -n {_DESCRIPTORS}"),
        Way("systemd", f"LimitNOFILE={_DESCRIPTORS}"),
        Way("Docker", f"docker run --ulimit nofile={_DESCRIPTORS} ..."),
    )


def _maps(facts: Facts) -> Advice | None:
    if facts.maps is None or facts.maps >= _MAPS:
        return None
    return _limit(
        "few-maps",
        f"a process may have {facts.maps} maps",
        Way("now, as root", f"sysctl -w vm.max_map_count={_MAPS}"),
        Way("/etc/sysctl.d/outlive.conf, to last", f"vm.max_map_count = {_MAPS}"),
    )


def _limit(kind: str, what: str, *ways: Way) -> Advice:
    return Advice(kind, what, "Each array above 32 KiB that a process looks at takes one.", ways)
