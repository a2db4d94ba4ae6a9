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
_ASK_LOCAL = "from outlive.cli.start_page import tell_local; tell_local()"
_RAY = {"gcs_server", "raylet"}  # the processes of a Ray on this machine

_WITHOUT = (
    ("ray start --head", "start a cluster"),
    ("outlive put scan.npy ct/7", "keep an array in it"),
    ("outlive lint src", "lifetime mistakes in programs that use Ray"),
    ("python job.py 2>&1 | outlive explain", "what an error of Ray means"),
    ("outlive tune", "how fast this machine's shared memory is"),
    ("outlive demo", "real images, workers that leak, and a kill -9"),
)
_LOCAL = (
    ("outlive ls --long --local", "its arrays"),
    ("outlive stats --local", "how full it is"),
    ("outlive shutdown --local", "delete all of them"),
)
_WITH = (
    ("outlive ls --long", "the arrays"),
    ("outlive stats", "how full each node is"),
    ("outlive workers", "idle workers, and why they stay"),
    ("outlive doctor", "what is wrong or risky now"),
)
_EMPTY = ("outlive put scan.npy ct/7", "keep an array")


def show(address: str | None, *, local: bool, as_json: bool) -> None:
    """Print the page. It takes six seconds at most, and fails for no reason that lies in the cluster or the store.

    `local`: of the store of this machine alone. No cluster is looked for.
    """
    named = bool(address or os.environ.get("RAY_ADDRESS"))
    found = _asked(_ASK, address or "") if not local and not lacking("ray") and (named or _ray_runs()) else {}
    here = _asked(_ASK_LOCAL) if _is_local() else None
    if as_json:
        print_json({"address": None, **found, **({} if here is None else {"local": here})})
        return
    from outlive import __version__

    typer.secho(f"outlive {__version__}: arrays that outlive the Ray workers that made them", bold=True)
    for line in _local_lines(here) if local else _lines(found, here):
        typer.echo(line)
    typer.echo("\nAll commands: outlive --help")


def _local_lines(here: dict[str, Any] | None) -> Iterator[str]:
    yield ""
    yield _local(here) if here is not None else "No local store is here: no program has opened one (local=True)."
    yield ""
    yield from _shown(_LOCAL if here is not None else (("outlive put scan.npy ct/7 --local", "keep an array in one"),))


def _local(here: dict[str, Any]) -> str:
    if "error" in here:
        return f"The local store cannot be asked: {here['error']}"
    sizes = f"{format_size(here['nbytes'])} of {format_size(here['budget'])}"
    return f"The local store {here['root']} holds {count(here['arrays'], 'array')}, {sizes}."


def _lines(found: dict[str, Any], here: dict[str, Any] | None) -> Iterator[str]:
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
    if here is not None:
        yield _local(here)
    yield ""
    asked = "arrays" in found
    shown = _WITHOUT if not asked else _WITH if found["arrays"] else (_EMPTY, *_WITH[2:])
    yield from _shown(shown if here is None else (*shown, _LOCAL[0]))


def _shown(shown: tuple[tuple[str, str], ...]) -> Iterator[str]:
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


def _is_local() -> bool:
    """Whether a local store is here. None is begun."""
    from outlive.local.place import place_of

    return bool(place_of(None).shelves())


def _asked(program: str, *arguments: str) -> dict[str, Any]:
    """The answer of the cluster or the local store, from a process that can be ended when it takes too long."""
    command = [sys.executable, "-c", program, *arguments]
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
    see = "; see `ray status` and `outlive doctor`" * (program == _ASK)
    return {"error": f"no answer within {_SECONDS:g} s{see}"}


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


def tell_local() -> None:
    """Print what the local store holds, as one line of JSON. No keeper is started, and no job is begun."""
    from outlive.cluster.port import Call, Nobody
    from outlive.local.peers import LocalPeers
    from outlive.local.place import place_of

    place = place_of(None)
    peers = LocalPeers(place)
    try:
        shelf = peers.ask_keeper(peers.node_id, Call.of("stats"), _ASKED)
        answer = {"root": place.root, "arrays": shelf.arrays, "nbytes": shelf.used, "budget": shelf.budget}
    except Nobody:
        answer = {"error": "its keeper has ended; the next program that opens the store starts another"}
    except Exception as error:  # noqa: BLE001 - each is only shown
        answer = {"error": str(error) or type(error).__name__}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
