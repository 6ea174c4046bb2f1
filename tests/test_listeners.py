"""Several addresses to listen at: peers are talked to by the one that they know. Real processes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from softswitch.lab.ports import free_port
from tests.switch_process import SDP, Peer, Running

CONFIG = """
switch: {{name: hq, listen: ["udp:127.0.0.1:{a}", "udp:127.0.0.2:{b}"], journal: hq.calls}}
extensions:
  "1001": {{password: s3cret}}
trunks:
  near: {{to: "sip:127.0.0.1:{near}", keepalive: 0}}
  far: {{to: "sip:127.0.0.1:{far}", keepalive: 0, listen: "udp:127.0.0.2:{b}"}}
dialplan: plan.yaml
"""
PLAN = """
routes:
  - {match: "1", from: any, dial: "trunk:far"}
  - {match: "1001", from: any, dial: "1001"}
"""


class Phone(Peer):
    """Answers where it is asked from."""

    def send(self, text: str, to: int) -> None:
        self.socket.sendto(text.encode(), self.switch)


class Site:
    """A switch with two addresses, `a` and `b`, and who is around it."""

    def __init__(self, folder: Path) -> None:
        self.a, self.b = free_port(), free_port()
        self.near, self.far, self.phone = Peer(), Peer(), Phone()
        self.config = folder / "hq.yaml"
        self.config.write_text(
            CONFIG.format(a=self.a, b=self.b, near=self.near.port, far=self.far.port)
        )
        (folder / "plan.yaml").write_text(PLAN)
        self.switch = Running(self.config)

    def restart(self) -> None:
        self.switch.kill()
        self.switch = Running(self.config)
        self.switch.until("ready on")

    def register(self) -> None:
        """The phone, at `b`."""
        phone, credentials = self.phone, ""
        for _ in range(2):
            phone.serial += 1
            phone.socket.sendto(
                (
                    f"REGISTER sip:127.0.0.2:{self.b} SIP/2.0\r\nVia: SIP/2.0/UDP "
                    f"127.0.0.1:{phone.port};branch=z9hG4bKr{phone.serial};rport\r\n"
                    "From: <sip:1001@127.0.0.2>;tag=r\r\nTo: <sip:1001@127.0.0.2>\r\n"
                    f"Call-ID: reg\r\nCSeq: {phone.serial} REGISTER\r\nMax-Forwards: 70\r\n"
                    f"Contact: <sip:1001@127.0.0.1:{phone.port}>\r\n{credentials}"
                    "Content-Length: 0\r\n\r\n"
                ).encode(),
                ("127.0.0.2", self.b),
            )
            answer = phone.get("SIP/2.0")
            if " 200 " in answer.splitlines()[0]:
                return
            match = re.search(r'Digest.*?realm="([^"]*)".*?nonce="([^"]*)"', answer)
            assert match is not None, answer
            realm, nonce = match.groups()
            uri = f"sip:127.0.0.2:{self.b}"
            mine = _md5(f"1001:{realm}:s3cret")
            response = _md5(f"{mine}:{nonce}:00000001:c:auth:{_md5(f'REGISTER:{uri}')}")
            credentials = (
                f'Authorization: Digest username="1001", realm="{realm}", nonce="{nonce}", '
                f'uri="{uri}", qop=auth, nc=00000001, cnonce="c", response="{response}", '
                "algorithm=MD5\r\n"
            )
        raise AssertionError(answer)

    def rings(self, number: str, callee: Peer) -> str:
        """Call it; returns the INVITE, which came from and names `b`."""
        self.near.send(invite(self.near, number, self.a), self.a)
        got = callee.get("INVITE")
        assert callee.switch == ("127.0.0.2", self.b)
        assert f"Via: SIP/2.0/UDP 127.0.0.2:{self.b};" in got
        assert re.search(rf"Contact: <sip:[^>]*127\.0\.0\.2:{self.b}[;>]", got)
        return got


def invite(peer: Peer, number: str, port: int) -> str:
    peer.serial += 1
    return (
        f"INVITE sip:{number}@127.0.0.1:{port} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:{peer.port};branch=z9hG4bK{peer.serial}i\r\n"
        f"From: <sip:a@127.0.0.1>;tag=t\r\nTo: <sip:{number}@127.0.0.1>\r\n"
        f"Call-ID: {peer.serial}@near\r\nCSeq: 1 INVITE\r\n"
        f"Contact: <sip:a@127.0.0.1:{peer.port}>\r\nMax-Forwards: 70\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n{SDP}"
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    try:
        site.switch.until("ready on")
        yield site
    finally:
        site.switch.kill()
        for peer in (site.near, site.far, site.phone):
            peer.socket.close()


def test_a_phone_is_called_from_where_it_registered(site: Site) -> None:
    """A NAT before it would let in nothing else."""
    site.register()
    site.phone.reply(site.rings("1001", site.phone), 486)
    site.near.get("SIP/2.0 486")
    site.restart()
    site.phone.reply(site.rings("1001", site.phone), 486)
    site.near.get("SIP/2.0 486")


def test_a_call_goes_on_by_the_same_address_after_a_restart(site: Site) -> None:
    site.register()
    got = site.rings("1001", site.phone)
    site.phone.reply(got, 200, SDP)
    answer = site.near.get("SIP/2.0 200")
    match = re.search(r"\r\nTo: [^\r]*(;tag=[^\r;]+)", answer)
    assert match is not None
    call_id = f"{site.near.serial}@near"
    site.near.request("ACK", site.a, match.group(1), call_id)
    site.phone.get("ACK")
    site.restart()
    site.near.request("BYE", site.a, match.group(1), call_id)
    bye = site.phone.get("BYE")
    assert site.phone.switch == ("127.0.0.2", site.b)
    assert f"Via: SIP/2.0/UDP 127.0.0.2:{site.b};" in bye


def test_a_trunk_with_an_address_of_its_own(site: Site) -> None:
    site.rings("1", site.far)
