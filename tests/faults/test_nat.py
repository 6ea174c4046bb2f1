"""Phones behind a NAT box, and the switch behind one: the kernel writes other addresses into what
they send, forgets in mid-call which, and lets in nothing but answers. Real processes.

Where phones send their audio is theirs to find out: here it is about SIP.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from calls.call_world import ANSWER, Line

from bench.namespaces import Host, NatBox, behind_nat
from softswitch.lab.children import PhoneChild, SwitchChild
from softswitch.sip.digest import answer
from tests.faults.phones import Phone, Phones

PORT = 5060
PASSWORDS = {"1001": "a", "1002": "b"}
SOON = 10.0
"""Seconds within which a phone that renews its registration as often as it may has done so."""
CONFIG = """
switch: {{name: hq, listen: [{listen}]{more}}}
extensions:
  "1001": {{password: a}}
  "1002": {{password: b}}
dialplan: plan.yaml
timers: {{min_expires: 10, drain_timeout: 0}}
"""
STRANGE = b"OPTIONS sip:x SIP/2.0\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n"
PLAN = "routes: [{match: 1XXX, dial: extension}]\n"


class Site:
    """A switch and its phones, here and there of a NAT box. `phones` are those on sockets."""

    def __init__(self, nat: NatBox, folder: Path, stack: ExitStack) -> None:
        self.nat, self.folder, self.stack = nat, folder, stack
        self.phones = stack.enter_context(Phones())
        self.switch: SwitchChild

    def start(self, host: Host, *listen: str, more: str = "") -> None:
        """The switch, listening at these addresses of that host."""
        config = self.folder / "hq.yaml"
        quoted = ", ".join(f'"{one}"' for one in listen)
        config.write_text(CONFIG.format(listen=quoted, more=more))
        (self.folder / "plan.yaml").write_text(PLAN)
        with host.inside():
            self.switch = SwitchChild("hq", config)
        self.stack.callback(self.switch.stop)
        self.switch.until_ready(20)

    def phone(self, number: str, host: Host, at: str, *options: str) -> PhoneChild:
        """A softphone on that host, registered at that address."""
        account = ("--registrar", at, "--user", number, "--password", PASSWORDS[number])
        with host.inside():
            phone = PhoneChild(number, *account, *options)
        self.stack.callback(phone.stop)
        phone.expect("registered", 10)
        return phone

    def plain(self, number: str, host: Host, address: str, switch: tuple[str, int]) -> Plain:
        """A phone on a socket of that host, registered at that address of the switch."""
        with host.inside():
            own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        phone = Plain(self.phones, self.phones.bound(own, address), number)
        phone.password, phone.switch = PASSWORDS[number], switch
        phone.registers()
        return phone

    def says(self, text: str, seconds: float = 5.0) -> re.Match[str]:
        """What the switch has said, or says within that time."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(m for line in self.switch.errors if (m := re.search(text, line)))
            return bool(found)

        self.switch.until(look, seconds, f"line {text!r}")
        return found[-1]

    def is_at(self, transport: str, first: int, seconds: float = 5.0) -> None:
        """1001 is registered at one of the ports that the NAT box gives from `first` on."""
        where = re.escape(f"extension:1001 is registered at {transport}:{self.nat.address}:")
        self.says(f"{where}{first // 1000}\\d\\d\\d,", seconds)


class Plain(Phone):
    """A phone that knows of no NAT: its Contact and Via name its own address, whatever it hears."""

    def send(self, text: str, body: str = "") -> None:
        """A REGISTER or BYE waits for its response; with INVITE there is more than one."""
        super().send(text, body)
        if text.startswith(("REGISTER", "BYE")):
            branch = text.partition(";branch=")[2].partition(";")[0]
            self.phones.until(
                lambda: any(m.status and m.branch == branch for m in self.inbox),
                f"a response to {text[:60]!r}",
            )

    def registers(self) -> None:
        assert self.register().status == 200

    def calls(self, number: str) -> Line:
        """Call, with credentials when they are asked for."""
        line = self.call(number, ANSWER)
        self.phones.until(lambda: "401 INVITE" in line.what, "a challenge")
        challenge = line.find("401 INVITE")["www-authenticate"]
        proof = answer(challenge, "INVITE", line.uri, self.name, self.password, "cn")
        line.remote = f"<{line.uri}>"
        line.invite(ANSWER, f"Authorization: {proof}\r\n")
        return line


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """With the switch's port forwarded to the host inside, if a test is marked so."""
    assert os.geteuid() == 0, "network namespaces need root: run this test as root (sudo)"
    assert shutil.which("nft"), "nft is not installed: apt-get install nftables"
    monkeypatch.setattr("tests.faults.phones.PATIENCE", 5.0)
    with behind_nat(getattr(request, "param", 0)) as nat, ExitStack() as stack:
        yield Site(nat, tmp_path, stack)
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    made = (nat.inside, nat.outside, nat.box)
    assert not [host for host in made if host.namespace in left], "they are removed"


