"""``softswitch status``: what a running switch does just now, as tables or JSON."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console, Group
from rich.live import Live

from softswitch.console.finding import config_argument, socket_of
from softswitch.console.tables import overview
from softswitch.control import ROWS, ControlError, ask, open_control, put_together

EVERY = 1.0
"""Seconds between two looks of ``--watch``."""
PLAIN_WIDTH = 140  # of tables where there is no terminal to ask
_AROUND = 24  # lines of a terminal that are not rows of calls or registrations


@click.command()
@config_argument
@click.option("--json", "as_json", is_flag=True, help="One JSON object; with --watch one a second.")
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C.")
@click.option(
    "--rows",
    type=click.IntRange(min=0),
    default=ROWS,
    show_default=True,
    help="Calls, and registrations, to show at most.",
)
@click.option("--section", "sections", multiple=True, help="Only this; may be said several times.")
def status(
    config_path: Path | None, as_json: bool, watch: bool, rows: int, sections: tuple[str, ...]
) -> None:
    """Calls, phones, trunks and counters of a running switch.

    CONFIG is the switch's configuration; without it SOFTSWITCH_CONFIG says which, or the only
    socket (NAME.sock) in this folder is asked. Exit status 1 if the switch cannot be asked.
    """
    path = socket_of(config_path)
    try:
        with open_control(path) as stream:
            if watch:
                _watch(stream, as_json, rows, list(sections) or None)
                return
            told = look(stream, rows, list(sections) or None)
    except ControlError as error:
        click.echo(f"softswitch status: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        return
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    console.print(overview(told))


def look(stream: IO[bytes], rows: int, sections: list[str] | None) -> dict[str, Any]:
    """All sections of one answer, put together. Raises `ControlError`."""
    wanted = {} if sections is None else {"sections": sections}
    told: dict[str, Any] = {}
    for piece in ask(stream, "status", rows=rows, **wanted):
        put_together(told, piece)
    return told


def _watch(stream: IO[bytes], as_json: bool, rows: int, sections: list[str] | None) -> None:
    if as_json:
        while True:
            click.echo(json.dumps(look(stream, rows, sections), separators=(",", ":")))
            time.sleep(EVERY)
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    with Live(Group(), console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            # No more than a terminal can show.
            fits = max(5, (shutil.get_terminal_size().lines - _AROUND) // 2)
            live.update(overview(look(stream, min(rows, fits), sections)), refresh=True)
            time.sleep(EVERY)
