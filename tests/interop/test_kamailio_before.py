"""Kamailio before the switch: phones register and call by way of it (Path, Record-Route)."""

from __future__ import annotations

from pathlib import Path

import pytest
from running_switch import Interop, require
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
loadmodule "path.so"
loadmodule "xlog.so"
request_route {{
  if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
  if (is_method("OPTIONS") && uri == myself) {{ sl_send_reply("200", "OK"); exit; }}
  if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
  if (is_method("ACK") && !has_totag()) {{ if (t_check_trans()) t_relay(); exit; }}
  xlog("L_ERR", "SAW=$rm:$sp\\n");
  if ($sp == {switch} && !has_totag()) {{
    loose_route();
    if (is_method("INVITE")) record_route();
    t_relay(); exit;
  }}
  if (loose_route()) {{ t_relay(); exit; }}
  if (is_method("REGISTER")) add_path();
  if (is_method("INVITE")) record_route();
  $du = "sip:127.0.0.1:{switch}";
  t_relay();
}}
"""


@pytest.fixture
def before(interop: Interop, tmp_path: Path) -> tuple[Interop, str, Child]:
    """The switch, the address of the proxy before it, and the proxy."""
    require("kamailio", "kamailio")
    port = free_port()
    config = tmp_path / "kamailio.cfg"
    config.write_text(CONFIG.format(port=port, switch=interop.sip.rpartition(":")[2]))
    command = ["kamailio", "-DD", "-E", "-f", str(config), "-Y", str(tmp_path), "-m", "32"]
    proxy = Child("kamailio", command)
    interop.children.append(proxy)
    until_it_answers(port, proxy)
    return interop, f"127.0.0.1:{port}", proxy


def phone(before: tuple[Interop, str, Child], number: str, *options: str) -> PhoneChild:
    interop, proxy, _ = before
    secret = {"1001": "foreign-secret", "1002": "our-secret"}[number]
    account = ("--registrar", proxy, "--user", number, "--password", secret)
    found = PhoneChild(number, *account, *options)
    interop.children.append(found)
    found.expect("registered", 10)
    return found


def test_two_phones_behind_it(before: tuple[Interop, str, Child]) -> None:
    interop, _, proxy = before
    there = phone(before, "1001", "--answer", "--tone", "700")
    here = phone(before, "1002", "--tone", "440")
    here.send("call 1001")
    here.expect("answered", 10)
    here.expect_tone(700)
    there.expect_tone(440)
    there.send("hangup")
    here.expect("ended", by="remote")
    here.send("call 1001")
    here.expect("answered", 10)
    here.send("hangup")
    there.expect("ended", by="remote")
    assert [row["hangup_by"] for row in interop.records(2)] == ["callee", "caller"]
    saw = [line.partition("SAW=")[2] for line in proxy.errors if "SAW=" in line]
    assert sum("BYE" in one for one in saw) == 4, " ".join(saw)


def test_one_behind_it_and_one_not(before: tuple[Interop, str, Child]) -> None:
    interop, _, _ = before
    there = phone(before, "1001", "--answer", "--tone", "700")
    here = interop.phone("--tone", "440", "--answer")
    here.send("call 1001")
    here.expect("answered", 10)
    there.expect_tone(440)
    here.send("hangup")
    there.expect("ended", by="remote")
    there.send("call 1002")
    there.expect("answered", 10)
    there.send("hangup")
    here.expect("ended", by="remote")
    assert len(interop.records(2)) == 2
