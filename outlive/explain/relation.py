"""The relation of a line to an error: the same process, the same id, the same address, or none that is known."""

from __future__ import annotations

import re

from outlive.explain.model import Line, Scene

OTHER_PROCESS = "another process"
_LONG_ID = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{32,64}(?![0-9a-fA-F])")
_OF_ERROR = re.compile(r"(?:\b[Ww]orker PID: |\bpid: |\(pid=|, pid=)(\d+)")
_HEADER = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z] (\d+) \d+\]")  # a line of Ray's C++ processes
_WRITER = re.compile(r"pid=(\d+)")
_ADDRESS = re.compile(r"(?:\bip: |\bip=|\bIP: |\b[Aa]ddress:? )((?:\d{1,3}\.){3}\d{1,3}|[0-9a-fA-F:]{6,39})")
_RAYS_OWN = re.compile(r"\((?:raylet|gcs_server|autoscaler)")


def relation(scene: Scene, line: Line) -> str:
    """The relation in words; "" if none is known, `OTHER_PROCESS` if another process wrote the line."""
    process = _process(line, {each.writer for one in scene.occurrences for each in one.lines[:1]})
    own = {int(pid) for one in scene.occurrences for pid in _OF_ERROR.findall(one.text)}
    if process in own:
        return f"of the same process, pid {process}"
    if common := long_ids(line.text) & {each for one in scene.occurrences for each in long_ids(one.text)}:
        return f"names the same id, {min(common)[:12]}..."
    if process is None or _RAYS_OWN.search(line.writer) or "(raylet)" in line.text:
        addresses = {address for one in scene.occurrences for address in _ADDRESS.findall(one.text)}
        if common := addresses & set(_ADDRESS.findall(line.text)):
            return f"names the same address, {min(common)}"
        return ""
    return OTHER_PROCESS if own else ""


def _process(line: Line, readers: set[str]) -> int | None:
    """The process that wrote a line. A prefix that the error has too says nothing: that process printed both."""
    if header := _HEADER.search(line.text[:200]):
        return int(header[1])
    pids = [] if line.writer in readers else _WRITER.findall(line.writer)
    return int(pids[-1]) if pids else None


def long_ids(text: str) -> set[str]:
    """The ids in a text, without those that only name a job."""
    return {word.lower() for word in _LONG_ID.findall(text) if not word.lower().endswith("f" * 24)}
