"""The command ``softswitch``: run a switch, check its configuration, ask where a number goes.

Everything that takes long to import is imported by the command that needs it.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from softswitch import compiled
from softswitch.memory import prefer_system_malloc

if TYPE_CHECKING:
    import pluggy
    from pydantic import BaseModel

    from softswitch.configuration import Config
    from softswitch.dialplan import Source

# Name, module that holds the click command, its name there, and its line in the help.
ELSEWHERE = {
    "init": ("softswitch.beginning", "command", "Write a configuration to begin with."),
    "lab": (
        "softswitch.lab",
        "command",
        "Run two switches, their servers, and a call through both.",
    ),
    "phone": ("softswitch.phone", "command", "A headless softphone: register, call, play, record."),
    "ban": ("softswitch.console", "ban", "Addresses from which a running switch takes nothing."),
    "status": ("softswitch.console", "status", "What a running switch does just now."),
    "trace": ("softswitch.console", "trace", "The messages of a call, as a ladder or a capture."),
}


class Commands(click.Group):
    """A group of which some commands are imported only when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, sorted."""
        return sorted([*super().list_commands(ctx), *ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported if it lives elsewhere."""
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = ELSEWHERE[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands for ``--help``, without importing those that live elsewhere."""
        rows = []
        for name in self.list_commands(ctx):
            if name in ELSEWHERE:
                rows.append((name, ELSEWHERE[name][2]))
            elif command := super().get_command(ctx, name):
                rows.append((name, command.get_short_help_str(limit=70)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


config_argument = click.argument(
    "config_path", metavar="CONFIG", type=click.Path(path_type=Path), required=True
)


@click.group(cls=Commands)
@click.version_option(
    package_name="softswitch", message=f"%(prog)s, version %(version)s, {compiled.state()}"
)
def main() -> None:
    """A SIP softswitch with call data servers."""


@main.command()
@click.argument("config_path", metavar="CONFIG", type=click.Path(path_type=Path), required=False)
@click.option(
    "--schema",
    type=click.Choice(["config", "dialplan"]),
    help="Print the JSON Schema of configurations or of dialplans, for editors.",
)
def check(config_path: Path | None, schema: str | None) -> None:
    """Check a configuration and its dialplan; list all mistakes of both."""
    if schema:
        click.echo(json.dumps(_schema(schema), indent=2))
        return
    if config_path is None:
        raise click.UsageError("Missing argument 'CONFIG'.")
    config = _load(config_path, _plugins())
    routes, extensions, trunks = len(config.dialplan.routes), config.extensions, config.trunks
    click.echo(
        f"{config_path}: OK: switch {config.switch.name}, {_count(len(extensions), 'extension')}, "
        f"{_count(len(trunks), 'trunk')}, {_count(routes, 'route')}"
    )


@main.command()
@config_argument
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What is said of what happens, whatever the configuration's `log:` says.",
)
@click.option("--verbose", "-v", is_flag=True, help="As --log-level debug.")
@click.option("--trace-sip", is_flag=True, help="Write whole SIP messages, without secrets.")
def run(config_path: Path, log_level: str | None, verbose: bool, trace_sip: bool) -> None:
    """Run a switch until it is told to stop (SIGTERM or Ctrl-C)."""
    if sys.argv[1:2] == ["run"]:
        prefer_system_malloc()
    plugins = _plugins()
    config = _load(config_path, plugins)
    from softswitch.process import run as run_switch

    level = "debug" if verbose else log_level
    sys.exit(run_switch(config, plugins, log_level=level, trace_sip=trace_sip))


@main.command()
@config_argument
@click.argument("extension")
@click.password_option(help="Asked for, if not given here.")
def passwd(config_path: Path, extension: str, password: str) -> None:
    """Say what stands in a configuration in place of an extension's password."""
    from softswitch.config import as_written, read_yaml
    from softswitch.sip import hashes

    # The file may not be right yet: of it is needed who the switch is alone.
    value = read_yaml(config_path).value
    section = value.get("switch") if isinstance(value, dict) else None
    name = as_written(section.get("name")) if isinstance(section, dict) else None
    if not isinstance(name, str):
        _fail(f"{config_path}: there is no `switch.name`, which is in the hash")
    listed = ", ".join(f"{key}: {text}" for key, text in hashes(extension, name, password).items())
    click.echo(f'  "{extension}": {{ha1: {{{listed}}}}}')


@main.group()
def dialplan() -> None:
    """Questions to a dialplan."""


@dialplan.command("test")
@config_argument
@click.argument("number")
@click.option(
    "--from",
    "caller",
    required=True,
    metavar="X",
    help="Who calls: an extension's number, or trunk:NAME.",
)
@click.option(
    "--at",
    "when",
    metavar="TIME",
    help='When: "2026-12-24 18:30", by the clock of the switch\'s time zone. Now, if not said.',
)
@click.option(
    "--digits",
    metavar="KEYS",
    help="Walk through menus: keys that the caller presses, such as 2,1; a comma is a pause, and "
    "- is who presses nothing.",
)
def dialplan_test(
    config_path: Path, number: str, caller: str, when: str | None, digits: str | None
) -> None:
    """Say which route a call from X to NUMBER takes, and why. Exit status 1 if none, or if there
    are too few or too many digits for its menus."""
    from softswitch.dialplan import Walk, keys_of, menus_told

    config = _load(config_path, _plugins())
    source = _source(config, caller)
    try:
        keys = None if digits is None else keys_of(digits)
    except ValueError as error:
        _fail(f"--digits: {error}")
    # One time for both, whatever the clock does meanwhile.
    at = time.time() if when is None else _time(when, config.switch.time_zone)
    route = config.dialplan.route(number, source, at)
    for told in config.dialplan.explain(number, source, at):
        click.echo(
            f"{told.where}: `{told.match}` {'taken' if told.taken else 'not taken'}: {told.reason}"
        )
    if route is None:
        click.echo(f"{number} from {source}: no route; the caller gets 404 Not Found")
        sys.exit(1)
    click.echo(f"{number} from {source}: `{route.match}` at {route.where}, number {route.number}")
    stages, mistake = route.action.stages, ""
    if keys is None:
        told_of_it = [*route.action.told(), *menus_told(config.dialplan, route.action)]
    else:
        limits = config.limits
        walk = Walk(config.dialplan, source, at, limits.max_redirects, limits.max_transfers)
        walked = walk.walk(route.action, keys)
        told_of_it, stages, mistake = [*walked.lines], walked.stages, walked.mistake
    for line in (*told_of_it, *route.told()):
        click.echo(f"  {line}")
    for name, value in route.properties.items():
        click.echo(f"  property {name} = {value}")
    for name, value in route.once.items():
        click.echo(f"  property {name} = {value}, if the call has none of that name yet")
    if not route.emergency:
        targets = [target for stage in stages for target in stage.targets]
        for rule in config.toll.values():
            for target in targets:
                trunk = config.trunks.get(target.name) if target.kind == "trunk" else None
                if trunk is None or trunk.switch:
                    continue
                if rule.concerns(str(source), target.name, [target.number]):
                    click.echo(f"  limited by toll {rule.name} at {target}: {rule}")
    if mistake:
        click.echo(mistake, err=True)
        sys.exit(1)


def _time(text: str, zone: str | None) -> float:
    """Seconds since 1970 of a time by a place's clock (None: this machine's)."""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None and zone is not None:
            found = found.replace(tzinfo=ZoneInfo(zone))
        at = found.timestamp()
        again = datetime.fromtimestamp(at, found.tzinfo)
    except (ValueError, OverflowError):
        _fail(f'--at: found `{text}`, expected a time such as "2026-12-24 18:30"')
    if again != found:
        _fail(f"--at: {text} never comes: the clock is put forward over it")
    return at


def _source(config: Config, caller: str) -> Source:
    from softswitch.config import did_you_mean
    from softswitch.dialplan import Source

    name = caller.removeprefix("trunk:")
    if name != caller:
        if name in config.trunks:
            return Source("trunk", name, config.trunks[name].switch)
        _fail(f"--from: there is no trunk `{name}`{did_you_mean(name, config.trunks)}")
    name = caller.removeprefix("extension:")
    if name not in config.extensions:
        hint = f": did you mean `trunk:{name}`?" if name in config.trunks else ""
        hint = hint or did_you_mean(name, config.extensions)
        _fail(f"--from: there is no extension `{name}`{hint}")
    return Source("extension", name)


def _schema(kind: str) -> dict[str, object]:
    from softswitch.config import SectionTaken
    from softswitch.configuration import config_model
    from softswitch.dialplan import DialplanModel

    try:
        model = DialplanModel if kind == "dialplan" else config_model(_sections(_plugins()))
    except SectionTaken as error:
        _fail(str(error))
    schema = model.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _plugins() -> pluggy.PluginManager:
    from softswitch.hookspecs import make_plugins
    from softswitch.plugins import PluginError, load_installed

    plugins = make_plugins()
    try:
        load_installed(plugins)
    except PluginError as error:
        _fail(str(error))
    return plugins


def _sections(plugins: pluggy.PluginManager) -> dict[str, type[BaseModel]]:
    from softswitch.plugins import PluginError, sections_of

    try:
        return sections_of(plugins)
    except PluginError as error:
        _fail(str(error))


def _load(path: Path, plugins: pluggy.PluginManager) -> Config:
    """The configuration; its warnings are shown. Mistakes are listed, then exit status 2."""
    from softswitch.config import ConfigErrors, SectionTaken
    from softswitch.configuration import load_config

    try:
        config = load_config(path, _sections(plugins))
    except ConfigErrors as errors:
        for mistake in errors.mistakes:
            click.echo(str(mistake), err=True)
        click.echo(f"{_count(len(errors.mistakes), 'mistake')}; nothing was started", err=True)
        sys.exit(2)
    except SectionTaken as error:
        _fail(str(error))
    for warning in config.warnings:
        click.echo(
            f"{warning.file}:{warning.line}:{warning.column}: warning: {warning.message}", err=True
        )
    return config


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
