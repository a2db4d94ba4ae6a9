"""What is to be checked: a file, a `ray start` command line, or the running cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from outlive.errors import BadClusterFile
from outlive.workers import commands
from outlive.workers.checking import cluster_file, command_line, kuberay_file, running
from outlive.workers.checking.finding import Finding
from outlive.workers.yaml_file import YamlFile


@dataclass(frozen=True)
class Checked:
    """What was checked, and what was found."""

    target: str
    findings: tuple[Finding, ...]
    file: YamlFile | None = None


def check_target(target: str | None) -> Checked:
    """Check a file, a command line (it contains `ray start`), or, if None, the cluster of this process.

    Raises
    ------
    BadClusterFile
        It is no YAML mapping.
    OSError
        The file cannot be read.
    """
    if target is None:
        return Checked("the running cluster", tuple(running.check()))
    if starts := commands.find(target):
        found = [finding for start in starts for finding in command_line.check(start, None)]
        return Checked("the command line", tuple(found))
    return check_file(Path(target))


def check_file(path: Path) -> Checked:
    """Check a cluster YAML, a RayCluster, or a text file of `ray start` command lines."""
    try:
        file = YamlFile.read(path)
    except BadClusterFile:
        lines = path.read_bytes().decode(errors="replace").splitlines()
        starts = [(row, start) for row, line in enumerate(lines, 1) for start in commands.find(line)]
        if not starts:
            raise
        found = [finding for row, start in starts for finding in command_line.check(start, row)]
        return Checked(str(path), tuple(found))
    check = kuberay_file.check if file.data.get("kind") == "RayCluster" else cluster_file.check
    return Checked(str(path), tuple(sorted(check(file), key=lambda finding: finding.line or 0)), file)


def mend(checked: Checked) -> list[Finding]:
    """Write the safe fixes into the file's lines, one at a time; each is found anew, as lines move."""
    done: list[Finding] = []
    file = checked.file
    while file is not None:
        check = kuberay_file.check if file.data.get("kind") == "RayCluster" else cluster_file.check
        finding = next((one for one in check(file) if one.mend is not None), None)
        if finding is None or finding.mend is None or len(done) > len(file.lines):
            break
        finding.mend()
        done.append(finding)
    return done
