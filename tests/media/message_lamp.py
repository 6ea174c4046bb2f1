"""A phone's message lamp, on a bare socket: it subscribes once to ``message-summary`` and after
that does nothing but to answer what it is sent."""

from __future__ import annotations

import re
import socket
import threading
import time

from softswitch.sip.digest import answer

PATIENCE = 20.0


class MessageLamp:
    """Of `user` at the switch at that port of 127.0.0.1, over UDP."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(PATIENCE)
        self._switch = "127.0.0.1", port
        self._me = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._user, self._password = user, password
        self._changed = threading.Condition()
        self.shown: list[tuple[int, int]] = []
        self._seen = 0
        self._subscribe()
        threading.Thread(target=self._listen, daemon=True, name="lamp").start()

    def close(self) -> None:
        self._socket.close()

    def _subscribe(self) -> None:
        uri = f"sip:{self._user}@127.0.0.1:{self._switch[1]}"
        extra = ""
        for cseq in (1, 2):
            self._send(
                f"SUBSCRIBE {uri} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {self._me};rport;branch=z9hG4bK{cseq}{self._me}\r\n"
                f"From: <{uri}>;tag=lamp\r\nTo: <{uri}>\r\nCall-ID: lamp-{self._me}\r\n"
                f"CSeq: {cseq} SUBSCRIBE\r\nMax-Forwards: 70\r\nEvent: message-summary\r\n"
                f"Contact: <sip:{self._user}@{self._me}>\r\nExpires: 3600\r\n"
                f"{extra}Content-Length: 0\r\n\r\n"
            )
            while not (said := self._socket.recv(65536).decode()).startswith("SIP/2.0"):
                self._take(said)
            challenge = re.search(r"(?im)^WWW-Authenticate: *(.*?)\r$", said)
            if challenge is None:
                break
            value = answer(challenge[1], "SUBSCRIBE", uri, self._user, self._password, "cnonce")
            extra = f"Authorization: {value}\r\n"
        assert said.startswith("SIP/2.0 200 "), said

    def _listen(self) -> None:
        self._socket.settimeout(None)
        while True:
            try:
                self._take(self._socket.recv(65536).decode())
            except ConnectionRefusedError:
                continue  # a switch that was killed: it will be back
            except OSError:
                return

    def _take(self, request: str) -> None:
        if request.startswith("SIP/2.0"):
            return
        head, _, body = request.partition("\r\n\r\n")
        lines = re.findall(r"(?im)^(?:Via|From|To|Call-ID|CSeq):.*?(?=\r?$)", head)
        self._send("\r\n".join(["SIP/2.0 200 OK", *lines, "Content-Length: 0", "", ""]))
        found = re.search(r"(?im)^Voice-Message: *(\d+)/(\d+)", body)
        waiting = re.search(r"(?im)^Messages-Waiting: *(yes|no)", body)
        if request.startswith("NOTIFY ") and waiting is not None:
            counts = (int(found[1]), int(found[2])) if found is not None else (0, 0)
            assert (waiting[1] == "yes") == (counts[0] > 0), body
            with self._changed:
                self.shown.append(counts)
                self._changed.notify_all()

    def _send(self, message: str) -> None:
        self._socket.sendto(message.encode(), self._switch)

    def until(self, new: int, old: int) -> None:
        """It shows so many; what it was told before that is passed over."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                while self._seen < len(self.shown):
                    shown = self.shown[self._seen]
                    self._seen += 1
                    if shown == (new, old):
                        return
                left = deadline - time.monotonic()
                assert left > 0, f"the lamp does not show {new}/{old}; it has shown {self.shown}"
                self._changed.wait(left)
