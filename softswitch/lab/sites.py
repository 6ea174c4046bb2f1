"""The lab's two sites: their configurations, taken from ``dialplans`` and adapted to one run.

The files are used as they are but for three things: databases go into the run's own folder, paths
become absolute, and ports move when that is asked for.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from softswitch.lab.children import LabError
from softswitch.lab.ports import bind, free_port

NAMES = ("hq", "branch")
PORT = re.compile(r":(\d{2,5})(?!\d)")


@dataclass(frozen=True, slots=True)
class Phone:
    """An extension as a phone needs it."""

    number: str
    name: str
    password: str


@dataclass(frozen=True, slots=True)
class Site:
    """One switch with its server. ``sip`` and ``api`` are ``host:port``."""

    name: str
    config: Path
    listens: tuple[str, ...]
    sip: str
    api: str
    token: str
    database: Path
    phones: Mapping[str, Phone]


def example_folder(asked: Path | None = None) -> Path:
    """The folder with ``lab-hq.yaml`` and ``lab-branch.yaml``: the one asked for, else the
    checkout's ``dialplans``, else the copy that is installed with the package."""
    here = Path(__file__).resolve().parents[2] / "dialplans"
    installed = Path(sysconfig.get_path("data")) / "share" / "softswitch" / "dialplans"
    folders = [asked] if asked is not None else [here, installed]
    for folder in folders:
        if all((folder / f"lab-{name}.yaml").is_file() for name in NAMES):
            return folder
    looked = " or ".join(str(folder) for folder in folders)
    raise LabError(
        f"no lab-hq.yaml and lab-branch.yaml in {looked}; name the folder with --config-dir"
    )


def _listens(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Every ``transport:host:port`` that a configuration listens on."""
    listen = document["switch"]["listen"]
    cds = document["cds"]
    listens = [listen] if isinstance(listen, str) else listen
    return (*listens, cds["listen"], f"tcp:{cds['api']['listen']}")


def _port(listen: str) -> int:
    return int(listen.rpartition(":")[2])


def _moved(value: Any, ports: Mapping[int, int]) -> Any:
    """The value with every ``:PORT`` of the map replaced, however deep."""
    if isinstance(value, dict):
        return {key: _moved(item, ports) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, ports) for item in value]
    if isinstance(value, str):
        return PORT.sub(lambda m: f":{ports.get(int(m[1]), int(m[1]))}", value)
    return value


def check_ports(sites: Sequence[Site]) -> None:
    """LabError naming the first port in use."""
    for site in sites:
        for listen in site.listens:
            transport, host, port = listen.split(":")
            with ExitStack() as stack:
                try:
                    bind(stack, transport, host, int(port))
                except OSError as error:
                    raise LabError(
                        f"switch {site.name} cannot listen on {transport} port {port} of {host} "
                        f"({error.strerror}): end what uses it, or move all ports, "
                        f"for example with --base-port 15060"
                    ) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        _listens(document), document["cds"]["api"]["tokens"][0], document["extensions"]
    except (OSError, yaml.YAMLError) as error:
        raise LabError(f"{path}: {error}") from None
    except (KeyError, IndexError, TypeError):
        raise LabError(
            f"{path}: the lab needs switch.listen, extensions, cds.listen, cds.api.listen "
            f"and cds.api.tokens"
        ) from None
    return document


def prepare(folder: Path, data: Path, base_port: int | None) -> list[Site]:
    """Write both configurations into ``data``. Ports: as written; from ``base_port`` on, in the
    order in which they are first listened on; or any free ones if it is 0."""
    documents = {name: _read(folder / f"lab-{name}.yaml") for name in NAMES}
    written = [_port(listen) for name in NAMES for listen in _listens(documents[name])]
    distinct = list(dict.fromkeys(written))
    if base_port is None:
        new = distinct
    elif base_port:
        new = list(range(base_port, base_port + len(distinct)))
    else:
        new = [free_port() for _ in distinct]
    if new and max(new) > 65535:
        raise LabError(f"--base-port {base_port}: {max(new)} is more than 65535")
    ports = dict(zip(distinct, new, strict=True))
    return [_prepare_site(name, documents[name], folder, data, ports) for name in NAMES]


def _prepare_site(
    name: str, document: dict[str, Any], folder: Path, data: Path, ports: Mapping[int, int]
) -> Site:
    document = _moved(document, ports)
    database = data / f"{name}.db"
    document["dialplan"] = str((folder / document["dialplan"]).resolve())
    document["cds"]["database"] = str(database)
    config = data / f"lab-{name}.yaml"
    config.write_text(
        f"# Written by `softswitch lab` from {folder / config.name}\n"
        + yaml.safe_dump(document, sort_keys=False, allow_unicode=True),
        encoding="utf-8",
    )
    listens = _listens(document)
    return Site(
        name=document["switch"]["name"],
        config=config,
        listens=listens,
        sip=listens[0].partition(":")[2],
        api=document["cds"]["api"]["listen"],
        token=document["cds"]["api"]["tokens"][0],
        database=database,
        phones={
            str(number): Phone(str(number), said.get("name", ""), said["password"])
            for number, said in document["extensions"].items()
        },
    )
