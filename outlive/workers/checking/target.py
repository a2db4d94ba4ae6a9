"""The target of a check: a file, a `ray start` command line, or the running cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from outlive.errors import BadClusterFile
from outlive.workers import autoscaler_files, commands, kuberay, templates
from outlive.workers.checking import cluster_file, command_line, kuberay_file, other_file, running, script, yaml_lines
from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.yaml_file import YamlFile

_NOTHING = "nothing of Ray in it: no cluster of `ray up` or KubeRay, no `ray start`, no RAY_ variable"
_YAML = {".json", ".yaml", ".yml"}


@dataclass(frozen=True)
class Checked:
    """The target of a check, and the findings."""

    target: str
    findings: tuple[Misconfiguration, ...]
    file: YamlFile | None = None


def check_target(target: str | None) -> Checked:
    """Check a file, a command line (it contains `ray start`), or, if None, the cluster of this process.

    Raises
    ------
    BadClusterFile
        It cannot be read, or has nothing of Ray in it.
    OSError
        The file cannot be read.
    """
    if target is None:
        return Checked("the running cluster", tuple(running.check()))
    if commands.find(target) and not Path(target).is_file():
        return Checked("the command line", tuple(command_line.check_text(target, lambda _: None)))
    return check_file(Path(target))


def check_file(path: Path) -> Checked:
    """Check a file of `ray up`, KubeRay or Helm, other YAML that starts Ray, a script, a Dockerfile, a systemd unit."""
    raw = path.read_bytes()
    if b"\0" in raw:
        raise BadClusterFile(f"{path} is no text: give a cluster YAML, or a script that starts Ray")
    text = raw.decode(errors="replace")
    if path.suffix.lower() not in _YAML and (found := script.check(path, text)) is not None:
        return Checked(str(path), _sorted(found))
    try:
        file = YamlFile.read(path)
    except BadClusterFile as error:
        return _unreadable(path, text, error if path.suffix.lower() in _YAML else BadClusterFile(f"{path}: {_NOTHING}"))
    return Checked(str(path), _sorted(check_yaml(file)), file)


def check_yaml(file: YamlFile) -> list[Misconfiguration]:
    """Check a YAML file by its kind.

    Raises
    ------
    BadClusterFile
        It has nothing of Ray in it.
    """
    found = [*yaml_lines.doubled(file), *yaml_lines.unread(file)]
    if kuberay.resources(file) or kuberay.clusters(file):
        return found + kuberay_file.check(file) + other_file.check(file)
    if not kuberay.is_kubernetes(file) and autoscaler_files.is_cluster(file.data[0]):
        return found + cluster_file.check(file)
    if other_file.starts_ray(file):
        return found + other_file.check(file)
    kinds = sorted({str(data["kind"]) for data in file.data if isinstance(data, dict) and "kind" in data})
    raise BadClusterFile(f"{file.name}: " + (f"nothing of Ray in it: {', '.join(kinds)}" if kinds else _NOTHING))


def _unreadable(path: Path, text: str, error: BadClusterFile) -> Checked:
    """Check a template whose lines are not YAML: its commands can still be read."""
    found = script.check(path, text) if templates.parts(text) else None
    if found is None:
        raise error
    why = "only its command lines were looked at"
    return Checked(
        str(path), (Misconfiguration("not-read", None, f"a template: {error}", why, "check what it renders to"), *found)
    )


def mend(checked: Checked) -> list[Misconfiguration]:
    """Write the safe fixes into the file's text, one at a time. Each is found anew, because lines move."""
    done: list[Misconfiguration] = []
    refused: set[tuple[str, str]] = set()
    file = checked.file
    while file is not None and len(done) <= len(file.lines):
        found = (
            one for one in _sorted(check_yaml(file)) if one.mend is not None and (one.kind, one.what) not in refused
        )
        finding = next(found, None)
        if finding is None or finding.mend is None:
            break
        try:
            finding.mend()
        except BadClusterFile:
            refused.add((finding.kind, finding.what))
            continue
        done.append(finding)
    return done


def _sorted(found: list[Misconfiguration]) -> tuple[Misconfiguration, ...]:
    return tuple(sorted(found, key=lambda finding: finding.line or 0))
