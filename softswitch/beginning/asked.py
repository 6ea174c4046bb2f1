"""``softswitch init``: asks, writes a configuration and a dialplan, checks them, says what next."""

from __future__ import annotations

import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

import click

from softswitch.beginning import answers as reading
from softswitch.beginning.answers import Answers, Carrier
from softswitch.beginning.written import configuration, plan, write
from softswitch.config import ConfigErrors
from softswitch.configuration import load_config
from softswitch.hookspecs import make_plugins
from softswitch.plugins import load_installed, sections_of
from softswitch.sip import host_port

_Answer = TypeVar("_Answer")
_NONE = ("", "none", "no", "off", "-")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("switch.yaml"))
@click.option("--yes", is_flag=True, help="Ask nothing: what is not said here is as proposed.")
@click.option("--force", is_flag=True, help="With --yes: write over files that are there.")
@click.option("--name", help="The switch's name.")
@click.option("--site", help="Where it stands.")
@click.option("--listen", metavar="ADDRESS[:PORT]", help="Where phones and carriers reach it.")
@click.option("--extensions", metavar="NUMBERS", help="Such as 1001-1010,2000.")
@click.option("--trunk", metavar="HOST[:PORT]", help="The carrier; none: no trunk.")
@click.option("--trunk-user", help="The name that the carrier has given you, if any.")
@click.option("--trunk-password", help="And its password.")
@click.option("--records/--no-records", default=None, help="A record for each call (cds).")
@click.option("--api", metavar="ADDRESS:PORT", help="HTTP for programs; none: no API.")
def command(
    file: Path,
    yes: bool,
    force: bool,
    name: str | None,
    site: str | None,
    listen: str | None,
    extensions: str | None,
    trunk: str | None,
    trunk_user: str | None,
    trunk_password: str | None,
    records: bool | None,
    api: str | None,
) -> None:
    """Write a configuration to begin with, and its dialplan.

    FILE is the configuration, switch.yaml if not said; the dialplan lies beside it. Passwords are
    made here. Files that are there are not written over unasked.
    """
    dialplan = file.with_name(f"{file.stem}-dialplan.yaml")
    _may_write(file, dialplan, yes, force)

    def ask(
        question: str, given: str | None, proposed: str, read: Callable[[str], _Answer]
    ) -> _Answer:
        text = given
        while True:
            if text is None:
                text = proposed if yes else click.prompt(question, default=proposed)
            try:
                return read(text)
            except ValueError as error:
                if yes or given is not None:
                    raise click.UsageError(f"{question}: {error}") from error
                click.echo(f"  {error}")
                text = None

    own = reading.own_addresses()
    if listen is None and not yes and len(own) > 1:
        click.echo(f"This machine's addresses: {', '.join(own)}; 0.0.0.0 is all of them.")
    called = ask("Name of the switch", name, reading.own_name(), reading.read_name)
    stands = ask("Where it stands", site, "", lambda text: text.strip())
    at = ask("Address where phones reach it", listen, host_port(own[0], 5060), reading.read_address)
    numbers = ask("Extensions", extensions, "1001-1003", reading.read_extensions)
    host = ask("Carrier (name or address; none)", trunk, "none", _or_none(reading.read_carrier))
    carrier = None
    if host is not None:
        user = ask("Your user name there (none: by address)", trunk_user, "none", _or_none(str))
        secret = ""
        if user is not None:
            secret = trunk_password or (
                "" if yes else click.prompt("Its password", hide_input=True, default="")
            )
            if not secret:
                raise click.UsageError("a user name at a carrier takes a password too")
        carrier = Carrier("carrier", host, user or "", secret)
    kept = records
    if kept is None:
        kept = True if yes else click.confirm("A record for each call (SQLite)?", default=True)
    web = None
    if kept:
        web = ask("HTTP for programs (none)", api, "none", _or_none(reading.read_address))
    elif api is not None and api.lower() not in _NONE:
        raise click.UsageError("--api is of the call data server: not with --no-records")
    made = Answers(
        called,
        stands,
        at,
        {number: reading.password() for number in numbers},
        carrier,
        kept,
        web,
        reading.password() + reading.password(),
    )
    try:
        write(dialplan, plan(made), 0o640)
        write(file, configuration(made, dialplan.name), 0o600)
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    _check(file)
    _say_next(file, dialplan, made)


def _or_none(read: Callable[[str], _Answer]) -> Callable[[str], _Answer | None]:
    return lambda text: None if text.strip().lower() in _NONE else read(text)


def _may_write(file: Path, dialplan: Path, yes: bool, force: bool) -> None:
    there = [str(path) for path in (file, dialplan) if path.exists() or path.is_symlink()]
    if not there or force:
        return
    what = " and ".join(there)
    if yes:
        raise click.ClickException(f"{what}: there already; --force writes over")
    if not click.confirm(f"Write over {what}?", default=False):
        raise click.Abort


def _check(file: Path) -> None:
    """As `softswitch check` would: an answer that fits by itself may not fit the others."""
    plugins = make_plugins()
    load_installed(plugins)
    try:
        config = load_config(file, sections_of(plugins))
    except ConfigErrors as errors:
        for mistake in errors.mistakes:
            click.echo(str(mistake), err=True)
        click.echo("written all the same: mend it there, then softswitch check", err=True)
        sys.exit(2)
    for warning in config.warnings:
        click.echo(f"{warning.file}:{warning.line}: warning: {warning.message}", err=True)


def _reached(listen: tuple[str, int]) -> tuple[str, int]:
    """What others reach this machine by, where it listens to all that come."""
    host, port = listen
    if not ip_address(host).is_unspecified:
        return listen
    six = ":" in host
    own = [one for one in reading.own_addresses() if (":" in one) == six]
    return (own[0] if own else "::1"), port


def _say_next(file: Path, dialplan: Path, made: Answers) -> None:
    first = next(iter(made.extensions))
    server = host_port(*_reached(made.listen))
    click.echo(f"{file} (mode 0600, it has passwords) and {dialplan} are written.\n")
    click.echo(f"  softswitch check {file}        # after each change")
    click.echo(f"  softswitch run {file}          # until Ctrl-C; as a service: docs/service.md")
    click.echo(f"  softswitch status {file}       # what it does, while it runs")
    click.echo(f"\nA phone registers at {server} with its number as user name, and the password")
    click.echo(f"from {file}. One without a desk:\n")
    click.echo(f"  softswitch phone --registrar {server} --user {first} \\")
    click.echo("      --password PASSWORD --answer")
    if made.api is not None:
        click.echo(
            f"\nThe API: http://{host_port(*_reached(made.api))}/docs, with the token from {file}."
        )
