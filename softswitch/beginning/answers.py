"""What a first configuration is made of, and how each answer has to look.

Each `read_...` takes a text as somebody has typed it and raises ValueError, with a text for people.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
import string
from dataclasses import dataclass, field
from typing import Final

from softswitch.config import parse_listen, parse_name, parse_trunk_uri
from softswitch.sip import host_port, is_numeric, local_address_for

_RANGE: Final = re.compile(r"([0-9]{2,15})(?:-([0-9]{2,15}))?")
MOST: Final = 1000
"""Extensions of a first configuration."""
_LETTERS: Final = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Carrier:
    """A trunk to the outside; `user` is empty where the carrier knows us by our address."""

    name: str
    host: str
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Answers:
    """All of them. `extensions` have their passwords; `listen` is (address, port). `token` opens
    the API at `api`; empty: there is none. `api` only with `records`."""

    name: str
    site: str
    listen: tuple[str, int]
    extensions: dict[str, str]
    carrier: Carrier | None
    records: bool
    api: tuple[str, int] | None
    token: str = field(default="", repr=False)


def password() -> str:
    """One that nobody guesses, and that can be typed into a phone: 95 bits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(16))


def own_name() -> str:
    """This machine's, if a switch may be called so."""
    name = socket.gethostname().partition(".")[0]
    try:
        return parse_name(name)
    except ValueError:
        return "hq"


def own_addresses() -> list[str]:
    """The addresses by which this machine reaches others, the likeliest first."""
    found: list[str] = []
    for there in ("192.0.2.1", "2001:db8::1", "10.0.0.1", "192.168.0.1"):
        address = local_address_for(there)
        if address not in found and not ipaddress.ip_address(address).is_loopback:
            found.append(address)
    return [*found, "127.0.0.1"]


def read_name(text: str) -> str:
    """A switch's name."""
    return parse_name(text.strip())


def read_address(text: str) -> tuple[str, int]:
    """`192.0.2.1`, `192.0.2.1:5060` or `[2001:db8::1]:5060`."""
    text = text.strip()
    if is_numeric(text):
        text = host_port(text.strip("[]"), 5060)
    if not is_numeric(text.rpartition(":")[0]):
        raise ValueError(f"found `{text}`, expected an IP address, with or without :PORT")
    try:
        found = parse_listen(f"udp:{text}")
    except ValueError:
        found = None
    if found is None or not found.port:
        raise ValueError(f"found `{text}`: expected a port from 1 to 65535")
    return found.host, found.port


def read_extensions(text: str) -> list[str]:
    """Numbers and ranges: `1001-1010, 2000`."""
    found: dict[str, None] = {}
    for part in text.replace(",", " ").split():
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"found `{part}`, expected a number or a range such as 1001-1010")
        first, last = match[1], match[2] or match[1]
        if len(first) != len(last) or int(last) < int(first) or int(last) - int(first) >= MOST:
            raise ValueError(f"found `{part}`, expected a range upwards of at most {MOST}")
        for number in range(int(first), int(last) + 1):
            found[str(number).zfill(len(first))] = None
    if not 0 < len(found) <= MOST:
        raise ValueError(f"expected from 1 to {MOST} numbers")
    return list(found)


def read_carrier(text: str) -> str:
    """A carrier's host, with or without port."""
    text = text.strip().removeprefix("sip:")
    bare = ":" in text and is_numeric(text) and not text.startswith("[")
    try:
        found = parse_trunk_uri(f"sip:[{text}]" if bare else f"sip:{text}")
    except ValueError:
        raise ValueError(
            f"found `{text}`, expected a name or address: sip.carrier.example"
        ) from None
    if found.user or found.said_transport:
        raise ValueError(f"found `{text}`, expected its host alone: {found.domain}")
    # With the port as it was typed: without one the DNS may say it.
    host = f"[{found.host}]" if ":" in found.host else found.host
    return f"{host}:{found.port}" if found.said_port else host
