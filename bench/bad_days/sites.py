"""The sites: ``hq``, ``branch`` and ``depot`` in a row, and ``desk``, a ``cds serve`` alone.

At each site there are phones that call and a carrier that takes calls, both played by SIPp. The
first digit of a number says at which site's carrier the call leaves: a call goes through one, two
or three switches, and belongs to the server where it began. Each server's records are in a folder
of their own, on a small disk of its own if this is root (a tmpfs of ``DISK`` MB).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.bad_days.relay import Relays, relays
from bench.sites import Site, Timing, server
from softswitch.lab.ports import HOST, free_port

ROW = ("hq", "branch", "depot")
DESK = "desk"
SERVERS = (*ROW, DESK)
DISK = 64
_CDS = str(Path(sys.executable).with_name("cds"))
TIMING = Timing(
    alive_interval=0.3,
    dead_after=1.5,
    reregister_within=120.0,
    linger=1.0,
    t1=0.1,
    interest=5.0,
    caretaker_within=1.5,
)
"""``reregister_within`` is longer than a round: nothing may be right only because it is over."""


@dataclass(frozen=True, slots=True)
class Sites:
    """``phones`` are the ports of SIPp's callers, by site."""

    by_name: dict[str, Site]
    relays: Relays
    phones: dict[str, int]

    def row(self) -> list[Site]:
        """Those with a switch."""
        return [self.by_name[name] for name in ROW]

    def all(self) -> list[Site]:
        """All with a server, that is all."""
        return [self.by_name[name] for name in SERVERS]


def way(origin: str, dialled: str) -> list[str]:
    """The switches through which a call goes, by the site where it begins and the number."""
    first, last = ROW.index(origin), int(dialled[0]) - 1
    return [ROW[at] for at in range(first, last, 1 if last > first else -1)] + [ROW[last]]


@contextmanager
def made(directory: Path, carriers: dict[str, int], timing: Timing = TIMING) -> Iterator[Sites]:
    """All of them, not started yet; ``carriers`` are the ports of SIPp's callees. What still runs
    when the block ends is stopped, and the disks are gone."""
    wires = [(near, far) for near in SERVERS for far in SERVERS if near != far]
    ports = iter([free_port() for _ in range(4 * len(SERVERS) + len(wires))])
    sip, phones, link, api = ({name: next(ports) for name in SERVERS} for _ in range(4))
    relay = {wire: next(ports) for wire in wires}
    with ExitStack() as stack:
        for name in SERVERS:
            _disk(stack, directory / name)
        joined = stack.enter_context(relays())
        by_name: dict[str, Site] = {}
        for name in SERVERS:
            peers = {far: f"tcp:{HOST}:{relay[name, far]}" for far in SERVERS if far != name}
            cds = server(f"tcp:{HOST}:{link[name]}", peers, f"{name}/records.db", api[name], timing)
            if name == DESK:
                config: dict[str, Any] = {"cds": {"server": name, **cds}}
                by_name[name] = Site(name, directory, config, command=(_CDS, "serve"))
            else:
                config = _switch(name, sip, phones[name], carriers[name], timing)
                config["cds"] = cds
                (directory / f"{name}.yaml").write_text(yaml.safe_dump(_routes(name)))
                by_name[name] = Site(name, directory, config, f"{HOST}:{sip[name]}")
            stack.callback(by_name[name].stop)
        for near, far in wires:
            joined.add(near, far, relay[near, far], link[far])
        yield Sites(by_name, joined, phones)


def _switch(
    name: str, sip: dict[str, int], phones: int, carrier: int, timing: Timing
) -> dict[str, Any]:
    at = ROW.index(name)
    trunks: dict[str, Any] = {
        ROW[other]: {"to": f"sip:{HOST}:{sip[ROW[other]]}", "switch": True, "keepalive": 0}
        for other in (at - 1, at + 1)
        if 0 <= other < len(ROW)
    }
    trunks[f"phones-{name}"] = {"to": f"sip:{HOST}:{phones}", "keepalive": 0}
    trunks[f"carrier-{name}"] = {"to": f"sip:{HOST}:{carrier}", "keepalive": 0}
    return {
        "switch": {"name": name, "site": f"site of {name}", "listen": [f"udp:{HOST}:{sip[name]}"]},
        "timers": {"drain_timeout": 0, "t1": timing.t1},
        "trunks": trunks,
        "dialplan": f"{name}.yaml",
        "media": {"mode": "bypass"},
    }


def _routes(name: str) -> dict[str, Any]:
    routes = []
    for digit, site in enumerate(ROW, 1):
        along = way(name, str(digit))
        trunk = f"carrier-{site}" if len(along) == 1 else along[1]
        routes.append({"match": f"{digit}XXX", "from": "any", "dial": f"trunk:{trunk}"})
    return {"routes": routes}


def small_disks() -> bool:
    """Whether each server's records are on a small disk, which can be filled up."""
    return os.geteuid() == 0


def _disk(stack: ExitStack, folder: Path) -> None:
    """A folder on a small disk of its own; on the disk that there is if this is not root."""
    folder.mkdir()
    if small_disks():
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "softswitch-faults", str(folder)]
        subprocess.run(mount, check=True)
        stack.callback(_gone, folder)


def _gone(folder: Path) -> None:
    # Lazily: also if somebody still has a file of it open.
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def databases(sites: Sequence[Site]) -> dict[str, list[Path]]:
    """Files with records, by server: that in use first, then those that were moved away, the
    newest first."""
    found = {}
    for site in sites:
        moved = sorted(site.database.parent.glob("moved-*.db"), reverse=True)
        found[site.name] = [path for path in (site.database, *moved) if path.exists()]
    return found
