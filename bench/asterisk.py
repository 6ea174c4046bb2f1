"""Asterisk, to measure it beside the switch by the same callers: echo, and rooms of a conference.

Debian 12 has none. That of Debian 11 (16.28) runs in a root of its own, as root::

    debootstrap --variant=minbase bullseye ROOT http://deb.debian.org/debian
    chroot ROOT apt-get install -y --no-install-recommends asterisk
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.process import Process, ProcessFailure
from bench.systems import answers

CONF = {
    "asterisk.conf": """
[directories]
astetcdir => {place}
astrundir => {place}
astlogdir => {place}
astdbdir => {place}
astspooldir => {place}
[options]
systemname = spoken
""",
    "modules.conf": """
[modules]
autoload = yes
noload = chan_sip.so
noload = res_hep.so
noload = pbx_ael.so
noload = pbx_dundi.so
noload = chan_iax2.so
noload = chan_skinny.so
noload = chan_unistim.so
noload = chan_mgcp.so
""",
    "logger.conf": "[logfiles]\nmessages = warning,error\n",
    "rtp.conf": "[general]\nrtpstart=20000\nrtpend=24000\n",
    "pjsip.conf": """
[udp]
type = transport
protocol = udp
bind = 127.0.0.1:{sip}
[spoken]
type = endpoint
context = spoken
disallow = all
allow = ulaw
direct_media = no
[spoken]
type = identify
endpoint = spoken
match = 127.0.0.1
""",
    "extensions.conf": """
[spoken]
exten => echo,1,Answer()
 same => n,Echo()
exten => _co[n]fere[n]ce.,1,Answer()
 same => n,ConfBridge(${{EXTEN}})
""",
    "confbridge.conf": """
[general]
[default_bridge]
type = bridge
max_members = 50
[default_user]
type = user
quiet = yes
""",
}
PLAYS = ("echo", "conference")


class Asterisk:
    """One that runs in the Debian below `root`, and takes calls at a port of loopback."""

    def __init__(self, root: Path, sip: int, folder: Path) -> None:
        self._sip = sip
        self._place = root / "tmp" / f"spoken-{sip}"
        self._place.mkdir(parents=True)
        inside = f"/tmp/{self._place.name}"
        for name, text in CONF.items():
            (self._place / name).write_text(text.format(place=inside, sip=sip))
        command = ["chroot", str(root), "asterisk", "-f", "-C", f"{inside}/asterisk.conf"]
        self._process = Process(command, folder, "asterisk")
        self.pid = self._process.pid

    def until_ready(self, seconds: float) -> None:
        """Return once it answers."""
        self._process.wait_until(lambda: answers(self._sip), seconds)

    def recently(self) -> str:
        """What it has printed last."""
        return self._process.output()[-2000:]

    def stop(self) -> int:
        """End it."""
        try:
            return self._process.stop(10)
        except ProcessFailure:
            return 1
        finally:
            shutil.rmtree(self._place, ignore_errors=True)
