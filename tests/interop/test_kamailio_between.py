"""Kamailio as a foreign proxy on a trunk, with a phone behind it as the carrier's side."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running_switch import Interop, require

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
request_route {{
  if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
  if (has_totag()) {{
    if (loose_route()) {{ t_relay(); exit; }}
    if (is_method("ACK")) {{ if (t_check_trans()) t_relay(); exit; }}
    sl_send_reply("404", "Not here"); exit;
  }}
  if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
  t_check_trans();
  if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
  xlog("L_ERR", "CALLID=$hdr(X-CDS-Call-ID)\\n");
  record_route();
  $du = "sip:{behind}";
  t_relay();
}}
"""

Behind = Callable[..., PhoneChild]


@pytest.fixture
def behind(interop: Interop, tmp_path: Path) -> Iterator[Behind]:
    """Start the proxy, and a phone that it sends all calls to."""
    require("kamailio", "kamailio")
    address = f"127.0.0.1:{free_port()}"
    config = tmp_path / "kamailio.cfg"
    config.write_text(CONFIG.format(port=interop.proxy_port, behind=address))
    proxy = Child(
        "kamailio", ["kamailio", "-DD", "-E", "-f", str(config), "-Y", str(tmp_path), "-m", "32"]
    )
    interop.children.append(proxy)
    until_it_answers(interop.proxy_port, proxy)

    def start(*options: str) -> PhoneChild:
        phone = PhoneChild("behind", "--no-register", "--listen", address, *options)
        interop.children.append(phone)
        phone.expect("ready")
        return phone

    yield start
    # The carrier's side is foreign: the callID must not have reached it.
    assert [line for line in proxy.errors if "CALLID=" in line], proxy.recently()
    assert all("CALLID=<null>" in line for line in proxy.errors if "CALLID=" in line)


def until_it_answers(port: int, proxy: Child) -> None:

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        probe.bind(("127.0.0.1", 0))
        me = f"127.0.0.1:{probe.getsockname()[1]}"
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            proxy.check()
            request = (
                f"OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK1\r\n"
                f"From: <sip:probe@{me}>;tag=1\r\nTo: <sip:127.0.0.1:{port}>\r\nCall-ID: probe\r\n"
                "CSeq: 1 OPTIONS\r\nMax-Forwards: 5\r\nContent-Length: 0\r\n\r\n"
            )
            try:
                probe.sendto(request.encode(), ("127.0.0.1", port))
                if b" 200 " in probe.recv(4096):
                    return
            except OSError:
                time.sleep(0.05)
    pytest.fail("kamailio does not answer" + proxy.recently())


def test_answered_and_hung_up_by_the_caller(interop: Interop, behind: Behind) -> None:
    callee = behind("--answer", "--tone", "660")
    ours = interop.phone("--tone", "440")
    ours.send("call 8001")
    ours.expect("answered", 10)
    ours.expect_tone(660)
    callee.expect_tone(440)
    ours.send("reinvite")
    callee.expect("media", state="active")
    ours.send("hangup")
    callee.expect("ended", by="remote", answered=True)
    ours.expect("ended", status=200)
    (record,) = interop.records(1)
    assert (record["disposition"], record["hangup_by"]) == ("answered", "caller")


def test_hung_up_by_the_callee(interop: Interop, behind: Behind) -> None:
    callee = behind("--answer")
    ours = interop.phone()
    ours.send("call 8001")
    ours.expect("answered", 10)
    callee.expect("answered")
    callee.send("hangup")
    ours.expect("ended", by="remote", answered=True)
    assert interop.records(1)[0]["hangup_by"] == "callee"


def test_cancelled(interop: Interop, behind: Behind) -> None:
    callee = behind("--ring-only")
    ours = interop.phone()
    ours.send("call 8001")
    callee.expect("incoming", 10)
    ours.expect("ringing")
    ours.send("hangup")
    callee.expect("ended", by="remote", answered=False)
    ours.expect("ended", status=487)
    assert interop.dispositions(1) == ["cancelled"]


@pytest.mark.parametrize(("status", "disposition"), [(486, "busy"), (603, "rejected")])
def test_refused(interop: Interop, behind: Behind, status: int, disposition: str) -> None:
    behind("--reject", str(status))
    ours = interop.phone()
    ours.send("call 8001")
    ours.expect("ended", 10, status=status)
    assert interop.dispositions(1) == [disposition]