forwarded = pytest.mark.parametrize("site", [PORT], indirect=True, ids=["forwarded"])
transports = pytest.mark.parametrize("transport", ["udp", "tcp"])


def one_inside(
    site: Site, transport: str = "udp", *options: str, at: str = ""
) -> tuple[PhoneChild, PhoneChild]:
    """1001 behind the NAT, registered at `at`, and 1002 beside the switch."""
    there = site.nat.outside
    first = f"{there.address}:{PORT}"
    site.start(there, f"udp:{first}", f"tcp:{first}", *([f"udp:{at}"] if at else []))
    kind = ("--transport", transport)
    inside = site.phone("1001", site.nat.inside, at or first, *kind, *options)
    site.is_at(transport, 30000)
    outside = site.phone("1002", there, first, *kind, "--listen", there.others[0])
    return inside, outside


def switch_inside(site: Site, transport: str) -> tuple[PhoneChild, PhoneChild]:
    """The switch behind the NAT with 1001 in the same network, and 1002 outside."""
    here, there = site.nat.inside, site.nat.outside
    own = f"{here.address}:{PORT}"
    site.start(here, f"udp:{own}", f"tcp:{own}", more=f", public: {site.nat.address}")
    kind = ("--transport", transport)
    inside = site.phone("1001", here, own, *kind, "--listen", here.others[0])
    outside = site.phone("1002", there, f"{site.nat.address}:{PORT}", *kind)
    return inside, outside


def talk(caller: PhoneChild, number: str, callee: PhoneChild) -> int:
    """They are in a call; its number at the callee."""
    caller.send(f"call {number}")
    call: int = callee.expect("incoming")["call"]
    caller.expect("ringing", status=180)
    callee.send("answer")
    callee.expect("answered", call=call)
    caller.expect("answered")
    return call


def hold(one: PhoneChild, other: PhoneChild) -> None:
    """One puts the other on hold, and takes it back."""
    one.send("hold")
    one.expect("media", state="local_hold")
    other.expect("media", state="remote_hold")
    one.send("unhold")
    one.expect("media", state="active")
    other.expect("media", state="active")


def hang_up(one: PhoneChild, other: PhoneChild) -> None:
    """One hangs up: both know it, and who it was."""
    one.send("hangup")
    other.expect("ended", by="remote", answered=True, status=200)
    one.expect("ended", by="local", answered=True, status=200)


@transports
@pytest.mark.parametrize("who", ["outside", "inside"])
def test_a_phone_is_called_calls_and_is_hung_up_from_either_side(
    site: Site, transport: str, who: str
) -> None:
    inside, outside = one_inside(site, transport)
    one, other = (outside, inside) if who == "outside" else (inside, outside)
    talk(outside, "1001", inside)
    hold(inside, outside)
    hold(outside, inside)
    hang_up(one, other)
    by = "caller" if who == "outside" else "callee"
    site.says(rf"ends: answered for \d\.\d s, 200, by the {by}")
    talk(inside, "1002", outside)
    hold(outside, inside)
    hang_up(one, other)
    by = "callee" if who == "outside" else "caller"
    site.says(rf"ends: answered for \d\.\d s, 200, by the {by}")


def test_two_phones_behind_the_same_one_call_each_other(site: Site) -> None:
    here, there = site.nat.inside, f"{site.nat.outside.address}:{PORT}"
    site.start(site.nat.outside, f"udp:{there}")
    one = site.phone("1001", here, there)
    other = site.phone("1002", here, there, "--listen", here.others[0])
    talk(one, "1002", other)
    hold(other, one)
    hang_up(other, one)
    talk(other, "1001", one)
    hang_up(other, one)


@pytest.mark.parametrize("message", ["hold", "dtmf 5"])
def test_a_phone_with_another_port_in_mid_call_is_where_it_speaks_from(
    site: Site, message: str
) -> None:
    inside, outside = one_inside(site, "udp", "--dtmf-method", "info")
    talk(outside, "1001", inside)
    site.nat.forget(40000)
    inside.send(message)
    if message == "hold":
        outside.expect("media", state="remote_hold")
    else:
        outside.expect("dtmf", digit="5")
    hang_up(outside, inside)


def test_a_phone_with_another_port_in_mid_call_hangs_up(site: Site) -> None:
    inside, outside = one_inside(site)
    talk(outside, "1001", inside)
    site.nat.forget(40000)
    hang_up(inside, outside)


@transports
def test_a_phone_that_registers_from_another_port_in_mid_call_is_there(
    site: Site, transport: str
) -> None:
    """For a new call, and for the one that is up, in which it says nothing itself."""
    inside, outside = one_inside(site, transport, "--expires", "10")
    first = talk(outside, "1001", inside)
    site.nat.forget(40000)
    site.is_at(transport, 40000, SOON)
    second = talk(outside, "1001", inside)
    outside.send("hangup")
    inside.expect("ended", by="remote", call=second)
    outside.expect("ended", by="local", status=200)
    outside.send("hangup")
    inside.expect("ended", by="remote", answered=True, status=200, call=first)


