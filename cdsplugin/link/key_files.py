"""``cds keys``: makes what closes the link between servers to strangers.

A shared secret, or an authority and a certificate for each server (ECDSA P-256, which every TLS 1.3
knows). A server's certificate is for its name, as the servers call each other, and for both sides
of a connection, as either may dial. Nothing is ever overwritten; private keys and secrets are
readable by their owner alone.
"""

from __future__ import annotations

import datetime
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cdsplugin.data import server_name

_COMMON_NAME = 64  # characters, X.520
_BACKDATED = datetime.timedelta(hours=1)
"""A certificate is valid from a little earlier on: the other servers' clocks may be behind."""


class KeysError(click.ClickException):
    """What was asked for cannot be made. Nothing was."""


@click.group()
def keys() -> None:
    """Make the secret or the certificates that close the link between servers to strangers."""


def _days(default: int) -> Callable[[Any], Any]:
    return click.option(
        "--days",
        default=default,
        show_default=True,
        type=click.IntRange(1, 36500),
        help="How long it is valid.",
    )


@keys.command()
@click.argument("file", type=click.Path(path_type=Path))
def secret(file: Path) -> None:
    """Make FILE, a secret of 256 random bits for cds.secret_file: the same on all servers."""
    make_secret(file)
    click.echo(f"{file}: copy it to every server (mode 600) and name it as cds.secret_file")


@keys.command()
@click.argument("directory", type=click.Path(path_type=Path))
@_days(3650)
def authority(directory: Path, days: int) -> None:
    """Make an authority in DIRECTORY: authority.pem for all servers, authority.key for nobody."""
    until = make_authority(directory, days, _now())
    click.echo(f"{directory / 'authority.pem'}: copy it to every server, as cds.tls.authority")
    click.echo(f"{directory / 'authority.key'}: signs certificates; keep it where no server runs")
    click.echo(f"expires on {until:%Y-%m-%d}; servers' certificates end no later")


@keys.command()
@click.argument("name")
@click.argument("directory", type=click.Path(path_type=Path))
@_days(730)
def server(name: str, directory: Path, days: int) -> None:
    """Make NAME.pem and NAME.key, signed by the authority in DIRECTORY, for the server NAME."""
    until = make_server(name, directory, days, _now())
    click.echo(f"{directory / name}.pem, {name}.key: move them to server {name} and set")
    click.echo(
        f"  cds: {{tls: {{certificate: {name}.pem, key: {name}.key, authority: authority.pem}}}}"
    )
    click.echo(f"expires on {until:%Y-%m-%d}; move them away and make new ones before that")


def make_secret(file: Path) -> None:
    """A file with a new secret, mode 0600. Raises KeysError."""
    _write([(file, secrets.token_urlsafe(32).encode() + b"\n", 0o600)])


def make_authority(directory: Path, days: int, now: datetime.datetime) -> datetime.datetime:
    """A new authority in ``directory``; returns until when it is valid. Raises KeysError."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    until = now + datetime.timedelta(days=days)
    # A part of chance: two authorities are never taken for one another.
    common = f"call data servers {secrets.token_hex(4)}"
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(x509, signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_pair(directory, "authority", certificate, key)
    return until


def make_server(name: str, directory: Path, days: int, now: datetime.datetime) -> datetime.datetime:
    """A certificate for the server ``name``, signed by the authority in ``directory``.

    Returns until when it is valid: never longer than the authority. Raises KeysError.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        server_name(name)
    except ValueError as error:
        raise KeysError(f"server name: {error}") from error
    if name == "authority":
        raise KeysError("a server called `authority` would take the authority's files")
    try:
        issuer = x509.load_pem_x509_certificate((directory / "authority.pem").read_bytes())
        signer = serialization.load_pem_private_key(
            (directory / "authority.key").read_bytes(), password=None
        )
    except FileNotFoundError as error:
        raise KeysError(
            f"there is no {error.filename}: `cds keys authority {directory}` makes an authority"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise KeysError(f"the authority in {directory} cannot be read: {error}") from error
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise KeysError(f"{directory / 'authority.key'} is no key that `cds keys` made")
    if signer.public_key() != issuer.public_key():
        raise KeysError(f"{directory / 'authority.key'} is not the key of authority.pem beside it")
    until = min(now + datetime.timedelta(days=days), issuer.not_valid_after_utc)
    if until <= now:
        raise KeysError(f"the authority in {directory} expired on {until:%Y-%m-%d}: make a new one")
    key = ec.generate_private_key(ec.SECP256R1())
    # A longer name stands in the SAN alone, which is where it is looked for first.
    subject = (
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if len(name) <= _COMMON_NAME else []
    )
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=not subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(x509, signs_certificates=False), critical=True)
        .add_extension(both, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    _write_pair(directory, name, certificate, key)
    return until


def _usage(x509: Any, signs_certificates: bool) -> Any:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write_pair(directory: Path, name: str, certificate: Any, key: Any) -> None:
    from cryptography.hazmat.primitives import serialization

    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeysError(f"cannot make {directory}: {error.strerror or error}") from error
    _write(
        [(directory / f"{name}.key", private, 0o600), (directory / f"{name}.pem", public, 0o644)]
    )


def _write(files: list[tuple[Path, bytes, int]]) -> None:
    """All of them or none, and never over one that is there."""
    for path, _, _ in files:
        if os.path.lexists(path):
            raise KeysError(f"{path} exists, and is not overwritten")
    written: list[Path] = []
    try:
        for path, content, mode in files:
            # O_EXCL: also not over one that came between; its mode is right from the first byte.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise KeysError(f"cannot write {path}: {error.strerror or error}") from error


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)
