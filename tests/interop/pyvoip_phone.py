"""Drives PyVoIP, in a process of its own: its threads would outlive a test. Run as a program, this
file is that process: commands on standard input, events on standard output, as our own phone has
them.

Its Call-IDs and branches are the hashes of 1, 2, 3, and begin anew with each start. So it needs a
port that it did not have in the last half a minute: else its first INVITE is that of the run before
once more.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from array import array
from contextlib import suppress
from typing import Any

from softswitch.lab.children import Child, PhoneChild
from softswitch.lab.ports import free_port
from softswitch.phone.tones import listen, sine

PACKET = 160  # samples, a byte each
WINDOW = 10  # packets that are listened to at once


class PyVoip(PhoneChild):
    """One account, which plays a tone into its calls. Commands: call NUMBER, answer, refuse,
    hangup, leave (its registration ends)."""

    def __init__(self, registrar: str, user: str, password: str, hz: int = 700) -> None:
        self.events: list[dict[str, Any]] = []
        self._seen = 0
        arguments = (registrar, user, password, str(free_port()), str(free_port(21)), str(hz))
        Child.__init__(self, f"pyVoIP {user}", [sys.executable, __file__, *arguments])


def say(event: str, **facts: object) -> None:
    os.write(1, json.dumps({"event": event, **facts}).encode() + b"\n")  # whole, of any thread


class Program:
    """The other process."""

    def __init__(
        self, registrar: str, user: str, password: str, sip: str, rtp: str, hz: str
    ) -> None:
        from pyVoIP.VoIP import VoIPPhone

        host, _, port = registrar.partition(":")
        self._tone = bytes(128 + (sample >> 8) for sample in sine(float(hz), 1.0, 8000))
        self._call: Any = None
        self._phone = VoIPPhone(
            host,
            int(port),
            user,
            password,
            myIP="127.0.0.1",
            callCallback=self._rung,
            sipPort=int(sip),
            rtpPortLow=int(rtp),
            rtpPortHigh=int(rtp) + 20,
        )

    def run(self) -> None:
        with suppress(OSError):  # of its socket: it closes it when it has given up
            self._phone.start()
        while self._status() not in ("REGISTERED", "FAILED"):
            time.sleep(0.01)
        say(self._status().lower())
        for line in sys.stdin:
            command, _, argument = line.strip().partition(" ")
            getattr(self, command)(argument)

    def _status(self) -> str:
        return str(self._phone.get_status().name)

    def call(self, number: str) -> None:
        # It may read its socket at the moment when the thread that reads it otherwise has left it
        # without waiting. Then it has not seen the challenge, and there is no call.
        for _ in range(3):
            with suppress(BlockingIOError):
                self._follow(self._phone.call(number))
                return

    def answer(self, _: str) -> None:
        self._call.answer()

    def refuse(self, _: str) -> None:
        # The 486 has left when it stops the audio that it has not started.
        with suppress(AttributeError):
            self._call.deny()

    def hangup(self, _: str) -> None:
        self._call.hangup()

    def leave(self, _: str) -> None:
        self._phone.stop()
        say("left", status=self._status())

    def _rung(self, call: Any) -> None:
        self._follow(call)
        say("incoming", number=call.request.headers["From"]["number"])

    def _follow(self, call: Any) -> None:
        self._call = call
        threading.Thread(target=self._watch, args=(call,), daemon=True).start()

    def _watch(self, call: Any) -> None:
        state = ""
        packets: list[bytes] = []
        while state != "ENDED":
            if call.state.name != state:
                state = call.state.name
                say(state.lower())
                if state == "ANSWERED":
                    for _ in range(20):
                        call.write_audio(self._tone)
            time.sleep(0.02)
            if state == "ANSWERED" and call.RTPClients:
                packet = call.read_audio(PACKET, blocking=False)
                if packet.strip(b"\x80"):
                    packets.append(packet)
            if len(packets) == WINDOW:
                heard = b"".join(packets)
                say("heard", hz=listen(array("h", ((b - 128) << 8 for b in heard)), 8000).hz)
                packets.clear()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # whatever its threads are at
    Program(*sys.argv[1:]).run()
    os._exit(0)


if __name__ == "__main__":
    main()
