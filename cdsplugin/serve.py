"""``cds serve``: a call data server without a switch, which manages those of sites without one.

From the source: "a server is not required for each site (...) the first and second switches of the
second site can be managed by a TMS instance running on, for example, the first server".
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import uvloop
from pydantic import Field

from cdsplugin.config import CdsSection
from cdsplugin.running import Running
from cdsplugin.server import StartError
from softswitch.config import Section, check_model, read_yaml, resolve_paths


class ServeFile(Section):
    """The configuration of a server without a switch: the section ``cds`` alone."""

    cds: CdsSection = Field(description="the call data server")


class ServeError(Exception):
    """The file cannot be used. The text has a line for each mistake."""


def read_config(path: Path) -> CdsSection:
    """Read and check a file; relative paths in it are relative to it. Raises ``ServeError``."""
    read = read_yaml(path)
    model = None
    if not read.mistakes or read.value is not None:
        model = check_model(ServeFile, read)
        if model is not None:
            if model.cds.server is None:
                read.at(("cds",), "missing key `server`: this server's name, unique in the network")
            if model.cds.server_at is not None:
                read.at(("cds", "server_at"), "a server has no server elsewhere")
    if read.mistakes or model is None:
        raise ServeError("\n".join(str(mistake) for mistake in sorted(read.mistakes)))
    section = resolve_paths(model.cds, path.parent)
    assert isinstance(section, CdsSection)
    return section


def serve(section: CdsSection) -> int:
    """Run a server until SIGTERM or Ctrl-C; returns the exit status."""
    logging.basicConfig(
        level=os.environ.get("CDS_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(section))


async def _serve(section: CdsSection) -> int:
    assert section.server is not None
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    running = Running(section.server, section, loop.call_soon)
    try:
        await running.start()
    except StartError as error:
        print(f"cds {section.server}: {error}", file=sys.stderr)
        return 1
    server = running.server
    api = f", API on port {running.api_port}" if running.api_port is not None else ""
    at = "tcp:{}:{}".format(*server.link.address()) if section.listen is not None else "no address"
    print(f"cds {server.name} ready on {at}{api}", file=sys.stderr, flush=True)
    await over.wait()
    await running.stop()
    print(f"cds {server.name} stopped", file=sys.stderr, flush=True)
    return 0
