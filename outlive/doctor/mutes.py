"""`outlive-doctor.toml`: findings that are known and accepted, by name and node. Made to be checked in.

[[mute]]
kind = "kept-node"
node = "gpu-*"                        # optional: host name, ip, or beginning of the id; * and ? stand for letters
reason = "kept warm for the demo"     # optional

"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outlive.doctor.kinds import KINDS
from outlive.doctor.model import Evidence, Symptom
from outlive.errors import BadSetting

if TYPE_CHECKING:
    from outlive.ray_internals.node_workers import LiveNode

FILE = "outlive-doctor.toml"
_KEYS = ("kind", "node", "reason")


@dataclass(frozen=True)
class Mute:
    """A kind of finding that is not shown: on all nodes, or on some."""

    kind: str
    node: str | None = None
    """A pattern for a host name, an ip or an id; None: all nodes."""
    reason: str | None = None

    def silences(self, evidence: Evidence, nodes: Mapping[str, LiveNode]) -> bool:
        """Whether this mute covers the evidence, by its node."""
        if self.node is None:
            return True
        if evidence.node is None:
            return False
        pattern, node = self.node.lower(), nodes.get(evidence.node)
        names = (node.name.lower(), node.ip) if node is not None else ()
        return any(fnmatchcase(name, pattern) for name in names) or fnmatchcase(evidence.node, f"{pattern}*")


def nearest(folder: Path) -> Path | None:
    """The path of the file in `folder` or the nearest folder above; None if there is none."""
    return next((path for above in (folder, *folder.parents) if (path := above / FILE).is_file()), None)


def load(path: Path) -> tuple[Mute, ...]:
    """The mutes in a file.

    Raises
    ------
    BadSetting
        It is not TOML, or has a key or kind that the doctor does not know. The message says where, and lists the known
        ones.
    OSError
        It cannot be read.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path}: {error}") from None
    for name in document:
        if name != "mute":
            raise BadSetting(f"{path}: no table {name!r}; it holds [[mute]] alone, see docs/doctor.md")
    given = document.get("mute", [])
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise BadSetting(f"{path}: mute is to be a list of tables: write [[mute]], in two brackets")
    return tuple(_mute(one, f"{path}, mute {number}") for number, one in enumerate(given, 1))


def _mute(given: dict[str, Any], where: str) -> Mute:
    for key, value in given.items():
        if key not in _KEYS:
            raise BadSetting(f"{where}: no key {key!r}; there are: {', '.join(_KEYS)}")
        if not isinstance(value, str) or not value.strip():
            raise BadSetting(f"{where}: {key} is to be a text, not {value!r}")
    if "kind" not in given:
        raise BadSetting(f"{where}: it needs a kind; there are: {', '.join(KINDS)}")
    if given["kind"] not in KINDS:
        raise BadSetting(f"{where}: no finding is called {given['kind']!r}; there are: {', '.join(KINDS)}")
    return Mute(**given)


def apart(
    findings: Iterable[Symptom], mutes: Iterable[Mute], nodes: Iterable[LiveNode]
) -> tuple[list[Symptom], list[Symptom]]:
    """The findings to show, and those that are muted.

    A finding on several nodes is muted if each of them is. Otherwise it stays without the evidence of the muted nodes.
    Its sums still count all nodes, and it says so.
    """
    by_id, mutes = {node.node_id: node for node in nodes}, tuple(mutes)
    remaining, muted = [], []
    for finding in findings:
        mine = [mute for mute in mutes if mute.kind == finding.kind]
        shown = [one for one in finding.evidence if not any(mute.silences(one, by_id) for mute in mine)]
        if any(mute.node is None for mute in mine) or (mine and finding.evidence and not shown):
            muted.append(finding)
        elif len(shown) < len(finding.evidence):
            dropped = len(finding.evidence) - len(shown)
            what = f"{finding.what} ({dropped} of {len(finding.evidence)} places are muted)"
            remaining.append(replace(finding, evidence=tuple(shown), what=what))
        else:
            remaining.append(finding)
    return remaining, muted
