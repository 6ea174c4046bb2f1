"""``cds``, the command of the call data servers: records and the cost report, from the SQLite
file."""

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

from cdsplugin import reading
from cdsplugin.keys import keys
from cdsplugin.report import GROUPS, Rates, RatesError, cost_report, read_rates

_DATABASE = click.argument("database", type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def main() -> None:
    """Call data servers: live calls and call detail records."""


main.add_command(keys)


@main.command()
@_DATABASE
@click.argument("call_id", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--before", metavar="CALLID", help="Only records older than this call's.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cdr(database: Path, call_id: str | None, limit: int, before: str | None, as_json: bool) -> None:
    """Show the newest records of DATABASE, or all that is known of the call CALLID."""
    try:
        with reading.reading(database) as db:
            if call_id is None:
                rows = reading.cdrs(db, limit, before)
                click.echo(json.dumps(rows, indent=2)) if as_json else _list(rows)
                return
            found = reading.cdr(db, call_id)
    except reading.ReadError as error:
        raise click.ClickException(str(error)) from error
    if found is None:
        raise click.ClickException(f"{database} has no record of the call {call_id}")
    click.echo(json.dumps(found, indent=2)) if as_json else _show(found)


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
        with reading.reading(database) as db:
            lines = cost_report(db, groups, rates, since, until)
    except (reading.ReadError, RatesError) as error:
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
