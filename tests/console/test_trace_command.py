"""`softswitch trace` of calls that go on, have ended, and of what is no call."""

from __future__ import annotations

import hashlib
import re
import socket
import time
from pathlib import Path

import pytest

from softswitch.lab.ports import free_port
from tests.console.running_site import Site
from tests.switch_process import PATIENCE, SDP, Running, answered


def rows(text: str) -> list[str]:
    """What each arrow says, in their order, and whether to the right or to the left."""
    found = []
    for line in text.splitlines():
        if re.match(r"\d\d:\d\d:\d\d\.\d{3} ", line):
            words = re.search(r"[─<] (.*?) [─>]", line)
            assert words is not None, line
            found.append((">" if ">" in line else "<") + words[1])
    return found


def call_id_of(site: Site) -> str:
    (call,) = site.told()["calls"]
    return str(call["call_id"])


def test_a_call_over_both_legs(site: Site) -> None:
    port = site.switch.port
    sip, tag = answered(port, site.caller, site.callee)
    call_id = call_id_of(site)
    done = site.command("trace", call_id)
    assert done.returncode == 0, done.stderr
    head = done.stdout.splitlines()
    assert head[0].startswith(f"call {call_id} at hq: ")
    assert head[2].split() == ["trunk:caller", "hq", "trunk:callee"]
    assert head[3].split()[0] == f"udp:127.0.0.1:{site.caller.port}"
    assert head[3].split()[-1] == f"udp:127.0.0.1:{site.callee.port}"
    assert [row for row in rows(done.stdout) if "Trying" not in row] == [
        ">INVITE SDP", ">INVITE SDP", "<200 So SDP", "<200 So SDP", ">ACK", ">ACK",
    ]  # fmt: skip
    # By the SIP Call-ID of a leg too, and after its end.
    site.caller.request("BYE", port, tag, sip)
    site.callee.reply(site.callee.get("BYE"), 200)
    site.caller.get("SIP/2.0 200")
    deadline = time.monotonic() + PATIENCE
    while site.told()["calls"]:
        assert time.monotonic() < deadline
    for asked in (call_id, sip):
        done = site.command("trace", asked, "--bodies")
        assert done.stdout.startswith(f"call {call_id} at hq: ")
        assert rows(done.stdout)[-4:].count(">BYE") == 2
        assert "    m=audio 40000 RTP/AVP 0" in done.stdout


def test_what_came_again_is_marked(site: Site) -> None:
    port = site.switch.port
    site.caller.serial = 0
    sip = site.caller.request("INVITE", port, body=SDP)
    invite = site.callee.get("INVITE")
    assert site.callee.get("INVITE") == invite  # it waits for an answer
    site.callee.reply(invite, 486)
    site.caller.get("SIP/2.0 486")
    site.caller.request("ACK", port, ";tag=b", sip)
    done = site.command("trace", sip)
    assert ">INVITE SDP (again)" in rows(done.stdout)
    assert "486" in done.stdout


def test_pictures_and_captures(site: Site, tmp_path: Path) -> None:
    answered(site.switch.port, site.caller, site.callee)
    svg, pcap = tmp_path / "call.svg", tmp_path / "call.pcap"
    done = site.command("trace", call_id_of(site), "--svg", str(svg), "--pcap", str(pcap))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert svg.read_text().startswith("<svg ")
    assert pcap.read_bytes()[:4] == b"\xa1\xb2\xc3\xd4"
    assert b"INVITE sip:1@127.0.0.1" in pcap.read_bytes()
    done = site.command("trace", "x", "--svg", str(tmp_path / "no" / "where.svg"))
    assert done.returncode == 1


