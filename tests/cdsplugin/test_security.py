"""A server's secret and certificates, from its configuration to a server that runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from link_net import files, make_certificates

from cdsplugin.config import CdsSection
from cdsplugin.data.call import Call
from cdsplugin.data.entries import Log, Property
from cdsplugin.link.key_files import make_secret
from cdsplugin.link.security import SecurityError, load_security
from cdsplugin.server import CallDataServer, StartError
from softswitch.config.mistakes import resolve_paths


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def section(**settings: object) -> CdsSection:
    return CdsSection.model_validate({"database": "hq.db", **settings})


def test_secrets_from_the_configuration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not load_security("hq", section().link_keys()).closed
    assert load_security("hq", section(secret="x" * 16).link_keys()).secret == b"x" * 16
    make_secret(tmp_path / "secret")
    found = load_security("hq", section(secret_file=tmp_path / "secret").link_keys())
    assert found.closed
    assert found.secret == (tmp_path / "secret").read_bytes().strip()
    assert caplog.text == ""
    (tmp_path / "secret").chmod(0o644)
    load_security("hq", section(secret_file=tmp_path / "secret").link_keys())
    assert "can be read by others (mode 644)" in caplog.text
    (tmp_path / "short").write_text("short\n")
    with pytest.raises(SecurityError, match="holds 5 characters, expected at least 16"):
        load_security("hq", section(secret_file=tmp_path / "short").link_keys())
    with pytest.raises(SecurityError, match=r"cds\.secret_file: cannot read .*none: No such file"):
        load_security("hq", section(secret_file=tmp_path / "none").link_keys())


def test_certificates_from_the_configuration(
    certificates: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    right, other = certificates / "right", certificates / "other"
    found = load_security("hq", section(tls=files(right)).link_keys())
    assert found.closed
    assert found.secret is None
    assert "hq.pem expires on" in caplog.text  # in 20 days
    (tmp_path / "text").write_text("no certificate")
    for server, change, says in (
        ("depot", {}, r"tls\.certificate: .*hq\.pem is for hq, not for this server, depot"),
        ("hq", {"key": right / "branch.key"}, r"tls\.key: .*it is not the key of .*hq\.pem"),
        ("hq", {"key": tmp_path / "text"}, r"tls\.key: .*text: "),
        ("hq", {"key": tmp_path / "none"}, r"tls\.key: cannot read .*none: No such file"),
        ("hq", {"certificate": tmp_path / "text"}, r"tls\.certificate: .*text: "),
        ("hq", {"authority": tmp_path / "text"}, r"tls\.authority: .*text: "),
        ("hq", {"authority": other / "authority.pem"}, r"is not signed by the authority in"),
        ("expired", files(right, "expired"), r"expired\.pem expired on \d{4}-"),
        ("early", files(right, "early"), r"valid only from .*: is the clock right\?"),
    ):
        with pytest.raises(SecurityError, match=says) as caught:
            load_security(server, section(tls={**files(right), **change}).link_keys())
        assert "\n" not in str(caught.value)


def test_a_key_that_may_not_be_read(certificates: Path, tmp_path: Path) -> None:
    key = tmp_path / "hq.key"
    key.write_bytes((certificates / "right" / "hq.key").read_bytes())
    key.chmod(0)
    settings = section(tls={**files(certificates / "right"), "key": key})
    who = os.geteuid()
    if who == 0:
        os.seteuid(65534)  # root may read everything; nobody may not
    try:
        with pytest.raises(SecurityError, match="Permission denied"):
            load_security("hq", settings.link_keys())
    finally:
        os.seteuid(who)


class Screen:
    """A client that waits for a value."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[object] = asyncio.Queue()

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        for entry in properties:
            self.seen.put_nowait(entry.value)

    def ended(self, call: Call) -> None:
        pass


async def test_two_servers_by_their_configuration(certificates: Path, tmp_path: Path) -> None:
    """From the files to the data: what one writes is on the other's screen."""
    make_secret(tmp_path / "secret")

    def settings(name: str, **more: object) -> CdsSection:
        return section(
            **{"database": tmp_path / f"{name}.db", "stop_within": 0.1, **more},
            secret_file=tmp_path / "secret",
            tls=files(certificates / "right", name),
        )

    hq = CallDataServer("hq", settings("hq", listen="tcp:127.0.0.1:0"))
    await hq.start()
    address = "tcp:{}:{}".format(*hq.link.address())
    branch = CallDataServer("branch", settings("branch", peers={"hq": address}))
    await branch.start()
    at_hq, at_branch = Screen(), Screen()
    hq.store.register(at_hq, "c1", "hq")
    branch.store.register(at_branch, "c1", "hq")
    branch.store.write(at_branch, "c1", "branch", {"note": "from branch"})
    async with asyncio.timeout(10):
        assert await at_hq.seen.get() == "from branch"
        hq.store.write(at_hq, "c1", "hq", {"note": "from hq"})
        assert await at_branch.seen.get() == "from hq"
    await branch.stop()
    await hq.stop()
    wrong = CallDataServer("depot", settings("hq"))
    with pytest.raises(StartError, match=r"hq\.pem is for hq, not for this server, depot"):
        await wrong.start()


def test_paths_are_relative_to_the_configuration(tmp_path: Path) -> None:
    found = resolve_paths(section(secret_file="s", tls=files(Path("keys"))), tmp_path)
    assert found.secret_file == tmp_path / "s"
    assert found.tls is not None
    assert found.tls.key == tmp_path / "keys" / "hq.key"
