"""A media worker in a process of its own, without a switch: the test orders, and is who calls."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TypeVar

from softswitch.media.orders import (
    LONGEST,
    Ask,
    Digit,
    Expect,
    Here,
    Order,
    Prepare,
    Prepared,
    Ready,
    Said,
    Up,
    encode,
    said_of,
)

S = TypeVar("S", bound=Said)

PATIENCE = 15.0
SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)


class OneWorker:
    """It, and the nursery that it comes from. `said` is all that it has told."""

    def __init__(self) -> None:
        self._nursery, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "softswitch.media.nursery", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        self._orders, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(self._nursery, [b"w"], [its.fileno()])
        its.close()
        self.said: list[Said] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        ready = self.until(Ready)
        self.pid, self.sip, self.size = ready.pid, ready.sip, ready.ports
        self.order(Prepare("127.0.0.1"))
        assert not self.until(Prepared).error

    def order(self, order: Order) -> None:
        self._orders.send(encode(order))

    def until(self, kind: type[S], seconds: float = PATIENCE) -> S:
        """The next of that kind that it tells."""
        while True:
            self._orders.settimeout(seconds)
            try:
                data = self._orders.recv(LONGEST)
            except TimeoutError:
                raise AssertionError(f"no {kind.__name__} after {self.said}") from None
            assert data, f"it has died after {self.said}"
            said = said_of(data)
            self.said.append(said)
            if isinstance(said, kind):
                return said

    def all_said(self) -> list[Said]:
        """All that it has told by now: what was ordered so far is done."""
        for _ in range(2):
            self.order(Ask())
            self.until(Here)
        return self.said

    def digits_until(self, last: str) -> str:
        """The keys that it tells, up to that one."""
        digits = ""
        while last not in digits:
            digits += self.until(Digit).digit
        return digits

    def call(self, number: int, body: str = SDP) -> Call:
        """A call for that port, up to its final response."""
        self.order(Expect(number, f"key{number}"))
        call = Call(self, number)
        call.invite(body)
        return call

    def up(self, number: int) -> Call:
        """A call for that port that is there."""
        call = self.call(number)
        assert call.status == 200
        call.send("ACK")
        self.until(Up)
        return call

    def close(self) -> str:
        """End it; what it and the nursery have said of errors."""
        self._orders.close()
        self._nursery.close()
        self.socket.close()
        try:
            said = self._process.communicate(timeout=PATIENCE)[1]
        except subprocess.TimeoutExpired:
            for pid in (self.pid, self._process.pid):
                os.kill(pid, signal.SIGKILL)
            raise
        return said.decode()


class Call:
    """One dialog with it, from who calls."""

    def __init__(self, worker: OneWorker, number: int) -> None:
        self.worker, self.number = worker, number
        self.tag = ""
        self.cseq = 0
        self.status = 0
        self.body = ""

    def send(self, method: str, body: bytes = b"", kind: str = "") -> None:
        if method != "ACK":
            self.cseq += 1
        port, number = self.worker.port, self.number
        kind = f"Content-Type: {kind}\r\n" if kind else ""
        head = (
            f"{method} sip:key{number}@127.0.0.1 SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{number}{method}{self.cseq}\r\n"
            f"From: <sip:test@127.0.0.1>;tag=test\r\nTo: <sip:key{number}@127.0.0.1>{self.tag}\r\n"
            f"Call-ID: {number}@{port}\r\nCSeq: {self.cseq} {method}\r\n"
            f"Contact: <sip:test@127.0.0.1:{port}>\r\nMax-Forwards: 70\r\n{kind}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.worker.socket.sendto(head.encode() + body, ("127.0.0.1", self.worker.sip))

    def invite(self, body: str) -> None:
        self.send("INVITE", body.encode(), "application/sdp" if body else "")
        response = self.final("INVITE")
        self.status = int(response.split()[1])
        found = re.search(r"\r\nTo:[^\r]*(;tag=[^\r;]+)", response)
        self.tag = found[1] if found else ""
        self.body = response.partition("\r\n\r\n")[2]
        if self.status >= 300:
            self.send("ACK")

    def get(self, start: str, has: str) -> str:
        """The next message of this call that begins and goes on so."""
        end = time.monotonic() + PATIENCE
        seen = []
        while (left := end - time.monotonic()) > 0:
            self.worker.socket.settimeout(left)
            try:
                text = self.worker.socket.recv(65535).decode("utf-8", "replace")
            except TimeoutError:
                break
            mine = f"Call-ID: {self.number}@" in text
            if mine and text.startswith(start) and has in text and "SIP/2.0 1" not in text[:9]:
                return text
            seen.append(text.partition("\r\n")[0])
        raise AssertionError(f"no {start} {has}, but {seen}; it told {self.worker.said}")

    def final(self, method: str) -> str:
        """The final response to the newest request of that method."""
        return self.get("SIP/2.0", f"CSeq: {self.cseq} {method}")

    def info(self, body: bytes, kind: str = "application/dtmf-relay") -> None:
        """SIP INFO; returns when it is answered."""
        self.send("INFO", body, kind)
        self.final("INFO")

    def answer(self, request: str) -> None:
        """200 to a request of it."""
        lines = [
            line
            for line in request.partition("\r\n\r\n")[0].split("\r\n")
            if re.match(r"(Via|From|To|Call-ID|CSeq):", line)
        ]
        text = "\r\n".join(["SIP/2.0 200 OK", *lines, "Content-Length: 0", "", ""])
        self.worker.socket.sendto(text.encode(), ("127.0.0.1", self.worker.sip))
