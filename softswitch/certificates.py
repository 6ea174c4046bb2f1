"""The certificates of a running switch: what it shows, taken anew when a file changes, and what it
believes of trunks."""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from softswitch.config import Stamp, Trunk, stamp
from softswitch.configuration import Config, certificates, tls_context
from softswitch.sip import TlsError, TlsPeer, Transport, client_context
from softswitch.switch import Switch

log = logging.getLogger("softswitch.sip")

SOON = 14
"""Days before a certificate runs out from which on the log says so."""


class Certificates:
    """Those of one switch. What is shown to who connects is the transport's."""

    def __init__(self, switch: Switch, transport: Transport) -> None:
        self._switch = switch
        self._transport = transport
        self._stamps: dict[Path, Stamp | None] = {}
        self._believed: dict[tuple[Path | None, bool], ssl.SSLContext] = {}
        self._said = ""
        transport.proof_of = self.proof_of

    def open(self, config: Config) -> None:
        """Show what the configuration names. Raises TlsError."""
        folder = config.path.parent
        shown = certificates(config.switch, folder)
        # Before they are read: a change meanwhile is seen the next time.
        files = [path for one in shown for path in (one.chain, one.key)]
        if config.switch.tls is not None and config.switch.tls.clients is not None:
            files.append(folder / config.switch.tls.clients)
        files.extend(trunk.ca for trunk in config.trunks.values() if trunk.ca is not None)
        self._stamps = {path: stamp(path) for path in files}
        self._believed.clear()
        context = tls_context(config.switch, folder)
        if context is not None:
            self._transport.renew(context)
            for one in shown:
                _say_when_it_ends(one.chain)

    def renew(self, config: Config) -> None:
        """The same of a switch that runs: what cannot be used leaves the old ones in force."""
        try:
            self.open(config)
            self._said = ""
        except TlsError as error:
            if str(error) != self._said:
                self._said = str(error)
                log.error("tls: %s; the certificate that was there stays in force", error)

    def look(self) -> None:
        """Whether files have changed: a certificate was renewed. Call it every few seconds."""
        if any(stamp(path) != seen for path, seen in self._stamps.items()):
            log.info("tls: a certificate has changed, and is taken up")
            self.renew(self._switch.config)

    def proof_of(self, name: str, host: str, port: int) -> TlsPeer | None:
        """How the trunk of that name proves who it is, or the one at that address; None: there is
        none."""
        trunk = self._switch.trunk_entries.get(name) or self._switch.trunks.at("tls", host, port)
        if trunk is None:
            return None
        try:
            return TlsPeer(trunk.name, trunk.hop.host, self._context(trunk))
        except TlsError as error:
            log.error("trunk %s: tls: %s", trunk.name, error)
            return None

    def _context(self, trunk: Trunk) -> ssl.SSLContext:
        key = (trunk.ca, trunk.verify)
        context = self._believed.get(key)
        if context is None:
            config = self._switch.config
            own = certificates(config.switch, config.path.parent)
            context = client_context(trunk.ca, trunk.verify, own[0] if own else None)
            self._believed[key] = context
            if not trunk.verify:
                log.warning("trunk %s: its certificate is not looked at (verify)", trunk.name)
        return context


def _say_when_it_ends(chain: Path) -> None:
    try:
        ends = x509.load_pem_x509_certificate(chain.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return
    left = (ends - datetime.now(UTC)).days
    if left < SOON:
        log.warning("tls: %s %s on %s", chain, "ran out" if left < 0 else "runs out", ends.date())
