"""TLS: sockets that are, certificates made here, renewed, wrong, and chosen by name."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from softswitch.config import ConfigErrors
from softswitch.configuration import load_config
from softswitch.lab.children import PhoneChild, SwitchChild
from softswitch.lab.ports import free_port
from tests.signed import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


CONFIG = """
switch:
  name: hq
  listen: ["udp:127.0.0.1:{udp}", "tls:127.0.0.1:{tls}", "wss:127.0.0.1:{wss}"]
  tls: {{certificate: {chain}, key: {key}{more}}}
extensions: {{"1001": {{password: a}}}}
dialplan: plan.yaml
"""


class Served:
    """A switch process, and the ports where it listens."""

    def __init__(self, folder: Path, chain: Path, key: Path, more: str = "") -> None:
        self.udp, self.tls, self.wss = (free_port() for _ in range(3))
        self.config = folder / "hq.yaml"
        (folder / "plan.yaml").write_text("routes: []\n")
        self.config.write_text(
            CONFIG.format(
                udp=self.udp, tls=self.tls, wss=self.wss, chain=chain.name, key=key.name, more=more
            )
        )
        self.process = SwitchChild("hq", self.config)

    def options(self, context: ssl.SSLContext, name: str = "localhost", port: int = 0) -> str:
        """What an OPTIONS over TLS is answered."""
        with connect(context, port or self.tls, name) as sock:
            return options(sock)


@contextmanager
def closed(process: SwitchChild) -> Iterator[None]:
    try:
        yield
    finally:
        process.stop()


def connect(context: ssl.SSLContext, port: int, name: str = "localhost") -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), 5)
    raw.settimeout(5)
    return context.wrap_socket(raw, server_hostname=name)


def refused(context: ssl.SSLContext, port: int) -> bool:
    """Whether nothing can be said there: with TLS 1.3 that shows with the first answer."""
    try:
        with connect(context, port) as sock:
            return not options(sock)
    except OSError:
        return True


def options(sock: ssl.SSLSocket) -> str:
    sock.sendall(
        b"OPTIONS sip:hq SIP/2.0\r\nVia: SIP/2.0/TLS me:5061;branch=z9hG4bK1;rport\r\n"
        b"From: <sip:me@me>;tag=1\r\nTo: <sip:hq>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n"
        b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    return sock.recv(4096).decode().partition("\r\n")[0]


def believing(*authorities: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for one in authorities:
        context.load_verify_locations(one.path)
    return context


@pytest.fixture
def served(tmp_path: Path, authority: Authority) -> Iterator[Served]:
    served = Served(tmp_path, *authority.issue("localhost", "127.0.0.1"))
    with closed(served.process):
        served.process.until_ready(20)
        yield served


def test_sip_over_tls(served: Served, authority: Authority) -> None:
    context = believing(authority)
    assert served.options(context) == "SIP/2.0 200 OK"
    with pytest.raises(ssl.SSLCertVerificationError):
        served.options(ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        served.options(context, "other.example")
    assert served.options(context) == "SIP/2.0 200 OK"


def test_what_comes_in_pieces_and_all_at_once(served: Served, authority: Authority) -> None:
    with connect(believing(authority), served.tls) as sock:
        message = (
            b"OPTIONS sip:hq SIP/2.0\r\nVia: SIP/2.0/TLS me;branch=z9hG4bK%d\r\n"
            b"From: <sip:a@b>;tag=1\r\nTo: <sip:hq>\r\nCall-ID: c%d\r\nCSeq: 1 OPTIONS\r\n"
            b"Max-Forwards: 7\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        for byte in message % (1, 1):
            sock.sendall(bytes([byte]))
        assert sock.recv(4096).startswith(b"SIP/2.0 200 OK")
        sock.sendall(b"".join(message % (n, n) for n in range(2, 300)))
        got = b""
        while got.count(b"SIP/2.0 200 OK") < 298:
            got += sock.recv(65536)
        sock.sendall(b"\r\n\r\n")
        assert sock.recv(10) == b"\r\n"


def test_who_speaks_no_tls(served: Served, authority: Authority) -> None:
    for junk in (b"OPTIONS sip:hq SIP/2.0\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 9000, b"\0"):
        with socket.create_connection(("127.0.0.1", served.tls), 5) as raw:
            raw.settimeout(5)
            raw.sendall(junk)
            if len(junk) > 1:
                while raw.recv(4096):
                    pass
    assert served.options(believing(authority)) == "SIP/2.0 200 OK"


def test_a_certificate_is_renewed(served: Served, authority: Authority, tmp_path: Path) -> None:
    """As a program does that replaces the files, and by SIGHUP: connections go on."""
    context = believing(authority)
    with connect(context, served.tls) as sock:
        assert options(sock) == "SIP/2.0 200 OK"
        was = sock.getpeercert(True)
        authority.issue("localhost", "127.0.0.1")
        deadline = time.monotonic() + 20
        while True:
            with connect(context, served.tls) as other:
                if other.getpeercert(True) != was:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.3)
        assert options(sock) == "SIP/2.0 200 OK"
        # One that cannot be used leaves the other in force.
        (tmp_path / "localhost.key.pem").write_text("no key\n")
        os.kill(served.process.pid, signal.SIGHUP)
        for complaint in ("not taken up", "stays in force"):  # to who asked, and by itself
            served.process.until(
                lambda said=complaint: any(  # type: ignore[misc]
                    said in line and "localhost.key.pem" in line for line in served.process.errors
                ),
                30,
                complaint,
            )
        assert served.options(context) == "SIP/2.0 200 OK"


def test_by_name(tmp_path: Path, authority: Authority) -> None:
    chain, key = authority.issue("one.example")
    two, two_key = authority.issue("two.example", "*.three.example")
    more = f", more: [{{certificate: {two.name}, key: {two_key.name}}}]"
    served = Served(tmp_path, chain, key, more)
    with closed(served.process):
        served.process.until_ready(20)
        context = believing(authority)
        for name in ("one.example", "two.example", "a.three.example"):
            assert served.options(context, name) == "SIP/2.0 200 OK", name
        with pytest.raises(ssl.SSLCertVerificationError):
            served.options(context, "four.example")


def test_clients_with_certificates(tmp_path: Path, authority: Authority) -> None:
    clients = Authority(tmp_path, "clients")
    chain, key = authority.issue("localhost")
    served = Served(tmp_path, chain, key, ", clients: clients.pem")
    with closed(served.process):
        served.process.until_ready(20)
        context = believing(authority)
        assert refused(context, served.tls)
        context.load_cert_chain(*clients.issue("phone"))
        assert served.options(context) == "SIP/2.0 200 OK"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda chain, key: chain.unlink(), "No such file"),
        (lambda chain, key: chain.write_text("nothing"), "localhost.cert.pem"),
        (lambda chain, key: key.write_text("nothing"), "localhost"),
        (lambda chain, key: key.unlink(), "localhost.key.pem"),
    ],
)
def test_mistakes(tmp_path: Path, authority: Authority, spoil, says: str) -> None:  # type: ignore[no-untyped-def]
    chain, key = authority.issue("localhost")
    spoil(chain, key)
    (tmp_path / "plan.yaml").write_text("routes: []\n")
    config = tmp_path / "hq.yaml"
    config.write_text(CONFIG.format(udp=1, tls=2, wss=3, chain=chain.name, key=key.name, more=""))
    with pytest.raises(ConfigErrors) as raised:
        load_config(config)
    assert "hq.yaml:5:8: `tls`:" in str(raised.value)
    assert says in str(raised.value)


def test_another_ones_key(tmp_path: Path, authority: Authority) -> None:
    chain, _ = authority.issue("localhost")
    _, other = authority.issue("other")
    (tmp_path / "plan.yaml").write_text("routes: []\n")
    config = tmp_path / "hq.yaml"
    config.write_text(CONFIG.format(udp=1, tls=2, wss=3, chain=chain.name, key=other.name, more=""))
    with pytest.raises(ConfigErrors, match="is not the key of the certificate"):
        load_config(config)


def test_tls_without_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("routes: []\n")
    config = tmp_path / "hq.yaml"
    config.write_text('switch: {name: hq, listen: ["tls:127.0.0.1:5061"]}\ndialplan: plan.yaml\n')
    with pytest.raises(ConfigErrors, match=r"without `switch\.tls`"):
        load_config(config)
    config.write_text(
        'switch: {name: hq, listen: ["udp:127.0.0.1:5060"]}\ndialplan: plan.yaml\n'
        'trunks: {a: {to: "sips:carrier.example"}}\n'
    )
    with pytest.raises(ConfigErrors, match=r"over TLS, but nothing in `switch\.listen` is"):
        load_config(config)


def test_openssl_finds_nothing_old(served: Served) -> None:
    """As a scanner would look."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{served.tls}", "-tls1_1"],
        input=b"",
        capture_output=True,
        timeout=20,
    )
    assert b"Cipher is (NONE)" in done.stdout or done.returncode


