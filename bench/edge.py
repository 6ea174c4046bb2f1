"""What stands at the edge: `python -m bench.edge flood|phones|tls`.

`flood`: strangers' requests, as many a second as asked for, beside calls of registered phones; from
one address, or from many. `phones`: as many registered phones that refresh every minute, beside
calls. `tls`: as many connections over TLS (or WSS) that have said something once.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import re
import select
import socket
import ssl
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.process import cpu_seconds, memory_bytes
from bench.sipp import sipp_callee, start_caller
from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port
from softswitch.sip import digest

CONFIG = """
switch:
  name: edge
  listen: ["udp:127.0.0.1:{sip}"{listen}]{tls}
extensions:
{extensions}
dialplan: plan.yaml
limits: {{max_connections: 20000, max_per_address: 20000, max_registrations: 200000}}
# Messages that are kept have memory of their own, as much whoever sends them.
trace: {{bytes: 0}}
cds: {{database: edge.db, linger: 1}}
"""
CALLER, CALLEE = "1001", "1002"


def start(folder: Path, extensions: int = 0, secure: str = "") -> tuple[SwitchChild, int, int]:
    """A switch with two phones for calls and `extensions` others; its UDP port, and that of
    `secure` (tls, wss)."""
    sip, other = free_port(), free_port()
    (folder / "plan.yaml").write_text("routes: [{match: 1XXX, dial: extension, timeout: 10}]\n")
    people = f'  "{CALLER}": {{password: p}}\n  "{CALLEE}": {{password: p}}\n'
    people += "".join(f'  "{50000 + n}": {{password: p}}\n' for n in range(extensions))
    listen = f', "{secure}:127.0.0.1:{other}"' if secure else ""
    tls = "\n  tls: {certificate: c.pem, key: k.pem}" if secure else ""
    if secure:
        certificate(folder)
    (folder / "edge.yaml").write_text(
        CONFIG.format(sip=sip, listen=listen, tls=tls, extensions=people)
    )
    switch = SwitchChild("edge", folder / "edge.yaml")
    switch.until_ready(60)
    return switch, sip, other


def certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "c.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "k.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


class Phones:
    """Registered phones of one socket: a Contact each."""

    def __init__(self, sip: int, source: str = "127.0.0.1", port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((source, port))
        self._to = ("127.0.0.1", sip)
        self._source = source
        self._challenges: dict[str, tuple[str, int]] = {}
        self._cseqs: dict[str, int] = {}
        self.registered = self.challenged = 0

    def close(self) -> None:
        self._socket.close()

    def register(self, number: str) -> None:
        """Send a REGISTER, with the challenge that there was last."""
        cseq = self._cseqs[number] = self._cseqs.get(number, 0) + 1
        lines = ""
        known = self._challenges.get(number)
        uri = "sip:edge"
        if known is not None:
            challenge, count = known
            self._challenges[number] = challenge, count + 1
            value = digest.answer(challenge, "REGISTER", uri, number, "p", "c", count + 1)
            lines = f"Authorization: {value}\r\n"
        host, own = self._socket.getsockname()
        contact = f"<sip:{number}@{host}:{own}>;expires=600"
        self._socket.sendto(
            f"REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{own};branch=z9hG4bK{number}{cseq}"
            f";rport\r\nFrom: <sip:{number}@edge>;tag=1\r\nTo: <sip:{number}@edge>\r\n"
            f"Call-ID: {number}@{host}\r\nCSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n"
            f"Contact: {contact}\r\n{lines}Content-Length: 0\r\n\r\n".encode(),
            self._to,
        )

    def take(self, seconds: float) -> None:
        """Read answers for so long; a challenge is answered at once."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                return
            text = self._socket.recv(4096).decode()
            found = re.search(r"\r\nTo: <sip:(\d+)@", text)
            if found is None:
                continue
            if text.startswith("SIP/2.0 401"):
                self.challenged += 1
                challenge = re.search(r"\r\nWWW-Authenticate: ([^\r]*)", text)
                assert challenge is not None
                self._challenges[found[1]] = challenge[1], 0
                self.register(found[1])
            elif text.startswith("SIP/2.0 200"):
                self.registered += 1


