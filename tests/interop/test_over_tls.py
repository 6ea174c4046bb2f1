"""Phones of three makes over TCP and TLS: registered, called, calling, with audio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from baresip_phone import Baresip
from linphone_phone import Linphone
from running_switch import DIALPLAN, Interop, require

from softswitch.lab.children import PhoneChild, SwitchChild
from softswitch.lab.ports import free_port
from tests.signed import Authority

CONFIG = """
switch:
  name: interop
  listen: [udp:127.0.0.1:{udp}, tcp:127.0.0.1:{udp}, tls:127.0.0.1:{tls}]
  tls: {{certificate: 127.0.0.1.cert.pem, key: 127.0.0.1.key.pem}}
  digest: [MD5]
extensions:
  "1001": {{name: Foreign, password: foreign-secret}}
  "1002": {{name: Ours, password: our-secret}}
trunks:
  proxy: {{to: "sip:127.0.0.1:1"}}
dialplan: dialplan.yaml
cds:
  listen: tcp:127.0.0.1:{link}
  database: interop.db
  linger: 1
"""


@contextmanager
def running(folder: Path) -> Iterator[tuple[Interop, dict[str, str], Path]]:
    """The switch, its addresses by transport, and the authority of its certificate."""
    authority = Authority(folder)
    authority.issue("127.0.0.1")
    (folder / "127.0.0.cert.pem").rename(folder / "127.0.0.1.cert.pem")
    (folder / "127.0.0.key.pem").rename(folder / "127.0.0.1.key.pem")
    udp, tls, link = (free_port() for _ in range(3))
    (folder / "interop.yaml").write_text(CONFIG.format(udp=udp, tls=tls, link=link))
    (folder / "dialplan.yaml").write_text(DIALPLAN)
    switch = SwitchChild("interop", folder / "interop.yaml")
    interop = Interop(f"127.0.0.1:{udp}", 0, folder / "interop.db", switch, [])
    at = {"udp": interop.sip, "tcp": interop.sip, "tls": f"127.0.0.1:{tls}"}
    try:
        switch.until_ready(20)
        yield interop, at, authority.path
    finally:
        for child in reversed(interop.children):
            child.stop()
        status = switch.stop()
    assert status == 0, switch.recently()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Interop, dict[str, str], Path]]:
    with running(tmp_path) as found:
        yield found


def ours(
    place: tuple[Interop, dict[str, str], Path], transport: str, user: str, *options: str
) -> PhoneChild:
    interop, at, authority = place
    secret = {"1001": "foreign-secret", "1002": "our-secret"}[user]
    more = ("--ca", str(authority)) if transport == "tls" else ()
    phone = PhoneChild(
        user,
        *("--registrar", at[transport], "--user", user, "--password", secret),
        *("--transport", transport, *more, *options),
    )
    interop.children.append(phone)
    phone.expect("registered", 10)
    return phone


Place = tuple[Interop, dict[str, str], Path]


@pytest.mark.parametrize(("caller", "callee"), [("tls", "tls"), ("tls", "udp"), ("tcp", "tls")])
def test_ours(place: Place, caller: str, callee: str) -> None:
    there = ours(place, callee, "1001", "--answer", "--tone", "700")
    here = ours(place, caller, "1002", "--tone", "440")
    here.send("call 1001")
    here.expect("answered", 10)
    here.expect_tone(700)
    there.expect_tone(440)
    there.send("hangup")
    here.expect("ended", by="remote")
    here.send("call 1001")
    here.expect("answered", 10)
    here.send("hangup")
    there.expect("ended", by="remote")
    assert [row["hangup_by"] for row in place[0].records(2)] == ["callee", "caller"]


def test_one_that_does_not_believe_us(place: Place, tmp_path: Path) -> None:
    interop, at, _ = place
    other = Authority(tmp_path, "other")
    phone = PhoneChild(
        "1001",
        *("--registrar", at["tls"], "--user", "1001", "--password", "foreign-secret"),
        *("--transport", "tls", "--ca", str(other.path)),
    )
    interop.children.append(phone)
    phone.expect("registration_failed", 10)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_baresip(place: Place, tmp_path: Path, wav: Path, transport: str) -> None:
    require("baresip", "baresip-core")
    interop, at, _ = place
    foreign = Baresip(
        tmp_path / "baresip",
        at[transport],
        "1001",
        "foreign-secret",
        wav,
        auto=True,
        transport=transport,
    )
    interop.children.append(foreign)
    foreign.until_registered()
    both_ways(place, transport, lambda: foreign.command("dial", "1002"))


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_linphone(place: Place, tmp_path: Path, wav: Path, transport: str) -> None:
    require("linphonec", "linphone-cli")
    interop, at, _ = place
    foreign = Linphone(
        tmp_path / "linphone", at[transport], "1001", "foreign-secret", wav, transport
    )
    interop.children.append(foreign)
    foreign.until_registered()
    foreign.send("autoanswer enable")

    def call() -> None:
        foreign.expect("ended")
        foreign.send("call 1002")

    both_ways(place, transport, call)


def both_ways(place: Place, transport: str, calls: Callable[[], None]) -> None:
    """The foreign phone is called, and calls."""
    here = ours(place, transport, "1002", "--answer", "--tone", "440")
    here.send("call 1001")
    here.expect("answered", 10)
    here.expect_tone(700)
    here.send("hangup")
    here.expect("ended", status=200)
    calls()
    here.expect("answered", 10)
    here.expect_tone(700)
    here.send("hangup")
    here.expect("ended")
    assert [row["disposition"] for row in place[0].records(2)] == ["answered", "answered"]