def register(site: Site) -> tuple[str, str]:
    """A REGISTER that answers its challenge: its Call-ID, and its digest response."""
    port, caller = site.switch.port, site.caller
    uri = f"sip:127.0.0.1:{port}"

    def send(cseq: int, more: str) -> None:
        caller.send(
            f"REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{caller.port};branch=z9hG4bKr"
            f"{cseq}\r\nFrom: <sip:1001@hq>;tag=r\r\nTo: <sip:1001@hq>\r\nCall-ID: reg@phone\r\n"
            f"CSeq: {cseq} REGISTER\r\nContact: <sip:1001@127.0.0.1:{caller.port}>\r\n"
            f"Max-Forwards: 70\r\nUser-Agent: Desk Phone\r\n{more}Content-Length: 0\r\n\r\n",
            port,
        )

    send(1, "")
    challenge = caller.get("SIP/2.0 401")
    realm, nonce = (re.search(f'{key}="(.*?)"', challenge) for key in ("realm", "nonce"))
    assert realm is not None
    assert nonce is not None
    ha1 = hashlib.md5(f"1001:{realm[1]}:secret".encode()).hexdigest()
    ha2 = hashlib.md5(f"REGISTER:{uri}".encode()).hexdigest()
    qop = hashlib.md5(f"{ha1}:{nonce[1]}:00000001:c:auth:{ha2}".encode()).hexdigest()
    send(
        2,
        f'Authorization: Digest username="1001", realm="{realm[1]}", nonce="{nonce[1]}", '
        f'uri="{uri}", response="{qop}", algorithm=MD5, qop=auth, nc=00000001, cnonce="c"\r\n',
    )
    caller.get("SIP/2.0 200")
    return "reg@phone", qop


def test_a_registration_without_its_secret(site: Site, tmp_path: Path) -> None:
    sip, secret = register(site)
    done = site.command("trace", sip, "--whole")
    assert rows(done.stdout) == [
        ">REGISTER", "<401 Unauthorized (REGISTER)", ">REGISTER", "<200 OK (REGISTER)",
    ]  # fmt: skip
    assert "User-Agent: Desk Phone" in done.stdout
    assert secret not in done.stdout
    file = tmp_path / "reg.pcap"
    site.command("trace", sip, "--pcap", str(file))
    assert secret.encode() not in file.read_bytes()
    site.command("trace", sip, "--pcap", str(file), "--credentials")
    assert secret.encode() in file.read_bytes()
    assert site.command("trace", sip, "--credentials").returncode == 2
    (phone,) = site.told()["registrations"]
    assert phone["extension"] == "1001"
    assert phone["address"] == f"udp:127.0.0.1:{site.caller.port}"
    assert phone["user_agent"] == "Desk Phone"
    assert 3500 < phone["expires_in"] <= 3600
    assert "Desk Phone" in site.status().stdout


@pytest.mark.parametrize("size", ["", "trace: {bytes: 0}"])
def test_nothing_to_be_seen(site: Site, size: str) -> None:
    assert site.switch.port
    if size:
        site.config.write_text(site.config.read_text() + size + "\n")
        site.switch.until("taken up: trace")
    done = site.command("trace", "nobody@nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    wanted = "trace.bytes is 0" if size else "no message|kept no message yet"
    assert re.search(wanted, done.stderr), done.stderr


def test_over_a_connection(site: Site, tmp_path: Path) -> None:
    """And what is listened to at all addresses has the one that the peer knows."""
    assert site.switch.port
    tcp = free_port()
    text = site.config.read_text().replace(
        'listen: "udp:127.0.0.1:0"', f'listen: ["udp:127.0.0.1:0", "tcp:0.0.0.0:{tcp}"]'
    )
    site.switch.process.terminate()
    assert site.switch.ends() == 0
    site.config.write_text(text)
    site.switch = Running(site.config)
    assert site.switch.port
    with socket.create_connection(("127.0.0.1", tcp)) as phone:
        mine = phone.getsockname()[1]
        phone.sendall(
            f"OPTIONS sip:hq SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:{mine};branch=z9hG4bKo\r\n"
            "From: <sip:a@b>;tag=1\r\nTo: <sip:hq>\r\nCall-ID: over@tcp\r\nCSeq: 1 OPTIONS\r\n"
            "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode()
        )
        phone.settimeout(PATIENCE)
        assert phone.recv(65535).startswith(b"SIP/2.0 200")
    done = site.command("trace", "over@tcp")
    assert rows(done.stdout) == [">OPTIONS", "<200 OK (OPTIONS)"]
    assert f"tcp:127.0.0.1:{mine}" in done.stdout
    file = tmp_path / "tcp.pcap"
    site.command("trace", "over@tcp", "--pcap", str(file))
    ours = bytes((127, 0, 0, 1))
    assert ours + ours + mine.to_bytes(2, "big") + tcp.to_bytes(2, "big") in file.read_bytes()