TRUNK = """
switch:
  name: {name}
  listen: ["udp:127.0.0.1:{udp}", "tls:127.0.0.1:{tls}"]
  tls: {{certificate: localhost.cert.pem, key: localhost.key.pem}}
extensions: {{"{number}": {{password: a}}}}
trunks:
  other: {{to: "sips:localhost:{other}", switch: true, ca: {ca}, keepalive: 1{more}}}
dialplan: {name}-plan.yaml
"""


@pytest.mark.parametrize(
    ("ca", "more", "up"),
    [("ca.pem", "", True), ("other.pem", "", False), ("other.pem", ", verify: false", True)],
)
def test_a_trunk_over_tls(
    tmp_path: Path, authority: Authority, ca: str, more: str, up: bool
) -> None:
    """Both switches prove who they are; a call goes from one to the other."""
    Authority(tmp_path, "other")
    authority.issue("localhost")
    ports = [free_port() for _ in range(4)]
    switches = []
    for name, number, route, udp, tls, other in (
        ("hq", "1001", "2XXX", ports[0], ports[1], ports[3]),
        ("branch", "2001", "1XXX", ports[2], ports[3], ports[1]),
    ):
        (tmp_path / f"{name}-plan.yaml").write_text(
            f'routes:\n  - {{match: "{number}", from: any, dial: extension}}\n'
            f'  - {{match: "{route}", dial: "trunk:other"}}\n'
        )
        config = tmp_path / f"{name}.yaml"
        trusted = ca if name == "hq" else "ca.pem"
        config.write_text(
            TRUNK.format(
                name=name,
                udp=udp,
                tls=tls,
                other=other,
                number=number,
                ca=trusted,
                more=more if name == "hq" else "",
            )
        )
        switches.append(SwitchChild(name, config))
    phones: list[PhoneChild] = []
    try:
        for switch in switches:
            switch.until_ready(20)
        for number, port in (("1001", ports[0]), ("2001", ports[2])):
            account = ("--registrar", f"127.0.0.1:{port}", "--user", number, "--password", "a")
            phones.append(PhoneChild(number, *account, "--answer", "--tone", number))
            phones[-1].expect("registered", 10)
        caller, callee = phones
        caller.send("call 2001")
        if up:
            caller.expect("answered", 10)
            caller.expect_tone(2001)
            callee.expect_tone(1001)
            caller.send("hangup")
            callee.expect("ended", by="remote")
        else:
            assert caller.expect("ended", 10)["status"] >= 500
            said = switches[0].errors
            switches[0].until(lambda: any("its certificate" in line for line in said), 5, "line")
    finally:
        for child in (*phones, *switches):
            child.stop()


