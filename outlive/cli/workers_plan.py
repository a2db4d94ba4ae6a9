"""The command `outlive workers plan`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outlive.cli.failures import explained
from outlive.cli.not_installed import with_note
from outlive.cli.options import AsJson
from outlive.cli.text import hanging, print_json, width

if TYPE_CHECKING:
    from outlive.workers.goals import Plan
    from outlive.workers.yaml_file import YamlFile


def register(app: typer.Typer) -> None:
    """Add the command to `outlive workers`."""
    codes = "Exit codes: 0 planned; 2 usage, a bad file."
    app.command(epilog=with_note(codes, "traces", "--trace"))(explained(plan))


def plan(
    goal: Annotated[str | None, typer.Option("--goal", metavar="GOAL", help="memory, balanced or latency.")] = None,
    keep_idle: Annotated[int, typer.Option("--keep-idle", metavar="MIN", min=0, help="Idle workers to keep.")] = 0,
    max_idle: Annotated[
        int | None, typer.Option("--max-idle", metavar="MAX", min=0, help="Idle workers a node may keep.")
    ] = None,
    idle_after: Annotated[
        str | None, typer.Option("--idle-after", metavar="TIME", help="When a worker counts as idle, as 30s.")
    ] = None,
    node_idle_after: Annotated[
        str | None, typer.Option("--node-idle-after", metavar="TIME", help="When an idle node is removed, as 2min.")
    ] = None,
    upscaling_speed: Annotated[
        float | None,
        typer.Option("--upscaling-speed", metavar="X", help="Take the place of the speed that the file says."),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE", help="Pick the settings that suit this trace best.")
    ] = None,
    cluster: Annotated[
        Path | None, typer.Option("--cluster", metavar="FILE", help="Patch this file of `ray up`: shows the diff.")
    ] = None,
    kuberay: Annotated[
        Path | None,
        typer.Option("--kuberay", metavar="FILE", help="Patch this RayCluster, RayJob, ... or Helm values."),
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", "-i", help="Write the patch into the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """From a goal to Ray's settings, with what each costs, ready to paste.

    In a patched file nothing else changes, not even a space.

    [bold]Example[/bold]
    $ outlive workers plan --goal memory
    $ outlive workers plan --max-idle 2 --idle-after 30s --cluster cluster.yaml --in-place
    """
    made = _made(goal, keep_idle, max_idle, idle_after, node_idle_after, trace)
    if upscaling_speed is not None:
        made = made.with_upscaling(upscaling_speed)
    file = _patched(made, cluster, kuberay)
    changes = file is not None and file.text != file.original
    if file is not None and in_place and changes:
        file.write(Path(file.name))
    elif file is None and in_place:
        from outlive.errors import BadSetting

        raise BadSetting("--in-place needs a file: --cluster FILE or --kuberay FILE")
    if as_json:
        print_json({**dataclasses.asdict(made), **_about(file), "written": in_place and changes})
    elif file is not None:
        for note in file.notes:
            typer.echo(f"note: {note}", err=True)
        if not changes:
            typer.echo(f"note: {file.name} is as planned already", err=True)
        elif in_place:
            typer.echo(f"{file.name}: written")
        else:
            typer.echo(file.diff(), nl=False)
    else:
        _show(made)


def _about(file: YamlFile | None) -> dict[str, object]:
    return {"diff": file.diff() if file else None, "file_notes": file.notes if file else []}


def _made(
    goal: str | None,
    keep_idle: int,
    max_idle: int | None,
    idle_after: str | None,
    node_idle_after: str | None,
    trace: Path | None,
) -> Plan:
    from outlive.errors import BadSetting
    from outlive.units import parse_duration
    from outlive.workers.goals import plan_for_goal, plan_for_numbers

    numbers = bool(keep_idle) or any(one is not None for one in (max_idle, idle_after, node_idle_after))
    if sum((goal is not None and trace is None, numbers, trace is not None)) != 1:
        raise BadSetting(
            "say what for: --goal memory|balanced|latency, or bounds (--max-idle, --idle-after, ...), or --trace FILE "
            "(with --goal, if you like)"
        )
    if trace is not None:
        from outlive.workers.choosing import plan_for_trace
        from outlive.workers.trace import Trace

        wanted: Any = goal or "balanced"
        return plan_for_trace(Trace.read(trace), wanted)
    if goal is not None:
        named: Any = goal
        return plan_for_goal(named)
    return plan_for_numbers(
        min_idle=keep_idle,
        max_idle=max_idle,
        idle_after=1.0 if idle_after is None else parse_duration(idle_after, "--idle-after"),
        node_idle_after=None if node_idle_after is None else parse_duration(node_idle_after, "--node-idle-after"),
    )


def _patched(made: Plan, cluster: Path | None, kuberay: Path | None) -> YamlFile | None:
    from outlive.errors import BadSetting
    from outlive.workers import planning
    from outlive.workers.yaml_file import YamlFile

    if cluster is not None and kuberay is not None:
        raise BadSetting("one file at a time: --cluster or --kuberay")
    if cluster is not None:
        file = YamlFile.read(cluster)
        planning.patch_cluster(file, made)
        return file
    if kuberay is not None:
        file = YamlFile.read(kuberay)
        planning.patch_kuberay(file, made)
        return file
    return None


def _show(made: Plan) -> None:
    from outlive.workers import planning

    for planned in (*made.system, *made.autoscaler):
        typer.secho(f"{planned.name} = {planned.value}", bold=True)
        for label, text in (("why ", planned.reason), ("cost", planned.cost)):
            typer.echo("\n".join(hanging(f"  {label}  ", text, width())))
    for title, text in (
        ("a program that starts its own Ray", planning.as_python(made)),
        ("the environment of `ray start`, on every node", planning.as_environment(made)),
        ("the head node; workers take no --system-config", planning.as_command(made)),
    ):
        typer.secho(f"\n# {title}", bold=True)
        typer.echo(text)
    if made.autoscaler:
        typer.secho("\n# the cluster YAML; or: --cluster FILE, --kuberay FILE", bold=True)
        typer.echo("\n".join(f"{planned.name}: {planned.value}" for planned in made.autoscaler))
    typer.echo("")
    for note in made.notes:
        typer.echo("\n".join(hanging("note: ", note, width())))
