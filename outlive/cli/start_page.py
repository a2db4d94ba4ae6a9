"""The page that `outlive` alone shows: how much the cluster here holds, and what to type next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from outlive.cli.text import print_json
from outlive.extras import install, lacking
from outlive.units import count, format_size

_SECONDS = 2.6  # for an answer of the cluster: the page is to be there within 3 s
_ASKED = 1.5  # seconds for the keepers, which are asked at the same time
_ASK = "import sys; from outlive.cli.start_page import tell; tell(sys.argv[1] or None)"
_RAY = {"gcs_server", "raylet"}  # the processes of a Ray on this machine

_WITHOUT = (
    ("ray start --head", "start a cluster"),
    ("outlive put scan.npy ct/7", "keep an array in it"),
    ("outlive lint src", "lifetime mistakes in programs that use Ray"),
    ("python job.py 2>&1 | outlive explain", "what an error of Ray means"),
    ("outlive tune", "how fast this machine's shared memory is"),
    ("outlive demo", "real images, workers that leak, and a kill -9"),
)
_WITH = (
    ("outlive ls --long", "the arrays"),
    ("outlive stats", "how full each node is"),
    ("outlive workers", "idle workers, and why they stay"),
    ("outlive doctor", "what is wrong or risky now"),
)
_EMPTY = ("outlive put scan.npy ct/7", "keep an array")


def show(address: str | None, *, as_json: bool) -> None:
    """Print the page. It takes three seconds at most, and fails for no reason that lies in the cluster."""
    named = bool(address or os.environ.get("RAY_ADDRESS"))
    found = _asked(address) if not lacking("ray") and (named or _ray_runs()) else {}
    if as_json:
        print_json({"address": None, **found})
        return
    from outlive import __version__

    typer.secho(f"outlive {__version__}: arrays that outlive the Ray workers that made them", bold=True)
    for line in _lines(found):
        typer.echo(line)
    typer.echo("\nAll commands: outlive --help")


def _lines(found: dict[str, Any]) -> Iterator[str]:
    error = found.get("error")
    yield ""
    if lacking("ray"):
        yield f"Ray is not installed here: {install('ray')}"
    elif error is not None:
        yield f"The cluster cannot be asked: {error}"
    elif "arrays" not in found:
        yield "No Ray cluster runs here."
    else:
        yield f"The Ray cluster {found['address']} holds {_holds(found)}."
    yield ""
    asked = "arrays" in found
    shown = _WITHOUT if not asked else _WITH if found["arrays"] else (_EMPTY, *_WITH[2:])
    width = max(len(command) for command, _ in shown)
    for command, about in shown:
        yield f"  $ {command:{width}}   {about}"


def _holds(found: dict[str, Any]) -> str:
    silent = found["silent"]
    more = f"; {count(silent, 'node')} did not answer" if silent else ""
    if not found["nodes"] and not silent:
        return "no arrays"
    sizes = f"{format_size(found['nbytes'])} of {format_size(found['budget'])}"
    return f"{count(found['arrays'], 'array')}, {sizes}, on {count(found['nodes'], 'node')}{more}"


def _ray_runs() -> bool:
    """Whether a Ray may run on this machine. To import Ray takes half a second, and this a millisecond."""
    if not Path("/proc/self/comm").exists():  # macOS
        return True
    for process in Path("/proc").glob("[0-9]*/comm"):
        try:
            if process.read_text().strip() in _RAY:
                return True
        except OSError:  # it has ended
            continue
    return False


def _asked(address: str | None) -> dict[str, Any]:
    """The answer of the cluster, from a process that can be ended when it takes too long."""
    command = [sys.executable, "-c", _ASK, address or ""]
    try:
        output = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
            timeout=_SECONDS,
        ).stdout  # fmt: skip
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""  # it may have answered, and be about to end
    for line in output.splitlines():
        if line.startswith(b"{"):
            answer: dict[str, Any] = json.loads(line)
            return answer
    return {"error": f"no answer within {_SECONDS:g} s; see `ray status` and `outlive doctor`"}


def tell(address: str | None) -> None:
    """Print what the cluster holds, as one line of JSON: the other half of `_asked`. The store is not joined."""
    from outlive.cli.connection import connect

    try:
        connect(address)
        import ray

        from outlive.cluster.port import Call
        from outlive.cluster.ray_port import RayPeers

        peers = RayPeers()
        keepers = peers.keeper_nodes()
        found = peers.ask({node: Call.of("stats") for node in keepers}, _ASKED).values()
        answer: dict[str, Any] = {
            "address": ray.get_runtime_context().gcs_address,
            "arrays": sum(shelf.arrays for shelf in found),
            "nbytes": sum(shelf.used for shelf in found),
            "budget": sum(shelf.budget for shelf in found),
            "nodes": len(found),
            "silent": len(keepers) - len(found),
        }
    except Exception as error:  # noqa: BLE001 - of many types, and each is only shown
        answer = {"error": str(error) or type(error).__name__}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
