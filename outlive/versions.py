"""The versions and limits that a report of a fault needs. Loads neither Ray nor NumPy."""

from __future__ import annotations

import importlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, overload

from outlive.errors import OutliveError
from outlive.units import format_size

PACKAGES = ("ray", "numpy", "grpcio", "protobuf", "msgpack", "libcst", "typer", "pyarrow")
_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # cgroups(7): microseconds of a period, and the period


def versions() -> dict[str, Any]:
    """Versions and limits as plain data. Sizes are in bytes; None is what is not installed or not known."""
    return {
        "outlive": importlib.import_module("outlive").__version__,  # an import of it would be a cycle
        "folder": str(Path(__file__).parent),
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "packages": {name: _version(name) for name in PACKAGES},
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "distribution": _distribution(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "cpu_limit": _cpu_limit(),
        **_memory(),
        "settings": {name: os.environ[name] for name in sorted(os.environ) if name.startswith("OUTLIVE_")},
    }


@overload
def show_versions() -> None: ...
@overload
def show_versions(*, as_dict: Literal[False]) -> None: ...
@overload
def show_versions(*, as_dict: Literal[True]) -> dict[str, Any]: ...
def show_versions(*, as_dict: bool = False) -> dict[str, Any] | None:
    """Print the versions and limits that a report of a fault needs; or return them, with `as_dict`.

    These are the versions of outlive, Python, Ray, NumPy and others; the kernel; the size of /dev/shm and its huge
    pages; the limits of this process's cgroup; and the variables OUTLIVE_... Needs no cluster.

    Parameters
    ----------
    as_dict
        Print nothing, and return plain data: sizes in bytes, None for what is not installed or not known.
    """
    found = versions()
    if as_dict:
        return found
    for line in lines(found):
        print(line)
    return None


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people: a line for each of what `versions` found."""
    mount, limit = found["shared_memory"], found["cpu_limit"]
    rows = {
        "outlive": f"{found['outlive']}, in {found['folder']}",
        "python": found["python"],
        **{name: version or "not installed" for name, version in found["packages"].items()},
        "kernel": found["kernel"],
        "system": ", ".join(filter(None, (found["distribution"], found["libc"]))) or "unknown",
        "cpus": f"{found['cpus']}, usable {found['cpus_usable']}, cgroup limit {'none' if limit is None else limit}",
        "memory": f"{format_size(found['memory'])}, for this process {format_size(found['memory_usable'])}",
        "shared memory": mount["error"]
        if "error" in mount
        else f"{mount['root']} on {mount['folder']}, {mount['kind']}, {format_size(mount['free'])} free of "
        f"{format_size(mount['size'])}, huge={mount['huge']}, kernel {mount['kernel_setting'] or 'has none'}",
        **found["settings"],
    }
    width = max(map(len, rows))
    return [f"{name:{width}}  {value}" for name, value in rows.items()]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _cpu_limit() -> float | None:
    """The processors that this process's cgroup may use, as a container sees its own. None: no limit is known."""
    try:
        quota, period = _CPU_LIMIT.read_text().split()
        return round(int(quota) / int(period), 2)
    except (OSError, ValueError):  # not there, or "max"
        return None


def _memory() -> dict[str, Any]:
    from outlive.arrays.limits import memory_limit
    from outlive.tune.facts import look

    mount: dict[str, Any]
    try:
        facts = look()
    except (OSError, OutliveError) as error:  # a root that is not to be used is worth a report
        mount = {"error": f"{type(error).__name__}: {error}"}
    else:
        shown = ("folder", "kind", "size", "free", "inodes")
        mount = {"root": facts.root, **{name: getattr(facts.mount, name) for name in shown}}
        mount |= {"huge": facts.mount.huge, "kernel_setting": facts.kernel_setting, "maps": facts.maps}
        mount["descriptors"] = facts.descriptors
    return {
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "memory_usable": memory_limit(),
        "shared_memory": mount,
    }
