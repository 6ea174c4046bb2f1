"""A switch, and phones of all makes that are registered with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from handsets import PATIENCE, UNMEASURED, BaresipHandset, Handset, LinphoneHandset, Ours

from softswitch.lab.children import Child, LabError, SwitchChild
from softswitch.lab.ports import free_port

MAKES = ("pjsua2", "baresip", "linphone")
NEAR = 5.0  # Hz

# MD5: of the phones here baresip 1.0 knows no other.
CONFIG = """
switch:
  name: office
  listen: [udp:127.0.0.1:{sip}, tcp:127.0.0.1:{sip}]
  digest: [MD5]
extensions:
  "1001": {{password: secret-1001}}
  "1002": {{password: secret-1002}}
  "1003": {{password: secret-1003}}
  "1004": {{password: secret-1004}}
dialplan: dialplan.yaml
media: {{mode: bypass}}
"""

DIALPLAN = """
routes:
  - {match: "1XXX", from: any, dial: extension, timeout: 20}
"""


class Office:
    """`phones` by make; whoever calls `engaged` hears that it is busy."""

    def __init__(self, phones: dict[str, Handset], engaged: Ours, children: list[Child]) -> None:
        self.phones = phones
        self.engaged = engaged
        self._children = children

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for it. LabError if it does not come, or if something has died."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            for child in self._children:
                child.check()
            if time.monotonic() > deadline:
                said = "".join(f"\n{child.name}:{child.recently()}" for child in self._children)
                raise LabError(f"no {what} within {PATIENCE:g} s{said}")
            time.sleep(0.03)

    def connect(self, caller: Handset, callee: Handset) -> None:
        """They talk, and hear each other, whatever other calls they have."""
        caller.call(callee.number)
        self.hear_each_other(caller, callee)
        self.until(
            lambda: all(caller.calls()) and all(callee.calls()),
            f"call of {caller.number} to {callee.number}",
        )

    def hear_each_other(self, one: Handset, two: Handset) -> None:
        """Each hears the tone of the other, and nobody else's with it."""
        self.until(lambda: _near(one.hears(), two.hz), f"{two.hz} Hz at {one.number}")
        self.until(lambda: _near(two.hears(), one.hz), f"{one.hz} Hz at {two.number}")

    def hears_nobody(self, phone: Handset) -> None:
        self.until(lambda: phone.hears() is None, f"silence at {phone.number}")

    def until_engaged(self) -> None:
        """Somebody has called who is busy."""
        self.engaged.expect("ended", PATIENCE, status=486)

    def idle(self, *phones: Handset) -> None:
        """They have no call."""
        for phone in phones:
            self.until(lambda phone=phone: not phone.calls(), f"end of calls at {phone.number}")  # type: ignore[misc]

    def hang_up(self, who: Handset, other: Handset) -> None:
        """Who of the two that are left hangs up: that is the end of all calls."""
        who.hang_up()
        self.idle(who, other)


def _near(hz: float | None, wanted: float) -> bool:
    return hz is not None and (hz == UNMEASURED or abs(hz - wanted) < NEAR)


@contextmanager
def office(folder: Path) -> Iterator[Office]:
    """It is open; its files are in `folder`. The switch must end cleanly."""
    sip = free_port()
    config = folder / "office.yaml"
    config.write_text(CONFIG.format(sip=sip))
    (folder / "dialplan.yaml").write_text(DIALPLAN)
    children: list[Child] = []
    switch = SwitchChild("office", config)
    try:
        switch.until_ready(PATIENCE)
        registrar = f"127.0.0.1:{sip}"
        ours = Ours(registrar, "1001", 440, "--answer")
        children.append(ours)
        engaged = Ours(registrar, "1004", 550, "--reject", "486")
        children.append(engaged)
        linphone = LinphoneHandset(folder / "linphone", registrar, "1003", 900)
        children.append(linphone)
        baresip = BaresipHandset(folder / "baresip", registrar, "1002", 700)
        children.append(baresip)
        linphone.until_registered(PATIENCE)
        baresip.until_registered(PATIENCE)
        ours.expect("registered", PATIENCE)
        engaged.expect("registered", PATIENCE)
        phones: dict[str, Handset] = {"pjsua2": ours, "baresip": baresip, "linphone": linphone}
        yield Office(phones, engaged, [*children, switch])
    finally:
        for child in children:
            child.ask_to_stop()
        for child in children:
            child.stop()
        status = switch.stop()
    assert status == 0, switch.recently()
