"""Kamailio as a carrier that wants to be registered with, and challenges every request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_switch import Interop, require, running
from test_kamailio_between import until_it_answers

from softswitch.lab.children import Child, PhoneChild
from softswitch.lab.ports import free_port

CONFIG = """#!KAMAILIO
debug=1
log_stderror=yes
fork=yes
children=1
disable_tcp=yes
listen=udp:127.0.0.1:{port}
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("registrar", "max_expires", 60)
modparam("auth", "nonce_expire", {lifetime})
request_route {{
  if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
  if (is_method("OPTIONS") && $si == "127.0.0.1" && !has_totag()) {{
    sl_send_reply("200", "OK"); exit;
  }}
  if (is_method("ACK")) {{
    if (has_totag() && loose_route()) t_relay(); else if (t_check_trans()) t_relay();
    exit;
  }}
  if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
  t_check_trans();
  if (is_method("REGISTER")) {{
    if (!pv_www_authenticate("carrier.test", "s3cret", "0")) {{
      www_challenge("carrier.test", "1"); exit;
    }}
    xlog("L_ERR", "REGISTERED=$au EXPIRES=$hdr(Expires)\\n");
    save("location"); exit;
  }}
  if ($sp == {switch}) {{
    if (!pv_proxy_authenticate("carrier.test", "s3cret", "0")) {{
      proxy_challenge("carrier.test", "1"); exit;
    }}
    xlog("L_ERR", "PROVED=$rm\\n");
    consume_credentials();
  }}
  if (has_totag()) {{
    if (loose_route()) {{ t_relay(); exit; }}
    sl_send_reply("404", "Not here"); exit;
  }}
  record_route();
  if ($sp == {switch}) {{ $du = "sip:{behind}"; t_relay(); exit; }}
  $ru = "sip:acme@127.0.0.1:{port}";
  if (!lookup("location")) {{ sl_send_reply("480", "Nobody is registered"); exit; }}
  t_relay();
}}
"""
ACCOUNT = ', register: true, user: acme, password: s3cret, contact_user: "1002"'


class Carrier:
    """It, and the phone of one of its customers."""

    def __init__(self, interop: Interop, folder: Path, lifetime: int) -> None:
        self.interop = interop
        self.behind = f"127.0.0.1:{free_port()}"
        config = folder / "kamailio.cfg"
        config.write_text(
            CONFIG.format(
                port=interop.proxy_port,
                behind=self.behind,
                lifetime=lifetime,
                switch=interop.sip.rpartition(":")[2],
            )
        )
        command = ["kamailio", "-DD", "-E", "-f", str(config), "-Y", str(folder), "-m", "32"]
        self.proxy = Child("kamailio", command)
        interop.children.append(self.proxy)
        until_it_answers(interop.proxy_port, self.proxy)

    def phone(self, *options: str) -> PhoneChild:
        phone = PhoneChild("behind", "--no-register", "--listen", self.behind, *options)
        self.interop.children.append(phone)
        phone.expect("ready")
        return phone

    def said(self, what: str) -> list[str]:
        return [line.partition(what)[2].strip() for line in self.proxy.errors if what in line]

    def until_said(self, what: str, told: list[str]) -> None:
        """What a proxy logs comes a little after what it does."""
        deadline = time.monotonic() + 10
        while self.said(what) != told:
            assert time.monotonic() < deadline, (self.said(what), self.proxy.recently())
            time.sleep(0.05)

    def until_registered(self) -> None:
        deadline = time.monotonic() + 15
        while not self.said("REGISTERED="):
            assert time.monotonic() < deadline, self.proxy.recently()
            self.proxy.check()
            time.sleep(0.05)


@pytest.fixture
def lifetime() -> int:
    return 300


@pytest.fixture
def carrier(tmp_path: Path, digest: str, lifetime: int) -> Iterator[Carrier]:
    require("kamailio", "kamailio")
    with running(tmp_path, digest, ACCOUNT) as interop:
        yield Carrier(interop, tmp_path, lifetime)


def test_a_call_out(carrier: Carrier) -> None:
    callee = carrier.phone("--answer", "--tone", "660")
    carrier.until_registered()
    ours = carrier.interop.phone("--tone", "440")
    ours.send("call 8001")
    ours.expect("answered", 10)
    ours.expect_tone(660)
    callee.expect_tone(440)
    ours.send("reinvite")
    callee.expect("media", state="active")
    ours.send("hangup")
    callee.expect("ended", by="remote", answered=True)
    ours.expect("ended", status=200)
    (record,) = carrier.interop.records(1)
    assert (record["disposition"], record["hangup_by"]) == ("answered", "caller")
    carrier.until_said("PROVED=", ["INVITE", "INVITE", "BYE"])


def test_a_call_in(carrier: Carrier) -> None:
    """By the Contact that the switch has registered; what it sends within it is challenged too."""
    carrier.until_registered()
    ours = carrier.interop.phone("--answer", "--tone", "440")
    caller = carrier.phone("--tone", "660")
    caller.send(f"call sip:4930123456@127.0.0.1:{carrier.interop.proxy_port}")
    caller.expect("answered", 10)
    caller.expect_tone(440)
    ours.expect_tone(660)
    ours.send("hangup")
    caller.expect("ended", by="remote", answered=True)
    (record,) = carrier.interop.records(1)
    assert (record["disposition"], record["hangup_by"]) == ("answered", "callee")
    carrier.until_said("PROVED=", ["BYE"])


@pytest.mark.parametrize("lifetime", [1])
def test_nonces_that_last_for_a_second(carrier: Carrier, lifetime: int) -> None:
    callee = carrier.phone("--answer")
    carrier.until_registered()
    ours = carrier.interop.phone()
    ours.send("call 8001")
    ours.expect("answered", 10)
    time.sleep(2.5)
    ours.send("hangup")
    callee.expect("ended", by="remote", answered=True)
    carrier.until_said("PROVED=", ["INVITE", "BYE"])


def test_the_switch_stops(tmp_path: Path, digest: str) -> None:
    """It is taken back."""
    require("kamailio", "kamailio")
    with running(tmp_path, digest, ACCOUNT) as interop:
        carrier = Carrier(interop, tmp_path, 300)
        carrier.until_registered()
        interop.switch.stop()
        deadline = time.monotonic() + 5
        while not any(line.endswith("EXPIRES=0") for line in carrier.said("REGISTERED=")):
            assert time.monotonic() < deadline, carrier.proxy.recently()
            time.sleep(0.05)
