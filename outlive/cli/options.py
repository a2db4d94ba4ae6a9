"""Options of every command, before or after its name, and an argument of many."""

from __future__ import annotations

from typing import Annotated, Any

import typer

STORE: Any = typer.Option("--store", metavar="NAME", help="The store; those with different names share no keys.")
ADDRESS: Any = typer.Option(
    "--address",
    metavar="HOST:PORT",
    help="The Ray cluster, as for ray.init; else RAY_ADDRESS, else the one that runs here.",
)
LOCAL: Any = typer.Option("--local", help="The store of this machine, without Ray: that of `outlive.open(local=True)`.")
JSON: Any = typer.Option("--json", help="Print one JSON document, and errors as JSON on stderr.")

MEMORY: Any = typer.Option(
    "--memory", metavar="SIZE", help="Let this node's shelf hold so much in memory from now on, as 8GiB."
)
DISK: Any = typer.Option("--disk", metavar="SIZE", help="Let it spill so much to disk from now on; 0: nothing.")
SPILL_TO: Any = typer.Option("--spill-to", metavar="FOLDER", help="The folder on disk; see docs/memory.md.")

StoreName = Annotated[str, STORE]
Address = Annotated[str | None, ADDRESS]
Local = Annotated[bool, LOCAL]
Memory = Annotated[str | None, MEMORY]
DiskSize = Annotated[str | None, DISK]
SpillTo = Annotated[str | None, SPILL_TO]
AsJson = Annotated[bool, JSON]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Any text of 1 to 1024 bytes.")]

DEFAULT_STORE = "default"
