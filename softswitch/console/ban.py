"""``softswitch ban``: addresses from which a running switch takes nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table

from softswitch.console.finding import config_argument, socket_of
from softswitch.control import ControlError, ask, open_control


@click.group()
def ban() -> None:
    """Addresses from which a running switch takes nothing."""


@ban.command("list")
@config_argument
@click.option("--json", "as_json", is_flag=True, help="A list of objects.")
def list_(config_path: Path | None, as_json: bool) -> None:
    """Which are banned, why, and for how long."""
    rows: list[dict[str, Any]] = []
    for piece in _asked(config_path, do="list"):
        rows += piece.get("bans", [])
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("nobody is banned")
        return
    table = Table()
    for name in ("address", "why"):
        table.add_column(name)
    for name in ("for", "left"):
        table.add_column(f"{name} (s)", justify="right")
    for row in rows:
        table.add_row(row["address"], row["why"], str(row["for"]), str(row["left"]))
    Console(highlight=False).print(table)


@ban.command()
@click.argument("address")
@config_argument
def lift(address: str, config_path: Path | None) -> None:
    """Take the ban of ADDRESS back; `all`: of all of them."""
    for piece in _asked(config_path, do="lift", address=address):
        click.echo(f"{piece['lifted']} lifted")


@ban.command()
@click.argument("address")
@config_argument
@click.option("--seconds", type=float, default=3600, show_default=True, help="For how long.")
def add(address: str, config_path: Path | None, seconds: float) -> None:
    """Ban ADDRESS. Not one of a trunk, or of a registered phone."""
    for piece in _asked(config_path, do="add", address=address, seconds=seconds):
        click.echo(f"{piece['banned']} is banned")


def _asked(config: Path | None, **arguments: object) -> list[dict[str, Any]]:
    """The answer; exit status 1 if the switch cannot be asked, or does not do it."""
    try:
        with open_control(socket_of(config)) as stream:
            return list(ask(stream, "ban", **arguments))
    except ControlError as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    click.echo(f"softswitch ban: {message}", err=True)
    sys.exit(1)
