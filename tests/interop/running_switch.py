"""One switch with its server, two extensions and a trunk, for phones and proxies of others."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from softswitch.lab.children import Child, LabError, PhoneChild, SwitchChild
from softswitch.lab.ports import free_port
from softswitch.lab.watch import rows

CONFIG = """
switch:
  name: interop
  listen: [udp:127.0.0.1:{sip}, tcp:127.0.0.1:{sip}]
  digest: [{digest}]
extensions:
  "1001": {{name: Foreign, password: foreign-secret}}
  "1002": {{name: Ours, password: our-secret}}
trunks:
  proxy: {{to: "sip:127.0.0.1:{proxy}"{account}}}
dialplan: dialplan.yaml
media: {{mode: bypass}}
cds:
  listen: tcp:127.0.0.1:{link}
  database: interop.db
  linger: 1
  api: {{listen: "127.0.0.1:{api}", tokens: [interop-token-0123456789]}}
"""

DIALPLAN = """
routes:
  - {match: "1XXX", from: any, dial: extension, timeout: 20}
  - {match: "8XXX", dial: trunk:proxy}
"""


def require(program: str, package: str) -> None:
    """A check that did not run is a failure, with what to do about it."""
    if shutil.which(program) is None:
        pytest.fail(f"{program} is not there: apt-get install --no-install-recommends {package}")


@dataclass(slots=True)
class Interop:
    """The running switch. ``phone`` starts one of our phones, registered as 1002."""

    sip: str
    proxy_port: int
    database: Path
    switch: SwitchChild
    children: list[Child]

    def phone(self, *options: str) -> PhoneChild:
        phone = PhoneChild(
            "1002",
            *("--registrar", self.sip, "--user", "1002", "--password", "our-secret", *options),
        )
        self.children.append(phone)
        phone.expect("registered")
        return phone

    def records(self, count: int) -> list[dict[str, Any]]:
        """All records, oldest first, once there are so many. LabError if that takes long."""
        deadline = time.monotonic() + 5
        while len(found := rows(self.database)) < count and time.monotonic() < deadline:
            self.switch.check()
            time.sleep(0.05)
        if len(found) != count:
            raise LabError(f"{len(found)} records instead of {count}: {found}")
        return sorted(found, key=lambda row: str(row["started_at"]))

    def dispositions(self, count: int) -> list[str]:
        return [str(row["disposition"]) for row in self.records(count)]


@contextmanager
def running(folder: Path, digest: str, account: str = "") -> Iterator[Interop]:
    """The switch, with its files in ``folder``; it must end cleanly. ``account`` are more keys of
    the trunk."""
    sip, proxy, link, api = (free_port() for _ in range(4))
    config = folder / "interop.yaml"
    config.write_text(
        CONFIG.format(sip=sip, proxy=proxy, link=link, api=api, digest=digest, account=account)
    )
    (folder / "dialplan.yaml").write_text(DIALPLAN)
    switch = SwitchChild("interop", config)
    interop = Interop(f"127.0.0.1:{sip}", proxy, folder / "interop.db", switch, [])
    try:
        switch.until_ready(20)
        yield interop
    finally:
        for child in reversed(interop.children):
            child.stop()
        status = switch.stop()
    assert status == 0, switch.recently()
