"""``cds``, the command of the call data servers: serving, live calls and records through the API,
and records and the cost report from the SQLite file."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cdsplugin.accounts import (
    GROUPS,
    QUEUE_GROUPS,
    WITHIN,
    QueueLine,
    Rates,
    RatesError,
    Report,
    cost_report,
    queue_report,
    read_rates,
)
from cdsplugin.archive import ReadError, read_record, read_records, reading_records
from cdsplugin.client import Server, access, calls, note, record, records, set_properties, watch
from cdsplugin.data import cell, shown
from cdsplugin.link import keys
from cdsplugin.printed import print_record, print_records


@click.group()
def main() -> None:
    """Call data servers: live calls and call detail records."""


main.add_command(keys)
for command in (calls, watch, note, set_properties):
    main.add_command(command)


@main.command()
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What is said of what happens, whatever the configuration's `log:` says.",
)
@click.option("--verbose", "-v", is_flag=True, help="As --log-level debug.")
def serve(config: Path, log_level: str | None, verbose: bool) -> None:
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
    sys.exit(run(found, plugins, log_level="debug" if verbose else log_level))


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
            click.echo(json.dumps(rows, indent=2)) if as_json else print_records(rows)
        else:
            told = record(server, call_id)
            click.echo(json.dumps(told, indent=2)) if as_json else print_record(told)
        return
    try:
        with reading_records(path) as db:
            if call_id is None:
                rows = read_records(db, limit, before, None, since, until)
                click.echo(json.dumps(rows, indent=2)) if as_json else print_records(rows)
                return
            found = read_record(db, call_id)
    except ReadError as error:
        raise click.ClickException(str(error)) from error
    if found is None:
        raise click.ClickException(f"{path} has no record of the call {call_id}")
    click.echo(json.dumps(found, indent=2)) if as_json else print_record(found)


def _is_file(text: str) -> bool:
    return "/" in text or text.endswith((".db", ".sqlite", ".sqlite3")) or Path(text).exists()


@main.command()
@click.argument(
    "databases", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path)
)
@click.option(
    "--by",
    default="account",
    show_default=True,
    help=f"Group by these, separated by commas: {', '.join(GROUPS)}; or, for what became of "
    f"callers of queues, queue with {', '.join(QUEUE_GROUPS[1:])}.",
)
@click.option(
    "--rates", "rate_file", type=click.Path(path_type=Path), help="Rate file (YAML) for the costs."
)
@click.option("--since", metavar="DATE", help="Only calls from this day or time (UTC) on.")
@click.option("--until", metavar="DATE", help="Only calls before this day or time (UTC).")
@click.option(
    "--within",
    type=click.FloatRange(min=0),
    default=WITHIN,
    show_default=True,
    help="Of queues: seconds within which callers are to be answered (service level).",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report(
    databases: tuple[Path, ...],
    by: str,
    rate_file: Path | None,
    since: str | None,
    until: str | None,
    within: float,
    as_csv: bool,
    as_json: bool,
) -> None:
    """The cost report of one or more DATABASES: calls, answered calls, minutes and costs. By queue:
    callers that came, were answered, gave up, and how long they waited.

    A call that several of them have counts once.
    """
    groups = [name.strip() for name in by.split(",") if name.strip()]
    if "queue" in groups:
        if rate_file is not None:
            raise click.BadParameter("does not go with --by queue", param_hint="--rates")
        _report_queues(databases, groups, since, until, within, as_csv, as_json)
        return
    try:
        rates = read_rates(rate_file) if rate_file is not None else None
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(reading_records(path)) for path in databases]
            found = cost_report(opened, groups, rates, since, until)
    except (ReadError, RatesError) as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--by") from error
    if as_json:
        click.echo(json.dumps(_report_json(found, groups, rates), indent=2))
        return
    heads = [*groups, "calls", "answered", "minutes"]
    if rates is not None:
        heads += [f"cost {rates.currency}".strip(), "no rate"]
    rows = [
        [
            *line.group,
            str(line.calls),
            str(line.answered),
            str(line.minutes),
            *([str(_money(line.cost)), str(line.uncovered)] if rates is not None else []),
        ]
        for line in found.lines
    ]
    _print_rows(heads, rows, len(groups), as_csv)
    _say_uncovered(found)


def _print_rows(heads: list[str], rows: list[list[str]], texts: int, as_csv: bool) -> None:
    """As CSV or as a table; the first columns are texts."""
    if as_csv:
        csv.writer(sys.stdout).writerows(
            [heads, *([*map(cell, row[:texts]), *row[texts:]] for row in rows)]
        )
        return
    table = Table(*heads)
    for column in table.columns[texts:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    Console().print(table)


def _report_queues(
    databases: tuple[Path, ...],
    groups: list[str],
    since: str | None,
    until: str | None,
    within: float,
    as_csv: bool,
    as_json: bool,
) -> None:
    """What became of the callers of queues."""
    try:
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(reading_records(path)) for path in databases]
            lines = queue_report(opened, groups, since, until, within)
    except ReadError as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--by") from error
    if as_json:
        told = [_queue_json(line, groups) for line in lines]
        click.echo(json.dumps({"lines": told, "within": within}, indent=2))
        return
    heads = [*groups, "offered", "answered", "abandoned", "others", "average wait", "longest wait"]
    heads.append(f"% within {within:g} s")
    rows = [
        [
            *line.group,
            str(line.offered),
            str(line.answered),
            str(line.abandoned),
            str(line.offered - line.answered - line.abandoned),
            f"{line.average:.1f}",
            f"{line.longest:.1f}",
            f"{line.level:.1f}",
        ]
        for line in lines
    ]
    _print_rows(heads, rows, len(groups), as_csv)


def _queue_json(line: QueueLine, groups: list[str]) -> dict[str, Any]:
    """Waits are in seconds."""
    return {
        **dict(zip(groups, line.group, strict=True)),
        "offered": line.offered,
        "answered": line.answered,
        "abandoned": line.abandoned,
        "outcomes": line.outcomes,
        "average_wait": round(line.average, 1),
        "longest_wait": round(line.longest, 1),
        "service_level": round(line.level, 1),
    }


def _say_uncovered(found: Report) -> None:
    """Which calls cost something that nobody has said."""
    if not found.uncovered:
        return
    most = sorted(found.uncovered.items(), key=lambda one: (-one[1], one[0]))
    calls = sum(found.uncovered.values())
    click.echo(f"{calls} calls by carriers have no rate, and cost nothing above:", err=True)
    for (switch, trunk, number), count in most[:_NAMED]:
        click.echo(shown(f"  {count} to {number} by trunk {trunk} of {switch}"), err=True)
    if len(most) > _NAMED:
        click.echo(f"  and to {len(most) - _NAMED} other numbers", err=True)


_NAMED = 20
"""Numbers without a rate that are named."""


def _report_json(found: Report, groups: list[str], rates: Rates | None) -> dict[str, Any]:
    """Amounts are texts: a JSON number would be rounded."""
    lines = []
    for line in found.lines:
        told: dict[str, Any] = dict(zip(groups, line.group, strict=True))
        told |= {"calls": line.calls, "answered": line.answered, "seconds": str(line.seconds)}
        told["minutes"] = str(line.minutes)
        if rates is not None:
            told |= {"cost": str(_money(line.cost)), "uncovered": line.uncovered}
        lines.append(told)
    report: dict[str, Any] = {"lines": lines}
    if rates is not None:
        report["currency"] = rates.currency
        report["uncovered"] = [
            {"switch": switch, "trunk": trunk, "number": number, "calls": count}
            for (switch, trunk, number), count in sorted(found.uncovered.items())
        ]
    return report


def _money(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