def test_a_phone_that_had_to_connect_again_is_where_it_speaks_from(site: Site) -> None:
    """The NAT box has forgotten its connection; the switch is not told that it is gone."""
    inside, outside = one_inside(site, "tcp", "--expires", "10")
    talk(outside, "1001", inside)
    site.nat.forget(40000)
    site.is_at("tcp", 40000, SOON)
    hold(inside, outside)
    hang_up(outside, inside)
    talk(outside, "1001", inside)
    hang_up(inside, outside)


def test_a_phone_that_names_its_own_address_registers_from_another_port_in_mid_call(
    site: Site,
) -> None:
    """Its Contact does not change, as that of the softphone does."""
    there = site.nat.outside
    at = f"{there.address}:{PORT}"
    site.start(there, f"udp:{at}")
    plain = site.plain("1001", site.nat.inside, site.nat.inside.address, (there.address, PORT))
    outside = site.phone("1002", there, at, "--listen", there.others[0])
    outside.send("call 1001")
    line = plain.next_line(0)
    line.reply(200, ANSWER)
    site.phones.until(lambda: "ACK" in line.what, "an ACK")
    outside.expect("answered")
    site.nat.forget(40000)
    plain.registers()
    site.is_at("udp", 40000)
    outside.send("call 1001")
    other = plain.next_line(1)
    other.reply(486)
    outside.expect("ended", status=486)
    outside.send("hangup")
    site.phones.until(lambda: "BYE" in line.what, "a BYE")
    outside.expect("ended", by="local", status=200)


def test_a_phone_is_called_from_the_address_that_it_registered_at(site: Site) -> None:
    second = f"{site.nat.outside.others[1]}:5070"
    inside, outside = one_inside(site, at=second)
    talk(outside, "1001", inside)
    hold(outside, inside)
    hang_up(outside, inside)
    talk(inside, "1002", outside)
    hang_up(outside, inside)


def test_from_any_other_address_nothing_comes_through(site: Site) -> None:
    """So the test before this one shows something."""
    there = site.nat.outside
    second = (there.others[1], 5070)
    site.start(there, f"udp:{there.address}:{PORT}", "udp:{}:{}".format(*second))
    plain = site.plain("1001", site.nat.inside, site.nat.inside.address, second)
    outside = site.phone("1002", there, f"{there.address}:{PORT}", "--listen", there.others[0])
    port = int(site.says(r"extension:1001 is registered at udp:203\.0\.113\.1:(\d+)")[1])
    for address in (there.address, there.others[1]):
        with there.inside():
            stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with stranger:
            stranger.bind((address, 0))
            stranger.sendto(STRANGE, (site.nat.address, port))
    outside.send("call 1001")
    plain.next_line(0).reply(486)
    outside.expect("ended", status=486)
    assert {message.source for message in plain.inbox} == {second}


@forwarded
@transports
def test_a_switch_behind_it_is_called_at_its_public_address(site: Site, transport: str) -> None:
    inside, outside = switch_inside(site, transport)
    talk(outside, "1001", inside)
    hold(outside, inside)
    hold(inside, outside)
    hang_up(inside, outside)
    talk(inside, "1002", outside)
    hold(outside, inside)
    hang_up(outside, inside)


@forwarded
def test_a_switch_behind_it_says_its_public_address_to_those_outside(site: Site) -> None:
    here, public = site.nat.inside, (site.nat.address, PORT)
    own = f"{here.address}:{PORT}"
    site.start(here, f"udp:{own}", more=f", public: {site.nat.address}")
    inside = site.phone("1001", here, own, "--listen", here.others[0])
    plain = site.plain("1002", site.nat.outside, site.nat.outside.address, public)
    inside.send("call 1002")
    line = plain.next_line(0)
    line.reply(200, ANSWER)
    site.phones.until(lambda: "ACK" in line.what, "an ACK")
    inside.expect("answered")
    inside.send("hangup")
    site.phones.until(lambda: "BYE" in line.what, "a BYE")
    line = plain.calls("1001")
    caller = inside.expect("incoming")["from"]
    assert f"@{here.address}" in caller, "inside it has its own address"
    inside.send("answer")
    site.phones.until(lambda: "200 INVITE" in line.what, "an answer")
    line.bye()
    inside.expect("ended", by="remote", answered=True)

    named = f"{public[0]}:{public[1]}"
    assert {message.source for message in plain.inbox} == {public}
    for message in plain.inbox:
        head = message.data.partition(b"\r\n\r\n")[0].decode()
        assert "192.168." not in head, head
        if not message.status:
            assert message["via"].startswith(f"SIP/2.0/UDP {named};"), head
        if "contact" in message and message.method == "INVITE":
            assert re.fullmatch(
                rf"<sip:([^@>]*@)?{re.escape(named)}[;>].*", message["contact"] + ";"
            )
    heard = {message.what for message in plain.inbox}
    assert heard >= {"INVITE", "ACK", "BYE", "200 INVITE", "200 BYE", "200 REGISTER"}
