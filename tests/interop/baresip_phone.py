"""Drives baresip (Debian package baresip-core): headless, by its ctrl_tcp module.

It plays a WAV file into its calls, and what it hears is recorded by its sndfile module. (Its bridge
from ear to mouth would be an echo, but it does not survive a hold, nor a call that it placed.)
"""

from __future__ import annotations

import json
import socket
import wave
from pathlib import Path
from typing import Any

from softswitch.lab.children import Child, LabError
from softswitch.lab.ports import free_port
from softswitch.phone.tones import Heard, listen, samples_of

MODULES = Path("/usr/lib/baresip/modules")


class Baresip(Child):
    """One registered account. ``events`` are baresip's own, from ctrl_tcp. It says how the presence
    of the number ``watches`` is, whenever that changes."""

    def __init__(
        self,
        folder: Path,
        registrar: str,
        user: str,
        password: str,
        wav: Path,
        *,
        auto: bool,
        transport: str = "udp",
        watches: str = "",
    ) -> None:
        sip = free_port(2)  # its port for TLS is the one after it
        control, rtp = free_port(), free_port(21)
        folder.mkdir()
        (folder / "config").write_text(
            f"""module_path {MODULES}
sip_listen 127.0.0.1:{sip}
sip_verify_server no
net_interface 127.0.0.1
rtp_ports {rtp}-{rtp + 20}
audio_source aufile,{wav}
audio_player aubridge,nobody
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
snd_path {folder}
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
{"module_app contact.so" if watches else ""}
{"module_app presence.so" if watches else ""}
"""
        )
        mode = "auto" if auto else "manual"
        (folder / "accounts").write_text(
            f"<sip:{user}@{registrar};transport={transport}>;auth_pass={password};regint=60;answermode={mode}\n"
        )
        contact = f'"{watches}" <sip:{watches}@{registrar}>;presence=p2p\n'
        (folder / "contacts").write_text(contact if watches else "")
        self.folder = folder
        super().__init__(f"baresip {user}", ["baresip", "-f", str(folder)])
        self.until(lambda: any("baresip is ready" in line for line in self.output), 10, "start")
        self._socket = socket.create_connection(("127.0.0.1", control), timeout=5)
        self._buffer = b""
        self.events: list[dict[str, Any]] = []

    def until_registered(self, seconds: float = 10) -> None:
        self.until(lambda: any("200 OK" in line for line in self.output), seconds, "registration")

    def command(self, name: str, parameters: str = "") -> None:
        body = json.dumps({"command": name, "params": parameters, "token": "t"}).encode()
        self._socket.sendall(str(len(body)).encode() + b":" + body + b",")

    def expect(self, kind: str, seconds: float = 10) -> dict[str, Any]:
        """The next event of this kind; those before it are passed over."""
        while (said := self._next(kind, seconds)).get("type") != kind:
            pass
        return said

    def ask(self, name: str, parameters: str = "") -> str:
        """What it says to a command."""
        self.command(name, parameters)
        while not (said := self._next(f"answer to {name}", 10)).get("response"):
            pass
        return str(said["data"])

    def _next(self, wanted: str, seconds: float) -> dict[str, Any]:
        """What it says next."""
        self._socket.settimeout(seconds)
        while True:
            length, colon, rest = self._buffer.partition(b":")
            if colon and len(rest) > int(length):
                said: dict[str, Any] = json.loads(rest[: int(length)])
                self._buffer = rest[int(length) + 1 :]
                self.events.append(said)
                return said
            try:
                chunk = self._socket.recv(65536)
            except TimeoutError:
                chunk = b""
            if not chunk:
                seen = [event.get("type", event) for event in self.events]
                raise LabError(f"{self.name}: no {wanted} within {seconds} s; events: {seen}")
            self._buffer += chunk

    def heard(self) -> list[Heard]:
        """What it recorded, 100 ms a measurement; once its calls are over."""
        recording = min(self.folder.glob("*-dec.wav"))  # a new one is begun at a re-INVITE
        with wave.open(str(recording)) as file:
            samples = samples_of(file.readframes(file.getnframes()))
        return [listen(samples[n : n + 800], 8000) for n in range(0, len(samples) - 800, 800)]

    def stop(self, seconds: float = 10.0) -> int:
        self._socket.close()
        return super().stop(seconds)
