"""How two servers find out that each is who it says it is, before anything else is said. No I/O.

The dialling side greets first (``Hello``), the other answers with its own ``Hello``. Where a secret
is shared, each side then proves that it knows it: the dialling side first, so that who merely
connects learns nothing to guess the secret from. A proof is an HMAC-SHA-256 over both names, both
starts (``instance``), both nonces, the version, and which side it comes from:

* an old proof does not fit, as each side makes a new nonce for each connection (no replay);
* a side's own proof, sent back to it, does not fit, as the direction is part of it, nor does one
  from a handshake with somebody else, as the names are (no reflection, no passing on).

The secret says who is there; it does not encrypt or sign what follows. That is for networks that
are trusted to carry it unread and unchanged; for all others there is TLS, where the name in the
peer's certificate must be the one it greets with.
"""

from __future__ import annotations

import hmac

import msgspec

from cdsplugin.data import MAGIC, VERSION, Hello

NONCE_BYTES = 32
GREETING_BYTES = 4096
"""The longest frame taken from someone who has not proved who it is."""


class LinkError(OSError):
    """The link cannot listen. The text says where and why."""


class HandshakeError(ValueError):
    """The peer is not to be spoken to. The text completes "server such-and-such ..."."""


class Proof(msgspec.Struct, frozen=True, array_like=True, tag="proof"):
    """The sender knows the shared secret."""

    mac: bytes


class Handshake:
    """One side of one connection's handshake.

    ``dialled`` is whom we meant to reach, None if it was they who dialled. ``nonce`` is
    ``NONCE_BYTES`` of chance, new for each connection. ``certified`` are the names in the peer's
    certificate, None without TLS; it may be set until the first ``receive``.
    """

    def __init__(
        self, server: str, instance: str, dialled: str | None, secret: bytes | None, nonce: bytes
    ) -> None:
        self.hello = Hello(MAGIC, VERSION, server, instance, nonce if secret is not None else b"")
        self.certified: frozenset[str] | None = None
        self.peer: Hello | None = None
        """What the peer said of itself; proved only when ``done``."""
        self.done = False
        self._dialled = dialled
        self._secret = secret

    def begin(self) -> list[Hello | Proof]:
        """What to send when the connection is there."""
        return [self.hello] if self._dialled is not None else []

    def receive(self, frame: Hello | Proof) -> list[Hello | Proof]:
        """Take what the peer sent; returns what to send. Raises HandshakeError."""
        if isinstance(frame, Proof):
            return self._proved(frame)
        return self._greeted(frame)

    def _greeted(self, hello: Hello) -> list[Hello | Proof]:
        if self.peer is not None:
            raise HandshakeError("greets twice")
        name = hello.server
        if hello.magic != MAGIC or hello.version != VERSION:
            raise HandshakeError(
                f"speaks version {hello.version} of {hello.magic!r}, not {VERSION}"
            )
        if name == self.hello.server:
            raise HandshakeError(f"calls itself {name}, which is this server's name")
        if self._dialled is not None and name != self._dialled:
            raise HandshakeError(f"calls itself {name}, but cds.peers has it as {self._dialled}")
        if self.certified is not None and name not in self.certified:
            names = ", ".join(sorted(self.certified)) or "nobody"
            raise HandshakeError(f"calls itself {name}, but its certificate is that of {names}")
        if self._secret is None:
            if hello.nonce:
                raise HandshakeError(f"({name}) asks for a secret, and there is no cds.secret here")
        elif len(hello.nonce) != NONCE_BYTES or hello.nonce == self.hello.nonce:
            raise HandshakeError(f"({name}) has no cds.secret, and this server has one")
        self.peer = hello
        answer: list[Hello | Proof] = [self.hello] if self._dialled is None else []
        if self._secret is None:
            self.done = True
        elif self._dialled is not None:
            answer.append(Proof(self._mac(by_dialler=True)))
        return answer

    def _proved(self, proof: Proof) -> list[Hello | Proof]:
        if self.peer is None or self._secret is None or self.done:
            raise HandshakeError("sends a proof that nobody asked for")
        by_dialler = self._dialled is None
        if not hmac.compare_digest(proof.mac, self._mac(by_dialler)):
            raise HandshakeError(
                f"calls itself {self.peer.server}, but its proof is wrong: it has another"
                " cds.secret, or repeats what it heard"
            )
        self.done = True
        return [Proof(self._mac(by_dialler=False))] if by_dialler else []

    def _mac(self, by_dialler: bool) -> bytes:
        assert self.peer is not None
        assert self._secret is not None
        sides = (self.peer, self.hello) if self._dialled is None else (self.hello, self.peer)
        # msgpack says where each text ends, so no two handshakes have the same bytes.
        said = msgspec.msgpack.encode(
            (
                "cds link",
                VERSION,
                "dialler" if by_dialler else "dialled",
                [(side.server, side.instance, side.nonce) for side in sides],
            )
        )
        return hmac.digest(self._secret, said, "sha256")
