"""Phones in a browser over WSS: registered, calling each other, and a desk phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import browser_phone
import pytest
from browser_phone import Browser, BrowserPhone
from running_switch import Interop

from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port
from tests.signed import Authority

CONFIG = """
switch:
  name: interop
  listen: [udp:127.0.0.1:{udp}, wss:127.0.0.1:{wss}]
  tls: {{certificate: pbx.cert.pem, key: pbx.key.pem}}
extensions:
  "1001": {{name: One, password: one-secret}}
  "1002": {{name: Two, password: our-secret}}
  "1003": {{name: Three, password: three-secret}}
dialplan: dialplan.yaml
cds:
  listen: tcp:127.0.0.1:{link}
  database: interop.db
  linger: 1
"""


PLAN = 'routes: [{match: "1XXX", from: any, dial: extension, timeout: 20}]\n'


class Place:
    """A switch, and a browser."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        authority.issue("127.0.0.1", file="pbx")
        udp, self.wss, link = (free_port() for _ in range(3))
        (folder / "interop.yaml").write_text(CONFIG.format(udp=udp, wss=self.wss, link=link))
        (folder / "dialplan.yaml").write_text(PLAN)
        self.switch = SwitchChild("interop", folder / "interop.yaml")
        self.interop = Interop(f"127.0.0.1:{udp}", 0, folder / "interop.db", self.switch, [])
        self.browser = Browser(folder)

    def page(self, number: str, secret: str, answers: bool = False) -> BrowserPhone:
        socket = f"wss://127.0.0.1:{self.wss}"
        phone = self.browser.phone(number, secret, socket, f"127.0.0.1:{self.wss}", answers)
        phone.expect("registered", 40)
        return phone

    def close(self) -> None:
        self.browser.close()
        for child in reversed(self.interop.children):
            child.stop()
        self.switch.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    browser_phone.require()
    place = Place(tmp_path_factory.mktemp("browser"))
    try:
        place.switch.until_ready(20)
        yield place
    finally:
        place.close()


def test_two_pages(place: Place) -> None:
    """They hear each other from page to page, encrypted; the switch has none of it."""
    one = place.page("1001", "one-secret")
    three = place.page("1003", "three-secret")
    one.send("call 1003")
    assert three.expect("incoming")["from"] == "1001"
    one.expect("ringing")
    three.send("answer")
    # Its media may be there before the page has said that it is answered.
    one.expect("media", state="connected", keep=True)
    one.expect("answered")
    three.expect("media", state="connected")
    one.send("hold")
    three.expect("hold", by="remote")
    one.send("unhold")
    three.expect("unhold", by="remote")
    three.send("hangup")
    one.expect("ended", by="remote")
    # The other way round, given up while it rings, and written to.
    three.send("call 1001")
    one.expect("incoming")
    three.expect("ringing")
    three.send("hangup")
    one.expect("failed", cause="Canceled")
    one.send("message 1003")
    assert three.expect("message")["text"] == "from a page"
    records = place.interop.records(2)
    assert [row["disposition"] for row in records] == ["answered", "cancelled"]
    assert records[0]["hangup_by"] == "callee"
    # And a desk phone: they have no encryption in common, which each is told.
    desk = place.interop.phone("--answer")
    one.send("call 1002")
    assert one.expect("failed")["cause"] in ("Incompatible SDP", "SIP Failure Code", "Not Found")
    desk.send("call 1001")
    one.expect("incoming")
    one.send("answer")
    assert desk.expect("ended", 20)["status"] == 488
