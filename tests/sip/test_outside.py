"""A switch behind a NAT: who knows it by which address."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest

from softswitch.sip import Outside, Transport


@pytest.mark.parametrize(
    ("peer", "public"),
    [
        ("192.0.2.9", "203.0.113.5"),
        ("10.0.0.9", ""),
        ("192.168.1.9", ""),
        ("172.20.0.9", ""),
        ("100.64.0.9", ""),
        ("127.0.0.1", ""),
        ("169.254.1.1", ""),
        ("198.51.100.9", ""),
        ("2001:db8::9", ""),
        ("fd00::9", ""),
    ],
)
def test_who_is_outside(peer: str, public: str) -> None:
    assert Outside("203.0.113.5", [ip_network("198.51.100.0/24")])(peer) == public


def test_a_name_is_for_both_kinds() -> None:
    outside = Outside("pbx.example.com")
    assert outside("192.0.2.9") == outside("2001:db8::9") == "pbx.example.com"


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
def test_what_it_says_of_itself(listen: str) -> None:
    """Over UDP and TCP; taken up and taken back while it runs."""

    async def run() -> None:
        transport = Transport(asyncio.get_running_loop(), lambda message, flow: None)
        _, port = await transport.listen("udp", listen, 0)
        _, other = await transport.listen("tcp", listen, 0)
        near = transport.flow_to("udp", "127.0.0.1", 9)
        far = transport.flow_to("udp", "192.0.2.9", 9)
        assert near is not None
        assert far is not None
        before = far.sent_by
        transport.known_as(Outside("203.0.113.5"))
        assert (near.sent_by, far.sent_by) == (f"127.0.0.1:{port}", f"203.0.113.5:{port}")
        stream = transport.flow_to("tcp", "192.0.2.9", 9)
        assert stream is not None
        assert stream.sent_by == f"203.0.113.5:{other}"
        transport.known_as(None)
        assert far.sent_by == before
        await transport.close()

    asyncio.run(run())
