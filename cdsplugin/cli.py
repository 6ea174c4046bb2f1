"""``cds``, the command of the call data servers: serving, live calls and records through the API,
and records and the cost report from the SQLite file."""

from __future__ import annotations

import csv
import json
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cdsplugin.accounts import GROUPS, Rates, RatesError, cost_report, read_rates
from cdsplugin.archive import ReadError, read_record, read_records, reading_records
from cdsplugin.client import Server, access, calls, note, record, records, set_properties, watch
from cdsplugin.link import keys

_DATABASE = click.argument("database", type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def main() -> None:
    """Call data servers: live calls and call detail records."""


main.add_command(keys)
for command in (calls, watch, note, set_properties):
    main.add_command(command)


@main.command()
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
def serve(config: Path) -> None:
    """Run a call data server without a switch, as CONFIG (YAML, a section `cds`) says.

    It manages the switches that `cds.switches` names, wherever they are. Installed plugins that
    take part in calls do so here too.
    """
    from cdsplugin.serve import ServeError, installed, read_config
    from cdsplugin.serve import serve as run
    from softswitch.plugins import PluginError, sections_of

    try:
        plugins = installed()
        found = read_config(config, sections_of(plugins))
    except (PluginError, ServeError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    sys.exit(run(found, plugins))


@main.command()
@click.argument("database", required=False)
@click.argument("call_id", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--before", metavar="CALLID", help="Only records older than this call's.")
@click.option("--since", metavar="DATE", help="Only calls from this day or time (UTC) on.")
@click.option("--until", metavar="DATE", help="Only calls before this day or time (UTC).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@access
def cdr(
    database: str | None,
    call_id: str | None,
    limit: int,
    before: str | None,
    since: str | None,
    until: str | None,
    as_json: bool,
    server: Server,
) -> None:
    """Show the newest records, or all that is known of the call CALLID.

    With DATABASE (an SQLite file) they are read from it, without it from the server at --url.
    """
    # One argument that is no file is a callID.
    path = Path(database) if database and _is_file(database) else None
    if path is None and database is not None:
        if call_id is not None:
            raise click.ClickException(f"there is no database {database}")
        call_id = database
    if path is None:
        if call_id is None:
            rows = records(server, limit, before, since, until)
            click.echo(json.dumps(rows, indent=2)) if as_json else _list(rows)
        else:
            told = record(server, call_id)
            click.echo(json.dumps(told, indent=2)) if as_json else _show(told)
        return
    try:
        with reading_records(path) as db:
            if call_id is None:
                rows = read_records(db, limit, before, None, since, until)
                click.echo(json.dumps(rows, indent=2)) if as_json else _list(rows)
                return
            found = read_record(db, call_id)
    except ReadError as error:
        raise click.ClickException(str(error)) from error
    if found is None:
        raise click.ClickException(f"{path} has no record of the call {call_id}")
    click.echo(json.dumps(found, indent=2)) if as_json else _show(found)


def _is_file(text: str) -> bool:
    return "/" in text or text.endswith((".db", ".sqlite", ".sqlite3")) or Path(text).exists()


@main.command()
@_DATABASE
@click.option(
    "--by",
    default="account",
    show_default=True,
    help=f"Group by these, separated by commas: {', '.join(GROUPS)}.",
)
@click.option(
    "--rates", "rate_file", type=click.Path(path_type=Path), help="Rate file (YAML) for the costs."
)
@click.option("--since", metavar="DATE", help="Only calls from this day or time (UTC) on.")
@click.option("--until", metavar="DATE", help="Only calls before this day or time (UTC).")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def report(
    database: Path,
    by: str,
    rate_file: Path | None,
    since: str | None,
    until: str | None,
    as_csv: bool,
) -> None:
    """The cost report of DATABASE: calls, answered calls, minutes and costs."""
    groups = [name.strip() for name in by.split(",") if name.strip()]
    rates: Rates | None = None
    try:
        rates = read_rates(rate_file) if rate_file is not None else None
        with reading_records(database) as db:
            lines = cost_report(db, groups, rates, since, until)
    except (ReadError, RatesError) as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--by") from error
    heads = [*groups, "calls", "answered", "minutes"]
    if rates is not None:
        heads.append(f"cost {rates.currency}".strip())
    rows = [
        [
            *line.group,
            str(line.calls),
            str(line.answered),
            str(line.minutes),
            *([str(_money(line.cost))] if rates is not None else []),
        ]
        for line in lines
    ]
    if as_csv:
        csv.writer(sys.stdout).writerows([heads, *rows])
        return
    table = Table(*heads)
    for column in table.columns[len(groups) :]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _money(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def _list(rows: list[dict[str, Any]]) -> None:
    heads = ("started_at", "caller", "dialled", "callee", "disposition", "billsec", "call_id")
    table = Table(*heads)
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in heads))
    # Not cut to a terminal's width: callIDs are there to be copied.
    Console(width=max(160, Console().width)).print(table)


def _show(found: dict[str, Any]) -> None:
    for name, value in found.items():
        if not isinstance(value, list) and value is not None:
            click.echo(f"{name:14} {value}")
    for leg in found["legs"]:
        click.echo(f"\nleg {leg['switch']}/{leg['leg']}")
        for name, value in leg.items():
            if value is not None and name not in ("switch", "leg"):
                click.echo(f"  {name:12} {value}")
    if found["properties"]:
        click.echo("\nproperties")
        for row in found["properties"]:
            click.echo(f"  {row['name']:20} {row['value']}")
    if found["logs"]:
        click.echo("\nlog")
        for row in found["logs"]:
            click.echo(f"  {row['logged_at']} {row['author']}: {row['text']}")
