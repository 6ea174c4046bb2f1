"""What secures a server's link: its secret and its certificates, read from the configuration's
files and checked when the server starts, so that a mistake is one line then and not a riddle later.
"""

from __future__ import annotations

import datetime
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from cdsplugin.link.tls import context

log = logging.getLogger("cdsplugin.security")

WARN_DAYS = 30


SECRET_LENGTH = 16
"""Characters of a shared secret, at least. ``cds keys secret`` makes 43 (256 bits)."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, as ``cds keys`` makes them: this server's certificate for its name, its private
    key, and the certificate of the authority that signs all servers'."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class LinkKeys:
    """What is to secure the link, as it was configured: a secret, or the file with it; and
    certificates."""

    secret: bytes | None = None
    secret_file: Path | None = None
    tls: TlsFiles | None = None


class SecurityError(OSError):
    """A secret or certificate cannot be used. The text says which file, and why."""


@dataclass(frozen=True, slots=True)
class LinkSecurity:
    """Without any of these the link is open to whoever reaches it: loopback only."""

    secret: bytes | None = None
    listening: ssl.SSLContext | None = None
    dialling: ssl.SSLContext | None = None

    @property
    def closed(self) -> bool:
        """Whether strangers are kept out."""
        return self.secret is not None or self.listening is not None


def load_security(server: str, keys: LinkKeys) -> LinkSecurity:
    """Read and check the files (``cds.secret_file``, ``cds.tls``). Raises SecurityError."""
    secret = keys.secret
    if secret is None and keys.secret_file is not None:
        secret = _secret(keys.secret_file)
    if keys.tls is None:
        return LinkSecurity(secret)
    listening, dialling = _contexts(server, keys.tls)
    return LinkSecurity(secret, listening, dialling)


def _secret(path: Path) -> bytes:
    secret = _read(path, "cds.secret_file").strip()
    if len(secret) < SECRET_LENGTH:
        raise SecurityError(
            f"cds.secret_file: {path} holds {len(secret)} characters, expected at least"
            f" {SECRET_LENGTH}: `cds keys secret FILE` makes one"
        )
    _warn_if_open(path)
    return secret


def _contexts(server: str, files: TlsFiles) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    # Imported here: without cds.tls nothing of it is needed.
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        own = x509.load_pem_x509_certificates(_read(files.certificate, "cds.tls.certificate"))
    except ValueError as error:
        raise SecurityError(f"cds.tls.certificate: {files.certificate}: {error}") from error
    try:
        authorities = x509.load_pem_x509_certificates(_read(files.authority, "cds.tls.authority"))
    except ValueError as error:
        raise SecurityError(f"cds.tls.authority: {files.authority}: {error}") from error
    _read(files.key, "cds.tls.key")
    _warn_if_open(files.key)
    mine = own[0]
    names = _names(mine)
    if server not in names:
        raise SecurityError(
            f"cds.tls.certificate: {files.certificate} is for {', '.join(names) or 'nobody'},"
            f" not for this server, {server}"
        )
    now = datetime.datetime.now(datetime.UTC)
    until = mine.not_valid_after_utc
    if until <= now:
        raise SecurityError(
            f"cds.tls.certificate: {files.certificate} expired on {until:%Y-%m-%d %H:%M} UTC"
        )
    if mine.not_valid_before_utc > now:
        raise SecurityError(
            f"cds.tls.certificate: {files.certificate} is valid only from"
            f" {mine.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: is the clock right?"
        )
    if until - now < datetime.timedelta(days=WARN_DAYS):
        log.warning(
            "cds.tls.certificate: %s expires on %s UTC; no server connects to this one after that",
            files.certificate,
            f"{until:%Y-%m-%d %H:%M}",
        )
    for issuer in (*own[1:], *authorities):
        try:
            mine.verify_directly_issued_by(issuer)
            break
        except (ValueError, TypeError, InvalidSignature):
            continue
    else:
        raise SecurityError(
            f"cds.tls.certificate: {files.certificate} is not signed by the authority in"
            f" {files.authority}"
        )
    try:
        texts = str(files.certificate), str(files.key), str(files.authority)
        return context(*texts, server_side=True), context(*texts, server_side=False)
    except ssl.SSLError as error:
        why = (error.reason or str(error)).replace("_", " ").lower()
        if error.reason == "KEY_VALUES_MISMATCH":
            why = f"it is not the key of {files.certificate}"
        raise SecurityError(f"cds.tls.key: {files.key}: {why}") from error
    except OSError as error:
        raise SecurityError(f"cds.tls: {error}") from error


def _names(certificate: object) -> list[str]:
    from cryptography import x509

    assert isinstance(certificate, x509.Certificate)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = found.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    if names:
        return names
    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return [str(attribute.value) for attribute in common]


def _read(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SecurityError(f"{key}: cannot read {path}: {error.strerror or error}") from error


def _warn_if_open(path: Path) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        log.warning("%s can be read by others (mode %03o): chmod 600 it", path, mode)
