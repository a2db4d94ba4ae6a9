"""The commands `outlive metrics ...`: the list of what is exported, and the files for Prometheus and Grafana."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from outlive.cli import form
from outlive.cli.failures import explained
from outlive.cli.options import AsJson
from outlive.cli.text import print_json, print_table, printable

_HELP = """List what outlive exports to Prometheus, and write the files for it.

Keepers and the catalog export through Ray's own pipeline: Prometheus finds it at
the endpoints that Ray names. docs/operations.md leads from there to alerts.

[bold]Example[/bold]
$ outlive metrics list
$ outlive metrics export --to monitoring
"""
metrics = typer.Typer(
    help=_HELP,
    short_help="List what is exported to Prometheus; write alert rules, a dashboard.",
    cls=form.Group,
    rich_markup_mode="rich",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def register(app: typer.Typer) -> None:
    """Add the commands to `outlive`."""
    metrics.command("list", epilog="Exit codes: 0 shown; 2 usage.")(explained(list_))
    metrics.command(epilog="Exit codes: 0 written; 2 usage, or a folder that cannot be written to.")(explained(export))
    app.add_typer(metrics, name="metrics", rich_help_panel="Nodes")


def list_(as_json: AsJson = False) -> None:
    """List every metric: its name in Prometheus, its labels and its meaning.

    Needs no cluster. Ray adds labels of its own, as SessionName and NodeAddress.

    [bold]Example[/bold]
    $ outlive metrics list
    """
    from outlive.metrics.table import METRICS

    if as_json:
        print_json([{**metric._asdict(), "name": metric.scraped, "labels": list(metric.labels)} for metric in METRICS])
        return
    rows = [(one.scraped, one.kind, ",".join(one.labels) or "-", one.help) for one in METRICS]
    print_table(("METRIC", "KIND", "LABELS", "MEANS"), rows, right=set())


def export(
    prometheus: Annotated[bool, typer.Option("--prometheus", help="Only the alert rules for Prometheus.")] = False,
    grafana: Annotated[bool, typer.Option("--grafana", help="Only the dashboard for Grafana.")] = False,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Where to write them; one alone is else printed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the alert rules for Prometheus and the dashboard for Grafana.

    Into the folder where this runs, or FOLDER. With --prometheus or --grafana
    alone and no folder, the file is printed. Needs no cluster.

    [bold]Example[/bold]
    $ outlive metrics export --to monitoring
    $ outlive metrics export --grafana > dashboard.json
    """
    from outlive.metrics.files import text, write

    wanted = [name for name, is_wanted in (("prometheus", prometheus), ("grafana", grafana)) if is_wanted]
    if len(wanted) == 1 and to is None and not as_json:
        typer.echo(text(wanted[0]), nl=False)
        return
    written = {name: str(write(name, to or Path())) for name in wanted or ("prometheus", "grafana")}
    if as_json:
        print_json(written)
    else:
        typer.echo("\n".join(map(printable, written.values())))
