"""Drives linphonec (Debian package linphone-cli): headless, commands on standard input."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from softswitch.lab.children import Child, LabError
from softswitch.lab.ports import free_port


class Linphone(Child):
    """One registered account that plays a WAV file; what it says are its output lines. It says how
    the presence of the number `watches` is, whenever that changes."""

    def __init__(
        self,
        folder: Path,
        registrar: str,
        user: str,
        password: str,
        wav: Path,
        transport: str = "udp",
        watches: str = "",
    ) -> None:
        sip, rtp = free_port(), free_port(21)
        friend = f"[friend_0]\nurl=<sip:{watches}@{registrar}>\npol=accept\nsubscribe=1\n"
        (folder / ".local/share/linphone").mkdir(parents=True)
        config = folder / "linphonerc"
        # It takes a machine with nothing but the loopback for offline, and would not register.
        config.write_text(
            f"""[sip]
sip_port={sip if transport == "udp" else 0}
sip_tcp_port={sip if transport == "tcp" else 0}
sip_tls_port={sip if transport == "tls" else 0}
verify_server_certs=0
verify_server_cn=0
use_ipv6=0
bind_address=127.0.0.1
register_only_when_network_is_up=0
default_proxy=0
[proxy_0]
reg_proxy=<sip:{registrar};transport={transport}>
reg_identity=sip:{user}@{registrar}
reg_expires=300
reg_sendregister=1
[auth_info_0]
username={user}
passwd={password}
domain=127.0.0.1
[rtp]
audio_rtp_port={rtp}-{rtp + 20}
bind_address=127.0.0.1
{friend if watches else ""}"""
        )
        environment = [f"HOME={folder}", f"PATH={os.environ['PATH']}", "TERM=dumb"]
        super().__init__(
            f"linphonec {user}",
            ["env", "-i", *environment, "stdbuf", "-oL", "linphonec", "-c", str(config)],
        )
        self._seen = 0
        self.send("soundcard use files")
        self.send(f"play {wav}")

    def until_registered(self, seconds: float = 10) -> None:
        """Asks until it says so: it does not tell by itself."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.send("status register")
            if "registered, identity" in self.expect("registered(=|, identity)", seconds):
                return
            time.sleep(0.1)
        raise LabError(f"{self.name} has not registered within {seconds:g} s{self.recently()}")

    def expect(self, pattern: str, seconds: float = 10) -> str:
        """The next line of its output that fits; those before it are passed over."""
        found: list[int] = []

        def look() -> bool:
            for index in range(self._seen, len(self.output)):
                if re.search(pattern, self.output[index]):
                    found.append(index)
                    return True
            return False

        self.until(look, seconds, f"line {pattern!r}")
        self._seen = found[0] + 1
        return self.output[found[0]]
