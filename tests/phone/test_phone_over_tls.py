"""``softswitch phone`` over TLS at a running switch: certificates of both sides, ``sips:``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from softswitch.lab.children import PhoneChild, SwitchChild
from softswitch.lab.ports import free_port
from tests.signed import Authority

CONFIG = """
switch:
  name: hq
  listen: ["udp:127.0.0.1:{udp}", "tls:127.0.0.1:{tls}"]
  tls: {{certificate: hq.cert.pem, key: hq.key.pem, clients: clients.pem}}
extensions:
  "1001": {{password: a}}
  "1002": {{password: b}}
dialplan: plan.yaml
"""


@dataclass(slots=True)
class Place:
    """A switch that wants a certificate of whoever connects, and two phones' options for it."""

    registrar: str
    certified: list[str]
    uncertified: list[str]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    authority, clients = Authority(tmp_path), Authority(tmp_path, "clients")
    authority.issue("127.0.0.1", file="hq")
    chain, key = clients.issue("phone")
    udp, tls = free_port(), free_port()
    (tmp_path / "hq.yaml").write_text(CONFIG.format(udp=udp, tls=tls))
    (tmp_path / "plan.yaml").write_text("routes: [{match: 1XXX, dial: extension}]\n")
    switch = SwitchChild("hq", tmp_path / "hq.yaml")
    at = f"127.0.0.1:{tls}"
    uncertified = ["--registrar", at, "--transport", "tls", "--ca", str(authority.path)]
    certified = [*uncertified, "--certificate", str(chain), "--key", str(key)]
    try:
        switch.until_ready(20)
        yield Place(at, certified, uncertified)
    finally:
        switch.stop()


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "softswitch.phone", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("sips", [False, True])
def test_a_call_between_phones_that_prove_who_they_are(place: Place, sips: bool) -> None:
    account = ("--user", "1001", "--password", "a")
    bob = PhoneChild("1001", *place.certified, *account, "--answer", "--tone", "660")
    try:
        bob.expect("registered", 20)
        alice = run(
            *(*place.certified, "--user", "1002", "--password", "b", "--expect-audio", "660"),
            *("--call", f"sips:1001@{place.registrar}" if sips else "1001"),
        )
        assert alice.returncode == 0, alice.stdout + alice.stderr
        assert "listens on tls:127.0.0.1:" in alice.stdout
        bob.expect("ended", by="remote", answered=True)
    finally:
        assert bob.stop() == 0


def test_one_without_a_certificate_does_not_get_in(place: Place) -> None:
    alice = run(*place.uncertified, "--user", "1002", "--password", "b", "--call", "1001")
    assert alice.returncode == 1
    assert "registration failed: " in alice.stdout


def test_certificates_that_cannot_be_used(place: Place, tmp_path: Path) -> None:
    assert run(*place.certified[:-2], "--call", "1").returncode == 2
    _, other = Authority(tmp_path, "third").issue("other")
    alice = run(*place.certified[:-1], str(other), "--call", "1")
    assert alice.returncode == 1
    assert "key values mismatch" in alice.stdout


def test_sips_from_phone_to_phone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    chain, key = authority.issue("127.0.0.1", file="bob")
    tls = ("--no-register", "--transport", "tls", "--ca", str(authority.path))
    proof = ("--certificate", str(chain), "--key", str(key))
    bob = PhoneChild("bob", *tls, *proof, "--user", "bob", "--answer", "--tone", "660")
    try:
        address = bob.expect("ready", 10)["address"].removeprefix("tls:")
        alice = run(*tls, "--call", f"sips:bob@{address}", "--expect-audio", "660")
        assert alice.returncode == 0, alice.stdout + alice.stderr
        bob.expect("ended", by="remote", answered=True)
    finally:
        assert bob.stop() == 0


def test_sips_is_tls() -> None:
    alice = run("--no-register", "--call", "sips:bob@127.0.0.1")
    assert alice.returncode == 1
    assert "is called over TLS; this phone's transport is udp" in alice.stdout