def test_two_trunks_at_one_address_are_believed_for_themselves(
    tmp_path: Path, authority: Authority
) -> None:
    """A connection to one of them is not the other's, whose certificate nobody has looked at."""
    Authority(tmp_path, "other")
    authority.issue("localhost")
    udp, tls, far_udp, far = (free_port() for _ in range(4))
    (tmp_path / "far-plan.yaml").write_text('routes: [{match: ".", from: any, status: 480}]\n')
    far_config = tmp_path / "far.yaml"
    far_config.write_text(
        TRUNK.format(
            name="far", udp=far_udp, tls=far, other=tls, number="2001", ca="ca.pem", more=""
        )
    )
    (tmp_path / "hq-plan.yaml").write_text(
        'routes:\n  - {match: "2001", dial: "trunk:other"}\n'
        '  - {match: "2002", dial: "trunk:two"}\n'
    )
    hq_config = tmp_path / "hq.yaml"
    hq_config.write_text(
        TRUNK.format(name="hq", udp=udp, tls=tls, other=far, number="1001", ca="ca.pem", more="")
        .replace(
            "dialplan:",
            f'  two: {{to: "sips:localhost:{far}", ca: other.pem, keepalive: 0, '
            "register: true, user: a, password: b}\ndialplan:",
        )
        .replace("switch: true", "register: true, user: c, password: d")
    )
    switches = [SwitchChild("far", far_config), SwitchChild("hq", hq_config)]
    phones = []
    try:
        for switch in switches:
            switch.until_ready(20)
        account = ("--registrar", f"127.0.0.1:{udp}", "--user", "1001", "--password", "a")
        phones.append(PhoneChild("1001", *account))
        phones[0].expect("registered", 10)
        for number, status in (("2001", 480), ("2002", 500), ("2001", 480)):
            phones[0].send(f"call {number}")
            assert phones[0].expect("ended", 10)["status"] == status, number
    finally:
        for child in (*phones, *switches):
            child.stop()
