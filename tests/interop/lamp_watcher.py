"""A phone with one lamp, on a bare socket: it registers, subscribes once, and after that does
nothing but to answer what it is sent. What is not newer than what it knows it does not take."""

from __future__ import annotations

import itertools
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from xml.etree import ElementTree

from softswitch.sip.digest import answer

PATIENCE = 10.0
NS = "{urn:ietf:params:xml:ns:dialog-info}"
SHOWS = {
    ("early", "initiator"): "calling",
    ("early", "recipient"): "ringing",
    ("confirmed", "initiator"): "busy",
    ("confirmed", "recipient"): "busy",
}


@dataclass(frozen=True, slots=True)
class Note:
    """A NOTIFY. `at` is when it came, in seconds since 1970; `shows` what the lamp does then:
    `idle`, `calling`, `ringing` or `busy`."""

    at: float
    shows: str


class LampWatcher:
    """`user` at the switch `registrar` (host:port) watches `number`."""

    def __init__(
        self, registrar: str, user: str, password: str, number: str, transport: str
    ) -> None:
        host, _, port = registrar.partition(":")
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.settimeout(PATIENCE)
        self._socket.connect((host, int(port)))
        self._me = "{}:{}".format(*self._socket.getsockname())
        self._registrar, self._user, self._password = registrar, user, password
        self._transport = transport
        self._buffer = b""
        self._serial = itertools.count(1)
        self._order = (0, -1)  # of the last NOTIFY, its CSeq and the version of its document
        self.notes: list[Note] = []
        self._seen = 0
        self._changed = threading.Condition()
        self._ask("REGISTER", f"sip:{registrar}", user, "Expires: 3600\r\n")
        event = "Event: dialog\r\nExpires: 3600\r\nAccept: application/dialog-info+xml\r\n"
        self._ask("SUBSCRIBE", f"sip:{number}@{registrar}", number, event)
        self._socket.settimeout(None)
        threading.Thread(target=self._listen, daemon=True, name="lamp").start()

    def close(self) -> None:
        self._socket.close()

    def until(self, shows: str) -> float:
        """When it was told so; what it was told before that is passed over."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                while self._seen < len(self.notes):
                    note = self.notes[self._seen]
                    self._seen += 1
                    if note.shows == shows:
                        return note.at
                left = deadline - time.monotonic()
                seen = [note.shows for note in self.notes]
                assert left > 0, f"the lamp does not show {shows}; it has shown {seen}"
                self._changed.wait(left)

    def _ask(self, method: str, uri: str, to: str, extra: str) -> None:
        """Send a request, with credentials if they are wanted; its answer must be a 200."""
        call_id, tag = f"{method}-{self._me}", f"w{next(self._serial)}"
        for cseq in (1, 2):
            self._send(
                f"{method} {uri} SIP/2.0\r\n"
                f"Via: SIP/2.0/{self._transport.upper()} {self._me};rport"
                f";branch=z9hG4bK{next(self._serial)}{method}\r\n"
                f"From: <sip:{self._user}@{self._registrar}>;tag={tag}\r\n"
                f"To: <sip:{to}@{self._registrar}>\r\nCall-ID: {call_id}\r\n"
                f"CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n"
                f"Contact: <sip:{self._user}@{self._me};transport={self._transport}>\r\n"
                f"{extra}Content-Length: 0\r\n\r\n"
            )
            while not (said := self._receive()).startswith("SIP/2.0") or method not in said:
                self._take(said)
            challenge = re.search(r"(?im)^WWW-Authenticate: *(.*?)\r$", said)
            if challenge is None:
                break
            value = answer(challenge[1], method, uri, self._user, self._password, "cnonce")
            extra += f"Authorization: {value}\r\n"
        assert said.startswith("SIP/2.0 200 "), said

    def _listen(self) -> None:
        try:
            while True:
                self._take(self._receive())
        except OSError:
            pass  # closed

    def _take(self, request: str) -> None:
        at = time.time()
        if request.startswith(("SIP/2.0", "ACK")):
            return
        head, _, body = request.partition("\r\n\r\n")
        lines = re.findall(r"(?im)^(?:Via|From|To|Call-ID|CSeq):.*?(?=\r?$)", head)
        status = "200 OK"
        if request.startswith("NOTIFY "):
            order = _number(r"(?im)^CSeq: *(\d+)", head), _number(r'version="(\d+)" ', body)
            if all(now > last for now, last in zip(order, self._order, strict=True)):
                self._order = order
                with self._changed:
                    self.notes.append(Note(at, _shows(body)))
                    self._changed.notify_all()
            else:
                status = "500 Out Of Order"
        self._send("\r\n".join([f"SIP/2.0 {status}", *lines, "Content-Length: 0", "", ""]))

    def _send(self, message: str) -> None:
        with suppress(ConnectionRefusedError):
            self._socket.sendall(message.encode())

    def _receive(self) -> str:
        """The next message."""
        while True:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            length = re.search(rb"(?im)^Content-Length: *(\d+)", head)
            if end and length is not None and len(rest) >= int(length[1]):
                self._buffer = rest[int(length[1]) :]
                return (head + end + rest[: int(length[1])]).decode()
            self._more()

    def _more(self) -> None:
        """What has come, added to what waits."""
        with suppress(ConnectionRefusedError):  # by a switch that was killed: it will be back
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError("the switch has closed the connection")
            self._buffer += chunk


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found is not None, text
    return int(found[1])


def _shows(body: str) -> str:
    root = ElementTree.fromstring(body)
    found = [(one.findtext(f"{NS}state"), one.get("direction")) for one in root.iter(f"{NS}dialog")]
    if not found:
        return "idle"
    assert len(found) == 1, found
    return SHOWS.get(found[0], "something else")
