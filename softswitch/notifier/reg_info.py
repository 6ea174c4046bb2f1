"""Registration information documents (RFC 3680): where an extension is registered."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

from softswitch.notifier.xml import attribute, content
from softswitch.parties import Binding

REG_INFO: Final = "application/reginfo+xml"
_NS: Final = "urn:ietf:params:xml:ns:reginfo"


def write_registrations(aor: str, version: int, bindings: Iterable[Binding], now: float) -> bytes:
    """The contacts of an address-of-record (a URI), all of them; `now` by the registrar's clock."""
    contacts = []
    for one in bindings:
        key = f"{one.uri} {one.instance} {one.reg_id}".encode("utf-8", "surrogateescape")
        contacts.append(
            f'<contact id="{zlib.crc32(key):08x}" state="active" event="registered"'
            f' expires="{max(0, int(one.expires_at - now))}" q="{one.q:g}"'
            f' callid={attribute(one.call_id)} cseq="{one.cseq}">'
            f"<uri>{content(one.uri)}</uri></contact>\n"
        )
    state = "active" if contacts else "terminated" if version else "init"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<reginfo xmlns="{_NS}" version="{version}"'
        f' state="full">\n<registration aor={attribute(aor)} id="r{zlib.crc32(aor.encode()):08x}"'
        f' state="{state}">\n{"".join(contacts)}</registration>\n</reginfo>\n'
    ).encode("utf-8", "replace")
