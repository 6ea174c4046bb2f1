"""TLS over a connection's bytes (RFC 3261 §26.3.1, RFC 5922), and the settings of both sides.

The library's own TLS transports keep a quarter of a megabyte for each connection; here the bytes go
through memory, and a connection that says nothing keeps what OpenSSL needs alone. No I/O but for
the files of certificates.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CHUNK: Final = 65536


class TlsError(OSError):
    """Certificates that cannot be used; the text is one line for whoever configured them."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A chain, the server's own first, and its key (both PEM)."""

    chain: Path
    key: Path


def server_context(
    certificates: Sequence[Certificate], clients: Path | None = None
) -> ssl.SSLContext:
    """What the switch shows to those who connect: the certificate whose names have the one that is
    asked for (SNI), else the first. `clients`: the authorities of certificates that all who connect
    have to show. Raises TlsError."""
    contexts = [_with_certificate(one) for one in certificates]
    first = contexts[0]
    by_name: dict[str, ssl.SSLContext] = {}
    for context, one in zip(contexts, certificates, strict=True):
        for name in names_of(one.chain):
            by_name.setdefault(name, context)
        if clients is not None:
            try:
                context.load_verify_locations(clients)
            except (OSError, ssl.SSLError) as error:
                raise TlsError(f"{clients}: {_said(error)}") from error
            context.verify_mode = ssl.CERT_REQUIRED
    if len(contexts) > 1:
        first.sni_callback = _Chooser(by_name)
    return first


class _Chooser:
    """Which certificate somebody is shown who asks for a name."""

    def __init__(self, by_name: Mapping[str, ssl.SSLContext]) -> None:
        self._by_name = by_name

    def __call__(
        self, session: ssl.SSLObject, name: str | None, context: ssl.SSLContext
    ) -> int | None:
        wanted = (name or "").lower()
        found = self._by_name.get(wanted) or self._by_name.get(f"*.{wanted.partition('.')[2]}")
        if found is not None:
            session.context = found
        return None


def client_context(
    authorities: Path | None = None,
    verify: bool = True,
    certificate: Certificate | None = None,
) -> ssl.SSLContext:
    """What the switch wants of those to whom it connects: a certificate of these authorities (the
    system's, if None) for the name that it connects to; and what it shows them. Raises TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authorities is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        try:
            context.load_verify_locations(authorities)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(f"{authorities}: {_said(error)}") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        _load(context, certificate)
    return context


def _with_certificate(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # A session ticket or two for each connection is what a phone hardly uses, and memory.
    context.num_tickets = 0
    _load(context, certificate)
    return context


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    for path in (certificate.chain, certificate.key):
        try:
            path.read_bytes()
        except OSError as error:
            raise TlsError(f"{path}: {error.strerror}") from error
    try:
        # No passphrase is asked for: nobody sits before a service.
        context.load_cert_chain(certificate.chain, certificate.key, password=b"")
    except ssl.SSLError as error:
        names_of(certificate.chain)  # which says so if it is not the key
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        what = "is not the key of the certificate" if mismatch else _said(error)
        raise TlsError(f"{certificate.key}: {what}") from error


def names_of(chain: Path) -> list[str]:
    """The names of the first certificate of a file, in lower case. Raises TlsError."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(chain.read_bytes())
    except (OSError, ValueError) as error:
        raise TlsError(f"{chain}: no certificate") from error
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        return []


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "cannot be read").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)


class TlsLayer:
    """One connection's TLS: bytes of the wire in, bytes of the peer out, and the other way round.

    `name` is whom the switch connects to (None: somebody connects to it). `ready`: the handshake is
    done. `lost` says why nothing more will come.
    """

    __slots__ = ("_in", "_object", "_out", "lost", "ready")

    def __init__(self, context: ssl.SSLContext, name: str | None = None) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._in, self._out, server_side=name is None, server_hostname=name
        )
        self.ready = False
        self.lost = ""

    def start(self) -> bytes:
        """What goes on the wire first."""
        self._shake()
        return self._out.read()

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What came from the wire: what the peer said, and what has to go back."""
        self._in.write(data)
        said = b""
        if not self.ready:
            self._shake()
        if self.ready and not self.lost:
            parts = []
            try:
                while part := self._object.read(_CHUNK):
                    parts.append(part)
                self.lost = "the peer has closed it"  # an empty read: close_notify
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self.lost = "the peer has closed it"
            except ssl.SSLError as error:
                self.lost = _said(error)
            said = b"".join(parts)
        return said, self._out.read()

    def send(self, data: bytes) -> bytes:
        """What goes on the wire for that."""
        try:
            self._object.write(data)
        except ssl.SSLError as error:
            self.lost = _said(error)
        return self._out.read()

    def close(self) -> bytes:
        """What goes on the wire last."""
        if self.ready and not self.lost:
            with contextlib.suppress(ssl.SSLError, ValueError):
                self._object.unwrap()  # the peer's own goodbye is not waited for
        return self._out.read()

    def _shake(self) -> None:
        try:
            self._object.do_handshake()
            self.ready = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError as error:
            self.lost = f"its certificate: {error.verify_message}"
        except ssl.SSLError as error:
            self.lost = _said(error)
        except ValueError as error:
            self.lost = str(error)
