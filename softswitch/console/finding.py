"""Which control socket a command is to ask: by the switch's configuration, or the only one here.

The configuration is read for three keys alone: the switch that runs may go on by an older one while
the file has mistakes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from softswitch.config import as_written, read_yaml
from softswitch.configuration import control_path

VARIABLE = "SOFTSWITCH_CONFIG"

config_argument = click.argument(
    "config_path", metavar="[CONFIG]", type=click.Path(path_type=Path), required=False
)


def socket_of(config: Path | None) -> Path:
    """The socket of that switch's; without a configuration that of ``SOFTSWITCH_CONFIG``, else the
    only one in this folder. Raises click.ClickException."""
    if config is None and VARIABLE in os.environ:
        config = Path(os.environ[VARIABLE])
    if config is None:
        found = sorted(path for path in Path().glob("*.sock") if path.is_socket())
        if len(found) == 1:
            return found[0]
        what = "no switch's socket" if not found else f"{len(found)} switches' sockets"
        raise click.UsageError(f"there is {what} in this folder: say which CONFIG is meant")
    if config.is_socket():
        return config
    read = read_yaml(config)
    value: Any = read.value
    section = value.get("switch") if isinstance(value, dict) else None
    name = as_written(section.get("name")) if isinstance(section, dict) else None
    if not isinstance(section, dict) or not isinstance(name, str):
        first = str(read.mistakes[0]) if read.mistakes else f"{config}: there is no `switch.name`"
        raise click.ClickException(first)
    path = control_path(
        name, _file(section.get("journal")), _file(section.get("control")), config.parent
    )
    if path is None:
        raise click.ClickException(f"{config}: `switch.control` is off: there is nobody to ask")
    return path


def _file(value: object) -> Path | bool | None:
    return False if value is False else Path(value) if isinstance(value, str) else None