def called(sip: int) -> int:
    """Register the phone that is called; the port where it has to listen now."""
    port = free_port()
    phone = Phones(sip, port=port)
    phone.register(CALLEE)
    phone.take(0.5)
    phone.close()
    return port


def flood(rate: int, seconds: float, addresses: int, calls: float) -> bool:
    """Whether no call of a phone has failed."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        switch, sip, _ = start(Path(name))
        stack.callback(switch.stop)
        stack.enter_context(sipp_callee("uas-answered", port=called(sip), timeout=2 * seconds + 60))
        auth = ("-au", CALLER, "-ap", "p", "-auth_uri", f"{CALLEE}@127.0.0.1:{sip}")

        def load(what: str) -> float:
            began, cpu = time.monotonic(), cpu_seconds(switch.pid)
            number = int(seconds * calls)
            running = start_caller(
                "uac-auth", f"127.0.0.1:{sip}", calls=number, rate=calls, number=CALLEE,
                caller=CALLER, timeout=seconds + 40, args=auth,
            )  # fmt: skip
            result = running.wait(seconds + 60)
            spent = cpu_seconds(switch.pid) - cpu
            lasted = time.monotonic() - began
            print(
                f"{what}: {result.successful} of {number} calls, {result.retransmissions} sent "
                f"again, CPU {spent / lasted:.0%} of a core, {1000 * spent / number:.2f} ms a call"
            )
            failures.append(number - result.successful)
            if result.errors:
                print(result.errors[:700])
            return spent

        failures: list[int] = []
        before = load("quiet")
        stop = threading.Event()
        sent = [0]
        sources = [f"127.{1 + n // 62500}.{n // 250 % 250}.{n % 250 + 1}" for n in range(addresses)]
        thread = threading.Thread(target=_flood, args=(sip, sources, rate, stop, sent))
        thread.start()
        began = time.monotonic()
        during = load(f"{rate:,}/s of strangers at {addresses} addresses")
        lasted = time.monotonic() - began
        stop.set()
        thread.join()
        print(
            f"{sent[0]:,} requests of strangers sent, {sent[0] / lasted:,.0f}/s; each took "
            f"{1e6 * (during - before) / max(1, sent[0]):.1f} µs of CPU"
        )
        return not any(failures)


def _flood(sip: int, sources: list[str], rate: int, stop: threading.Event, sent: list[int]) -> None:
    sockets = []
    for source in sources[:500]:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((source, 0))
        sockets.append(sock)
    began = time.monotonic()
    while not stop.is_set():
        due = int((time.monotonic() - began) * rate)
        while sent[0] < due:
            sent[0] += 1
            n = sent[0]
            sockets[n % len(sockets)].sendto(
                b"INVITE sip:1002@edge SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK%d;rport\r\n"
                b"From: <sip:1001@edge>;tag=1\r\nTo: <sip:1002@edge>\r\nCall-ID: f%d\r\n"
                b"CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:x@y>\r\n"
                b"Content-Length: 0\r\n\r\n" % (n, n),
                ("127.0.0.1", sip),
            )
        time.sleep(0.002)
    for sock in sockets:
        sock.close()


def phones(count: int, seconds: float, calls: float) -> bool:
    """Whether no call has failed."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        switch, sip, _ = start(Path(name), count)
        stack.callback(switch.stop)
        stack.enter_context(sipp_callee("uas-answered", port=called(sip), timeout=seconds + 120))
        crowd = Phones(sip, "127.0.0.2")
        memory, cpu = memory_bytes(switch.pid), cpu_seconds(switch.pid)
        for n in range(count):
            crowd.register(str(50000 + n))
            if n % 20 == 19:
                crowd.take(0.01)
        for _ in range(20):
            crowd.take(0.5)
            if crowd.registered >= count:
                break
        each = (memory_bytes(switch.pid) - memory) / count / 1024
        spent = cpu_seconds(switch.pid) - cpu
        print(
            f"{crowd.registered:,} of {count:,} registered: {each:.2f} KB each, "
            f"{1000 * spent / (crowd.registered + crowd.challenged):.3f} ms CPU a REGISTER"
        )
        stop = threading.Event()

        def refresh() -> None:
            began, done = time.monotonic(), 0
            while not stop.is_set():
                due = int((time.monotonic() - began) * count / 60)
                while done < due:
                    crowd.register(str(50000 + done % count))
                    done += 1
                crowd.take(0.01)

        before = crowd.registered
        thread = threading.Thread(target=refresh)
        thread.start()
        number = int(seconds * calls)
        auth = ("-au", CALLER, "-ap", "p", "-auth_uri", f"{CALLEE}@127.0.0.1:{sip}")
        cpu = cpu_seconds(switch.pid)
        result = start_caller(
            "uac-auth", f"127.0.0.1:{sip}", calls=number, rate=calls, number=CALLEE,
            caller=CALLER, timeout=seconds + 60, args=auth,
        ).wait(seconds + 90)  # fmt: skip
        spent = cpu_seconds(switch.pid) - cpu
        stop.set()
        thread.join()
        print(
            f"{result.successful:,} of {number:,} calls beside {crowd.registered - before:,} "
            f"refreshes, {result.retransmissions} sent again, CPU {spent / seconds:.0%} of a core"
        )
        return result.successful == number and crowd.registered >= count


