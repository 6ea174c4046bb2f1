"""The link: frames between servers, closed to strangers."""

from cdsplugin.link.address import Address
from cdsplugin.link.key_files import keys
from cdsplugin.link.limits import LinkLimits
from cdsplugin.link.security import SECRET_LENGTH, LinkKeys, SecurityError, TlsFiles, load_security
from cdsplugin.link.tcp import Link

__all__ = [
    "SECRET_LENGTH",
    "Address",
    "Link",
    "LinkKeys",
    "LinkLimits",
    "SecurityError",
    "TlsFiles",
    "keys",
    "load_security",
]
