"""A switch in a process of its own, and just enough SIP for its two trunks."""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PLAN = """routes:
  - {match: "1", from: any, dial: "trunk:callee", timeout: 20}
"""
PATIENCE = 20.0
SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 0\r\n"
)


class Peer:
    """A trunk's UDP socket and just enough SIP."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.serial = 0

    switch: tuple[str, int]
    """Where the last message came from."""

    def get(self, start: str, seconds: float = PATIENCE) -> str:
        """The next message that starts so; keep-alives are answered on the way."""
        end = time.monotonic() + seconds
        seen: list[str] = []
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data, self.switch = self.socket.recvfrom(65535)
            except TimeoutError:
                break
            text = data.decode()
            if text.startswith(start):
                return text
            seen.append(text.split("\r\n")[0])
        raise AssertionError(f"no {start!r} came, but {seen}")

    def send(self, text: str, to: int) -> None:
        self.socket.sendto(text.encode(), ("127.0.0.1", to))

    def request(
        self, method: str, to: int, tag: str = "", call_id: str = "", body: str = ""
    ) -> str:
        """Send a request; returns its Call-ID."""
        self.serial += 1
        call_id = call_id or f"{self.serial}@{self.port}"
        kind = "Content-Type: application/sdp\r\n" if body else ""
        cseq = 1 if method == "ACK" else self.serial
        self.send(
            f"{method} sip:1@127.0.0.1:{to} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{self.serial}x{self.port}\r\n"
            f"From: <sip:a@127.0.0.1>;tag=t\r\nTo: <sip:1@127.0.0.1>{tag}\r\nCall-ID: {call_id}\r\n"
            f"CSeq: {cseq} {method}\r\nContact: <sip:a@127.0.0.1:{self.port}>\r\n"
            f"Max-Forwards: 70\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}",
            to,
        )
        return call_id

    def reply(self, request: str, status: int, body: str = "") -> None:
        """Answer a request to where the last message came from."""
        lines = [
            line + (";tag=b" if line.startswith("To:") and "tag=" not in line else "")
            for line in request.partition("\r\n\r\n")[0].split("\r\n")
            if re.match(r"(Via|From|To|Call-ID|CSeq):", line)
        ]
        kind = "Content-Type: application/sdp\r\n" if body else ""
        head = "\r\n".join([f"SIP/2.0 {status} So", *lines])
        self.send(
            f"{head}\r\nContact: <sip:127.0.0.1:{self.port}>\r\n{kind}"
            f"Content-Length: {len(body)}\r\n\r\n{body}",
            self.switch[1],
        )


class Running:
    """A switch in a process of its own, and what it said so far."""

    def __init__(
        self,
        config: Path,
        command: Sequence[str] = (),
        env: Mapping[str, str] = {},
        *,
        cwd: Path | None = None,
        only: Mapping[str, str] | None = None,
    ) -> None:
        """`command` runs a switch when the configuration's path is added to it. `env` is added to
        the environment; `only` is all of it."""
        self.config = config
        self.said = ""
        self.process = subprocess.Popen(
            [*(command or (sys.executable, "-m", "softswitch.cli", "run")), str(config)],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **env} if only is None else dict(only),
            cwd=cwd,
        )

    def until(self, text: str) -> None:
        """Read what it says until `text` is there."""
        assert self.process.stderr is not None
        end = time.monotonic() + PATIENCE
        while text not in self.said:
            left = end - time.monotonic()
            ready = select.select([self.process.stderr], [], [], max(left, 0))[0]
            chunk = os.read(self.process.stderr.fileno(), 65536).decode() if ready else ""
            assert chunk, f"never said {text!r}: {self.said}"
            self.said += chunk

    @property
    def port(self) -> int:
        self.until("\n")
        self.until("ready on")
        match = re.search(r"ready on udp:127\.0\.0\.1:(\d+)", self.said)
        assert match is not None
        return int(match.group(1))

    def kill(self) -> None:
        """SIGKILL; returns when it is dead."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def ends(self) -> int:
        """Wait for its end; the exit status."""
        _, rest = self.process.communicate(timeout=PATIENCE)
        self.said += rest.decode()
        return self.process.returncode


def answered(port: int, caller: Peer, callee: Peer) -> tuple[str, str]:
    """Call-ID and To tag of the caller's side of an answered call."""
    caller.serial = 0
    call_id = caller.request("INVITE", port, body=SDP)
    callee.reply(callee.get("INVITE"), 200, SDP)
    response = caller.get("SIP/2.0 200")
    match = re.search(r"\r\nTo: [^\r]*(;tag=[^\r;]+)", response)
    assert match is not None
    caller.request("ACK", port, match.group(1), call_id)
    callee.get("ACK")
    # Nothing answers an ACK: what comes after it shows that it was taken, and is on disk.
    caller.request("OPTIONS", port)
    assert "OPTIONS" in caller.get("SIP/2.0 200")
    return call_id, match.group(1)
