"""`softswitch ban` of a switch that runs."""

from __future__ import annotations

import json
import socket

from tests.console.running_site import Site


def ask(port: int, host: str) -> bool:
    """Whether an OPTIONS from there is answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.settimeout(1)
        sock.sendto(
            b"OPTIONS sip:hq SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKo;rport\r\n"
            b"From: <sip:a@b>;tag=1\r\nTo: <sip:hq>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\n"
            b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            ("127.0.0.1", port),
        )
        try:
            return sock.recv(4096).startswith(b"SIP/2.0 200")
        except TimeoutError:
            return False


def test_listed_added_and_lifted(site: Site) -> None:
    port = site.switch.port
    assert "nobody is banned" in site.command("ban", "list").stdout
    assert ask(port, "127.0.0.9")
    done = site.command("ban", "add", "--seconds", "60", "127.0.0.9")
    assert done.stdout == "127.0.0.9 is banned\n", done.stderr
    assert not ask(port, "127.0.0.9")
    assert ask(port, "127.0.0.10")
    (row,) = json.loads(site.command("ban", "list", "--json").stdout)
    assert (row["address"], row["why"]) == ("127.0.0.9", "by hand")
    assert 50 < row["left"] <= 60
    assert "127.0.0.9" in site.command("ban", "list").stdout
    assert [one["address"] for one in site.told()["bans"]] == ["127.0.0.9"]
    assert site.command("ban", "lift", "127.0.0.9").stdout == "1 lifted\n"
    assert ask(port, "127.0.0.9")


def test_what_cannot_be(site: Site) -> None:
    assert site.switch.port
    for words, says in (
        (("lift", "127.0.0.9"), "127.0.0.9 is not banned"),
        (("add", "nonsense"), "nonsense"),
        (("add", "127.0.0.1"), "a trunk's"),
        (("add", "--seconds", "-1", "127.0.0.9"), "for how long"),
    ):
        done = site.command("ban", *words)
        assert done.returncode == 1, words
        assert says in done.stderr
    assert site.command("ban", "lift", "all").stdout == "0 lifted\n"


def test_subscriptions_are_counted(site: Site) -> None:
    assert site.switch.port
    assert site.told()["subscriptions"]["dialog"] == 0
