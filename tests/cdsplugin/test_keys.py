"""``cds keys``."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from cdsplugin.cli import main
from cdsplugin.link.key_files import KeysError, make_authority, make_secret, make_server
from cdsplugin.link.security import SECRET_LENGTH
from cdsplugin.link.tls import TlsStream, context

NOW = datetime.datetime(2030, 5, 1, 12, 0, tzinfo=datetime.UTC)


def cds(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["keys", *map(str, words)])
    return result.exit_code, result.output


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_secret(tmp_path: Path) -> None:
    status, said = cds("secret", tmp_path / "one")
    assert status == 0
    assert "cds.secret_file" in said
    cds("secret", tmp_path / "two")
    one, two = (tmp_path / "one").read_text(), (tmp_path / "two").read_text()
    assert one != two
    assert len(one.strip()) == 43 >= SECRET_LENGTH
    assert mode(tmp_path / "one") == 0o600


def test_an_authority_and_its_servers(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    status, said = cds("authority", folder)
    assert status == 0
    assert "expires on 20" in said
    assert mode(folder) == 0o700
    for name in ("hq", "branch-2.example_x"):
        status, said = cds("server", name, folder)
        assert status == 0, said
        assert f"certificate: {name}.pem" in said
        assert "expires on 20" in said
        assert mode(folder / f"{name}.key") == 0o600
        made = certificate(folder / f"{name}.pem")
        made.verify_directly_issued_by(certificate(folder / "authority.pem"))
        san = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert san.get_values_for_type(x509.DNSName) == [name]
    assert mode(folder / "authority.key") == 0o600
    # Either of them may dial, and OpenSSL at its strictest finds nothing to say.
    listening = strict(folder, "hq", server_side=True)
    dialling = strict(folder, "branch-2.example_x", server_side=False)
    dialling.begin()
    while not (listening.established and dialling.established):
        listening.receive(dialling.pending())
        dialling.receive(listening.pending())
    assert listening.peer_names() == {"branch-2.example_x"}
    assert dialling.peer_names() == {"hq"}


def strict(folder: Path, name: str, server_side: bool) -> TlsStream:
    files = (folder / f"{name}.pem", folder / f"{name}.key", folder / "authority.pem")
    made = context(*map(str, files), server_side)
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    return TlsStream(made, server_side)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    make_authority(folder, 10, NOW)
    make_server("hq", folder, 10, NOW)
    make_secret(folder / "secret")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for words in (("authority", folder), ("server", "hq", folder), ("secret", folder / "secret")):
        status, said = cds(*words)
        assert status == 1
        assert "exists, and is not overwritten" in said
    # One of the two is there: then the other is not made either.
    (folder / "depot.pem").symlink_to("nowhere")
    status, said = cds("server", "depot", folder)
    assert status == 1
    assert not (folder / "depot.key").exists()
    assert {path: path.read_bytes() for path in before} == before


def test_valid_how_long(tmp_path: Path) -> None:
    assert make_authority(tmp_path, 10, NOW) == NOW + datetime.timedelta(days=10)
    assert make_server("hq", tmp_path, 5, NOW) == NOW + datetime.timedelta(days=5)
    assert make_server("branch", tmp_path, 500, NOW) == NOW + datetime.timedelta(days=10)
    assert certificate(tmp_path / "hq.pem").not_valid_before_utc < NOW
    with pytest.raises(KeysError, match="expired on 2030-05-11"):
        make_server("depot", tmp_path, 5, NOW + datetime.timedelta(days=11))


def test_a_long_name(tmp_path: Path) -> None:
    make_authority(tmp_path, 10, NOW)
    name = "h" * 128
    make_server(name, tmp_path, 5, NOW)
    san = certificate(tmp_path / f"{name}.pem").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert san.value.get_values_for_type(x509.DNSName) == [name]
    assert san.critical


@pytest.mark.parametrize(
    ("name", "says"),
    [("../hq", "expected letters, digits"), ("", "expected letters"), ("authority", "the auth")],
)
def test_names_that_no_server_has(tmp_path: Path, name: str, says: str) -> None:
    make_authority(tmp_path, 10, NOW)
    with pytest.raises(KeysError, match=says):
        make_server(name, tmp_path, 5, NOW)
    assert {path.name for path in tmp_path.iterdir()} == {"authority.key", "authority.pem"}


def test_an_authority_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match=r"`cds keys authority .*` makes an authority"):
        make_server("hq", tmp_path, 5, NOW)
    make_authority(tmp_path / "one", 10, NOW)
    make_authority(tmp_path / "two", 10, NOW)
    (tmp_path / "one" / "authority.key").write_bytes(
        (tmp_path / "two" / "authority.key").read_bytes()
    )
    with pytest.raises(KeysError, match=r"is not the key of authority\.pem"):
        make_server("hq", tmp_path / "one", 5, NOW)
    (tmp_path / "one" / "authority.key").write_text("nothing")
    with pytest.raises(KeysError, match="cannot be read"):
        make_server("hq", tmp_path / "one", 5, NOW)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeysError, match="cannot make"):
        make_authority(tmp_path / "file" / "keys", 10, NOW)
    with pytest.raises(KeysError, match="cannot write"):
        make_secret(tmp_path / "none" / "secret")
