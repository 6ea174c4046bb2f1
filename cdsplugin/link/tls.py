"""TLS for the link, between bytes and bytes: no sockets, so that the connection keeps hold of time,
limits and buffers itself, from the first byte of a stranger on.

TLS 1.3 only (both ends are ours), and certificates from both sides, signed by our own authority.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Any


class TlsError(ValueError):
    """TLS with the peer failed. The text completes "server such-and-such ..."."""


_WORDS = {
    "TLSV1_ALERT_UNKNOWN_CA": "does not accept our certificate: it is from another authority",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "does not accept our certificate: it has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "does not accept our certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "does not accept our certificate: not for this use",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "asks for a certificate",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "has no certificate",
    "UNSUPPORTED_PROTOCOL": "speaks no TLS 1.3",
    "TLSV1_ALERT_PROTOCOL_VERSION": "speaks no TLS 1.3",
    "WRONG_VERSION_NUMBER": "speaks no TLS, and cds.tls asks for it",
    "HTTP_REQUEST": "speaks no TLS but HTTP",
    "HTTPS_PROXY_REQUEST": "speaks no TLS but HTTP",
}

_FOREIGN = (18, 19, 20, 21)
"""OpenSSL's ways of saying that no authority we know has signed it (X509_V_ERR_DEPTH_ZERO_SELF_
SIGNED_CERT and the three after it)."""


def context(certificate: str, key: str, authority: str, server_side: bool) -> ssl.SSLContext:
    """A context of one direction. Raises OSError (``ssl.SSLError`` is one)."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    # The names are compared by the handshake: a server's name is no host name.
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_verify_locations(authority)
    made.load_cert_chain(certificate, key, password="")  # an encrypted key must not ask a terminal
    if server_side:
        made.num_tickets = 0  # a connection lasts for days; nobody resumes one
    return made


class TlsStream:
    """One side of one connection. What ``pending`` returns is to be sent after each call."""

    def __init__(self, context: ssl.SSLContext, server_side: bool) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_side=server_side)
        self.established = False
        self.ended = False
        """The peer has closed its side."""

    def begin(self) -> None:
        """Start the handshake; the dialling side has the first word."""
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the peer; returns what they mean. Raises TlsError."""
        self._in.write(data)
        if not self.established and not self._shake_hands():
            return b""
        plain = []
        incoming, stream = self._in, self._object
        try:
            # Asked first, since being told SSLWantReadError costs more than reading does.
            while incoming.pending or stream.pending():
                piece = stream.read(16384)
                if not piece:
                    self.ended = True
                    break
                plain.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            raise TlsError(_words(error)) from error
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def encrypt(self, data: bytes) -> bytes:
        """The bytes to send for ``data``."""
        self._object.write(data)
        return self._out.read()

    def pending(self) -> bytes:
        """What TLS itself has to send: its handshake, or why it gave up."""
        return self._out.read() if self._out.pending else b""

    def close(self) -> None:
        """Tell the peer, by ``pending``, that nothing more comes."""
        if self.established:
            # SSLWantReadError: it wants the peer's word too, and nobody waits for that.
            with contextlib.suppress(ssl.SSLError):
                self._object.unwrap()

    def peer_names(self) -> frozenset[str]:
        """The names that the peer's certificate is for (SAN; without one, the common name)."""
        found: Any = self._object.getpeercert() or {}
        names = [name for kind, name in found.get("subjectAltName", ()) if kind == "DNS"]
        if not names:
            subject = (pair for part in found.get("subject", ()) for pair in part)
            names = [value for kind, value in subject if kind == "commonName"]
        return frozenset(names)

    def _shake_hands(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise TlsError(_words(error)) from error
        self.established = True
        return True


def _words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        foreign = error.verify_code in _FOREIGN
        why = "it is from another authority" if foreign else error.verify_message
        return f"has a certificate that is not accepted: {why}"
    reason = error.reason or str(error)
    return _WORDS.get(reason, f"broke TLS: {reason.replace('_', ' ').lower()}")
