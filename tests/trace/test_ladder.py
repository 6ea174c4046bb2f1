"""The ladder of a call as text, picture and capture."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from softswitch.trace import Seen, Story, capture, svg_lines, text_lines

US, ALICE, BOB = ("192.0.2.1", 5060), ("192.0.2.9", 5062), ("198.51.100.7", 40000)
SIX = ("2001:db8::1", 5060)
SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVN\r\n"
T = 1_780_000_000.25


def message(start: str, sip: str, cseq: str = "1 INVITE", body: str = "", more: str = "") -> bytes:
    return (
        f"{start}\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:1@a>;tag=1\r\n"
        f"To: <sip:2@a>\r\nCall-ID: {sip}\r\nCSeq: {cseq}\r\n{more}"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


AUTHORIZATION = 'Authorization: Digest username="1001", response="0123456789abcdef"\r\n'


@pytest.fixture
def story() -> Story:
    invite = message("INVITE sip:2@hq SIP/2.0", "a", body=SDP, more=AUTHORIZATION)
    onwards = message("INVITE sip:2@bob SIP/2.0", "b", body=SDP)
    return Story(
        "call", "hq", "call", parties={"a": "extension:1001", "b": "trunk:pstn"},
        messages=[
            Seen(T, False, "udp", US, ALICE, invite),
            Seen(T + 0.5, False, "udp", US, ALICE, invite),
            Seen(T + 0.501, True, "udp", US, ALICE, message("SIP/2.0 100 Trying", "a")),
            Seen(T + 0.502, True, "tcp", US, BOB, onwards),
            Seen(T + 0.6, False, "tcp", US, BOB, message("SIP/2.0 486 Busy\x1b[2J Here", "b")),
            Seen(T + 0.7, False, "udp", US, ALICE, message("BYE sip:2@hq SIP/2.0", "a", "2 BYE")),
            Seen(T + 0.701, True, "udp", US, ALICE, message("SIP/2.0 200 OK", "a", "2 BYE")),
        ],
    )  # fmt: skip


def test_text(story: Story) -> None:
    lines = list(text_lines(story))
    assert lines[0] == "call call at hq: 7 messages, from 2026-05-28 20:26:40.250+00:00"
    assert lines[2].split() == ["extension:1001", "hq", "trunk:pstn"]
    assert lines[3].split()[0] == "udp:192.0.2.9:5062"
    rows = lines[4:-1]
    assert len(rows) == 7
    # Each arrow is as long as a column is wide, and ends at its party.
    left, middle, right = (lines[-1].index("│"), lines[-1].index("│", 40), lines[-1].rindex("│"))
    assert rows[0].startswith("20:26:40.250    +0.000  ")
    assert rows[0][left] == rows[0][middle] == rows[0][right] == "│"
    assert rows[0][middle - 1] == ">"
    assert " INVITE SDP " in rows[0]
    assert " INVITE SDP (again) " in rows[1]
    assert rows[2][left + 1] == "<"
    assert rows[3][right - 1] == ">"
    assert " INVITE SDP " in rows[3][middle:]
    assert rows[4][middle + 1] == "<"
    assert "486 Busy?[2J Here" in rows[4]
    assert " 200 OK (BYE) " in rows[6]
    assert "v=0" not in "\n".join(lines)


def test_bodies_and_whole_messages(story: Story) -> None:
    text = "\n".join(text_lines(story, bodies=True))
    assert text.count("    v=0") == 2  # not of what came again
    assert "username" not in text
    assert 'username="1001"' in "\n".join(text_lines(story, whole=True))


def test_secrets_are_crossed_out(story: Story) -> None:
    first = story.messages[0]
    masked = first.masked().data
    assert b'response="xxxxxxxxxxxxxxxx"' in masked
    assert b"inline:xxx\r\n" in masked
    assert len(masked) == len(first.data)


def test_over_json_and_back(story: Story) -> None:
    story.messages.append(Seen(T, True, "udp", US, ALICE, bytes(range(256))))
    told = json.dumps([story.about(), [one.in_json() for one in story.messages]])
    about, messages = json.loads(told)
    assert Story.of_json(about, messages) == story


def test_a_picture(story: Story) -> None:
    story.parties["a"] = "extension:<&\udcff>"
    picture = "\n".join(svg_lines(story)).encode()
    root = ET.fromstring(picture)
    name = "{http://www.w3.org/2000/svg}"
    arrows = [line for line in root.iter(f"{name}line") if "marker-end" in line.attrib]
    assert len(arrows) == 7
    assert ["again" in arrow.attrib["class"] for arrow in arrows].count(True) == 1
    assert ["bad" in arrow.attrib["class"] for arrow in arrows].count(True) == 1
    assert "extension:<&" in "".join(root.itertext())


def test_nothing_at_all() -> None:
    empty = Story("x", "hq")
    assert list(text_lines(empty)) == ["x at hq: 0 messages"]
    assert ET.fromstring("\n".join(svg_lines(empty)))


def sums(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def packets(file: bytes) -> list[tuple[str, int, int, int, bytes]]:
    """A parser of its own: kind, source port, target port, sequence number, data of each packet.
    All sums are right."""
    magic, _, _, _, _, _, kind = struct.unpack("!IHHiIII", file[:24])
    assert (magic, kind) == (0xA1B2C3D4, 1)
    at, found = 24, []
    while at < len(file):
        _, _, kept, length = struct.unpack("!IIII", file[at : at + 16])
        assert kept == length
        frame, at = file[at + 16 : at + 16 + kept], at + 16 + kept
        (ether,) = struct.unpack("!H", frame[12:14])
        packet = frame[14:]
        if ether == 0x0800:
            assert sums(packet[:20]) == 0xFFFF
            assert struct.unpack("!H", packet[2:4])[0] == len(packet)
            protocol, rest = packet[9], packet[20:]
            pseudo = packet[12:20] + struct.pack("!BBH", 0, protocol, len(rest))
        else:
            assert ether == 0x86DD
            assert struct.unpack("!H", packet[4:6])[0] == len(packet) - 40
            protocol, rest = packet[6], packet[40:]
            pseudo = packet[8:40] + struct.pack("!IHBB", len(rest), 0, 0, protocol)
        assert sums(pseudo + rest) == 0xFFFF
        source, target = struct.unpack("!HH", rest[:4])
        if protocol == 17:
            found.append(("udp", source, target, 0, rest[8:]))
        else:
            found.append(("tcp", source, target, struct.unpack("!I", rest[4:8])[0], rest[20:]))
    return found


def test_a_capture(story: Story) -> None:
    found = packets(b"".join(capture(story.messages)))
    assert [one[:3] for one in found] == [
        ("udp", 5062, 5060),
        ("udp", 5062, 5060),
        ("udp", 5060, 5062),
        ("tcp", 5060, 40000),
        ("tcp", 40000, 5060),
        ("udp", 5062, 5060),
        ("udp", 5060, 5062),
    ]
    assert [one[4] for one in found] == [message.data for message in story.messages]


def test_long_messages_and_ipv6() -> None:
    long = message("MESSAGE sip:a SIP/2.0", "m", body="ä" * 4000)
    odd = message("OPTIONS sip:a SIP/2.0", "m", body="x" * (len(long) % 2))
    messages = [
        Seen(T, True, "tls", SIX, ("2001:db8::2", 5061), long),
        Seen(T, True, "tls", SIX, ("2001:db8::2", 5061), odd),
        Seen(T, False, "udp", SIX, ("fe80::1%eth0", 5060), odd),
        Seen(T, False, "udp", US, ("::ffff:192.0.2.9", 5060), odd + b"x"),
    ]
    found = packets(b"".join(capture(messages)))
    segments = [one for one in found if one[0] == "tcp"]
    assert b"".join(one[4] for one in segments) == long + odd
    at = 1
    for one in segments:
        assert one[3] == at
        at += len(one[4])
    assert [one[4] for one in found[-2:]] == [odd, odd + b"x"]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_reads_it(story: Story, tmp_path: Path) -> None:
    story.messages.append(Seen(T + 1, False, "udp", SIX, SIX, story.messages[0].data))
    long = message("MESSAGE sip:a SIP/2.0", "m", "1 MESSAGE", body="x" * 4000)
    story.messages.append(Seen(T + 2, True, "tcp", US, BOB, long))
    file = tmp_path / "call.pcap"
    file.write_bytes(b"".join(capture(story.messages)))
    done = subprocess.run(
        ["tshark", "-r", str(file), "-Y", "sip", "-T", "fields", "-e", "sip.CSeq", "-e", "ip.src",
         "-e", "ipv6.src", "-e", "_ws.expert.severity"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [
        *["1 INVITE"] * 5, "2 BYE", "2 BYE", "1 INVITE", "1 MESSAGE",
    ]  # fmt: skip
    assert rows[7][2] == SIX[0]