def connections(count: int, kind: str) -> bool:
    """Whether each costs no more than 40 KB."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        switch, _, port = start(Path(name), 0, kind)
        stack.callback(switch.stop)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        open_ = []

        def connect(n: int) -> None:
            sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10))
            ask = (
                f"OPTIONS sip:edge SIP/2.0\r\nVia: SIP/2.0/TLS x;branch=z9hG4bK{n}\r\n"
                f"From: <sip:a@b>;tag=1\r\nTo: <sip:edge>\r\nCall-ID: c{n}\r\nCSeq: 1 OPTIONS\r\n"
                "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            ).encode()
            if kind == "wss":
                sock.sendall(
                    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Protocol: sip\r\n\r\n"
                )
                assert b" 101 " in sock.recv(4096)
                ask = b"\x81\xfe" + len(ask).to_bytes(2, "big") + b"\0\0\0\0" + ask
            sock.sendall(ask)
            assert b"SIP/2.0 200" in sock.recv(4096)
            open_.append(sock)

        for n in range(50):
            connect(n)
        memory = memory_bytes(switch.pid)
        cpu = cpu_seconds(switch.pid)
        for n in range(50, 50 + count):
            connect(n)
        time.sleep(1)
        each = (memory_bytes(switch.pid) - memory) / count / 1024
        spent = 1000 * (cpu_seconds(switch.pid) - cpu) / count
        print(f"{kind}: {count:,} connections: {each:.1f} KB and {spent:.2f} ms CPU each")
        for sock in open_:
            sock.close()
        return each <= 40


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["flood", "phones", "tls", "wss"])
    parser.add_argument("--rate", type=int, default=20_000, help="strangers' requests a second")
    parser.add_argument("--addresses", type=int, default=1, help="they come from")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--count", type=int, default=10_000, help="phones; a tenth: connections")
    parser.add_argument("--calls", type=float, default=0, help="a second: 100, 500 of phones")
    options = parser.parse_args()
    if options.what == "flood":
        good = flood(options.rate, options.seconds, options.addresses, options.calls or 100)
    elif options.what == "phones":
        good = phones(options.count, options.seconds, options.calls or 500)
    else:
        good = connections(options.count // 10, options.what)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
