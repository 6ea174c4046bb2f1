"""What a softphone is told (settings) and what it tells (events): plain values, no pjsua2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MOST_CALLS = 4  # PJSUA_MAX_CALLS of the pjsua2-python wheels


class PhoneError(Exception):
    """What the user asked for cannot be done; the text says why."""


@dataclass(frozen=True, slots=True)
class PhoneEvent:
    """Something that happened. ``call`` is the phone's own number of the call, from 1."""

    kind: str
    call: int | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answering:
    """What to do with calls that come in: ring until told otherwise, unless one of these is set.

    ``after`` seconds of ringing the call is answered; with ``status`` it is refused at once. If it
    asks to be answered it is, when it says, if ``asked`` counts.
    """

    after: float | None = None
    status: int | None = None
    asked: bool = False


@dataclass(frozen=True, slots=True)
class PhoneSettings:
    """``registrar`` is ``host:port`` and None for a phone that does not register.

    ``domain`` stands in the phone's own address and in the numbers it dials; when it differs from
    the registrar, requests still go to the registrar. ``play`` is a WAV file (16-bit PCM, any
    rate), ``tone`` a frequency in Hz, ``echo`` sends back what is heard. ``prack`` is what it does
    of reliable provisional responses (RFC 3262): ``use`` them, ``require`` them, or nothing;
    ``ca`` is a file of authorities by which the registrar is believed over TLS (None: whoever it
    is), ``certificate`` and ``key`` what it proves itself with there (PEM, both or neither);
    ``dtmf_method`` how it sends digits: ``rfc4733`` or ``info``.
    """

    user: str = "phone"
    password: str = ""
    name: str = ""
    registrar: str | None = None
    domain: str | None = None
    expires: int = 300
    transport: str = "udp"
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    codecs: tuple[str, ...] = ("PCMU/8000", "PCMA/8000")
    answering: Answering = Answering()
    max_calls: int = MOST_CALLS
    prack: str = ""
    dtmf_method: str = "rfc4733"
    play: Path | None = None
    tone: float | None = None
    echo: bool = False
    record: Path | None = None
    user_agent: str = "softswitch phone"
    log_level: int = 0
