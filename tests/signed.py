"""An authority of the tests' own, and the certificates that it signs."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOUR = datetime.timedelta(hours=1)


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        certificate = self._signed(self._name, self._key.public_key(), [], True)
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _signed(self, subject, key, names, authority, days=1):  # type: ignore[no-untyped-def]
        now = datetime.datetime.now(datetime.UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 48 * HOUR)
            .not_valid_after(now + days * 24 * HOUR)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), True)
        )
        if names:
            built = built.add_extension(x509.SubjectAlternativeName(names), False)
        return built.sign(self._key, hashes.SHA256())

    def issue(self, *names: str, file: str = "", days: int = 1) -> tuple[Path, Path]:
        """A certificate for these names (IP addresses too), and its key."""
        alternatives: list[x509.GeneralName] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = self._signed(subject, key.public_key(), alternatives, False, days)
        base = self.folder / (file or names[0].replace("*", "any"))
        chain, secret = base.with_suffix(".cert.pem"), base.with_suffix(".key.pem")
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return chain, secret
