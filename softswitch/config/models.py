"""What a switch's configuration may hold, key by key, and what is made of phones and trunks.

What each key means to an admin stands in ``docs/configuration.md``; the models here are what a file
is checked against.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    Strict,
    StringConstraints,
    WithJsonSchema,
)

from softswitch.config.addresses import (
    Listen,
    TrunkAddress,
    TrunkSource,
    parse_hep,
    parse_listen,
    parse_network,
    parse_public,
    parse_resolver,
    parse_route,
    parse_trunk_source,
    parse_trunk_uri,
)
from softswitch.config.caller_id import CallerId, CallerIdModel, TrunkCallerIdModel
from softswitch.config.forwarding import DndKey, FollowModel, Forwarding, ForwardModel
from softswitch.config.numbers import NumberForm, NumberForms
from softswitch.config.places import as_written, did_you_mean
from softswitch.config.recording import RecordingModel
from softswitch.config.taps import Tap, TapModel, TappingModel
from softswitch.config.time_zones import TimeZoneText
from softswitch.config.toll import TollModel
from softswitch.config.values import (
    IN_JSON_A_TEXT,
    TEXTS,
    Count,
    Flag,
    Seconds,
    SecondsOrOff,
    Section,
    Text,
    one_or_more,
    text_then,
)
from softswitch.config.voicemail import Mailbox, MailboxModel, VoicemailModel

MAX_NUMBER = 128
"""Characters of a dialled number; a longer one matches no route."""
MAX_TEXT = 256
"""Characters of a text of a peer: a name, a reason, what a phone calls itself."""
MAX_REMEMBERED = 10_000
"""Answers remembered, by number and caller; all are forgotten when there would be more."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTENSION = re.compile(r"[A-Za-z0-9*#+._-]+")
_CODE = re.compile(r"[0-9*#]{1,8}")
_HEADER = re.compile(r"[A-Za-z0-9-.!%*_+`'~]+")


def parse_name(text: str) -> str:
    """That of a switch or a trunk. Raises ValueError, saying what was expected."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"found `{text}`, expected letters, digits, `.`, `_` and `-`")
    return text


def _extension(text: str) -> str:
    if text == "extension" or not _EXTENSION.fullmatch(text):
        raise ValueError("expected a number, or a name of letters and digits, for an extension")
    return text


def _code(text: str) -> str:
    if not _CODE.fullmatch(text):
        raise ValueError(f"found `{text}`, expected a code of digits, `*` and `#`, such as *2")
    return text


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise ValueError(f"found `{text}`, expected the name of a SIP header")
    return text


def _media_mode(mode: str) -> str:
    if mode != "bypass":
        raise ValueError(f"found `{mode}`, which is not available yet: only bypass is")
    return mode


def _language(text: str) -> str:
    if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", text):
        raise ValueError(f"found `{text}`, expected a language such as en or pt-BR")
    return text


def _numeric(text: str) -> str:
    return str(ip_address(text.strip("[]")))


def _file_or_off(value: object) -> Path | bool:
    text = as_written(value)
    if value is False or (isinstance(text, str) and text):
        return Path(text) if isinstance(text, str) and value is not False else False
    raise ValueError("expected a file, or `off`")


Networks = Annotated[
    tuple[Annotated[IPv4Network | IPv6Network, text_then(parse_network), IN_JSON_A_TEXT], ...],
    BeforeValidator(one_or_more),
    TEXTS,
]


class CertificateModel(Section):
    """A certificate and its key."""

    certificate: Path = Field(description="file with the certificate and what leads to a root, PEM")
    key: Path = Field(description="file with its key, PEM, without a passphrase")


class TlsSection(CertificateModel):
    """``switch.tls``."""

    more: tuple[CertificateModel, ...] = Field(
        default=(), description="certificates for other names, chosen by what is asked for (SNI)"
    )
    clients: Path | None = Field(
        default=None,
        description="file of the authorities whose certificates all have to show who connect",
    )


class SwitchSection(Section):
    """``switch:``, who this switch is and where it listens."""

    name: Annotated[Text, AfterValidator(parse_name)] = Field(
        description="the switch's name, unique among your switches"
    )
    site: Text = Field(default="", description="where it stands; goes into the call's data")
    time_zone: TimeZoneText | None = Field(
        default=None,
        description="time zone of the dialplan's conditions, such as Europe/Berlin; "
        "by default the machine's",
    )
    listen: Annotated[
        tuple[Annotated[Listen, text_then(parse_listen), IN_JSON_A_TEXT], ...],
        BeforeValidator(one_or_more),
        Field(min_length=1),
    ] = Field(description="where to listen for SIP, such as [udp:0.0.0.0:5060, tcp:0.0.0.0:5060]")
    tls: TlsSection | None = Field(
        default=None, description="the certificate for what listens by tls: and wss:"
    )
    service_route: Annotated[
        tuple[Annotated[str, text_then(parse_route, "a SIP URI")], ...],
        BeforeValidator(one_or_more),
        TEXTS,
    ] = Field(
        default=(),
        description="SIP URIs of the proxies by which phones are to send their requests (RFC "
        "3608), such as sip:edge.example.com;lr",
    )
    origins: Annotated[tuple[Text, ...], BeforeValidator(one_or_more), TEXTS] = Field(
        default=(), description="pages whose scripts may connect by WebSocket; by default all"
    )
    allow: Networks = Field(
        default=(), description="networks that are never banned, besides trunks and phones"
    )
    public: Annotated[Text, AfterValidator(parse_public)] | None = Field(
        default=None,
        description="the address by which those outside reach a switch that is behind a NAT",
    )
    local: Networks = Field(
        default=(),
        description="networks that reach it by its own address, besides private ones",
    )
    resolver: Annotated[
        tuple[Annotated[tuple[str, int], text_then(parse_resolver), IN_JSON_A_TEXT], ...],
        BeforeValidator(one_or_more),
    ] = Field(default=(), description="DNS servers for names of trunks; by default the system's")
    call_id_header: Annotated[Text, AfterValidator(_header)] = Field(
        default="X-CDS-Call-ID", description="SIP header that carries the callID between switches"
    )
    digest: Annotated[
        tuple[Literal["MD5", "SHA-256"], ...], BeforeValidator(one_or_more), Field(min_length=1)
    ] = Field(
        default=("MD5",),
        description="algorithms that phones are challenged with, in this order (RFC 8760); not "
        "all phones pass over one that they do not know, so SHA-256 is for where all know it",
    )
    digest_any_uri: Flag = Field(
        default=True,
        description="take phones whose digest credentials are for another URI than their request; "
        "false: 400 for them",
    )
    journal: Annotated[
        Path | bool | None,
        PlainValidator(_file_or_off),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"const": False}]}),
    ] = Field(
        default=None,
        description="file in which calls in progress and registrations outlive the process; "
        "NAME.calls beside this file unless said otherwise, off: none",
    )
    control: Annotated[
        Path | bool | None,
        PlainValidator(_file_or_off),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"const": False}]}),
    ] = Field(
        default=None,
        description="socket at which `softswitch status` and `softswitch trace` ask the switch; "
        "NAME.sock beside the journal unless said otherwise, off: none",
    )


def _ports(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal()):
        raise ValueError(f"found `{text}`, expected ports such as 20000-29999")
    if not 1024 <= int(first) <= int(last) - 3 <= 65532:
        raise ValueError(f"found `{text}`, expected at least four ports from 1024 to 65535")
    return int(first), int(last)


MediaAddress = Annotated[Text, AfterValidator(_numeric)]


class Media(Section):
    """``media:``, the way of the audio."""

    mode: Annotated[Literal["bypass", "relay", "rtpengine"], AfterValidator(_media_mode)] = Field(
        default="bypass", description="bypass: the phones send audio to each other"
    )
    address: MediaAddress | None = Field(
        default=None,
        description="where phones send audio for the switch itself; unless said otherwise the "
        "address by which each knows it",
    )
    ports: (
        Annotated[tuple[int, int], text_then(_ports, "ports such as 20000-29999"), IN_JSON_A_TEXT]
        | None
    ) = Field(
        default=None,
        description="UDP ports for that audio, such as 20000-29999; by default any",
    )
    prompts: Path | None = Field(
        default=None,
        description="folder of prompts of your own: LANGUAGE/NAME.wav, before those of the switch",
    )
    language: Annotated[Text, AfterValidator(_language)] = Field(
        default="en", description="of the prompts"
    )
    workers: Annotated[Count, Field(le=10_000)] = Field(
        default=50, description="processes that speak and listen, at most"
    )
    spare: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=2, description="callers for whom there is always room; 0: nothing is played"
    )
    transcode: Flag = Field(
        default=True,
        description="whether the switch stands between two who share no codec",
    )
    worker_calls: Count = Field(
        default=1000, description="calls after which such a process makes room for another"
    )


CodeText = Annotated[Text, AfterValidator(_code)]


class InCall(Section):
    """``in_call:``, what phones dial within a call; empty: nothing."""

    transfer: CodeText = Field(
        default="", description="before a number: the other one goes there (blind transfer)"
    )
    consult: CodeText = Field(
        default="", description="before a number: the other one waits, and that number is called"
    )
    complete: CodeText = Field(
        default="", description="who waits and who was consulted talk with each other"
    )
    back: CodeText = Field(
        default="", description="who was consulted is hung up on: back to the one who waits"
    )
    record: CodeText = Field(default="", description="what is said is recorded from now on")
    pause: CodeText = Field(
        default="", description="it is not recorded for a while, as for a card's number; or again"
    )


Area = Literal["calls", "registrations", "guesses", "trunks", "sip", "disk", "switch", "cds"]
Level = Literal["debug", "info", "warning", "error"]


class Log(Section):
    """``log:``, what is said of what happens, and where."""

    level: Level = Field(
        default="info",
        description="error: something does not work until somebody does something; warning: "
        "something went wrong; info: calls, registrations, trunks; debug: why",
    )
    levels: dict[Area, Level] = Field(
        default={}, description="levels of areas, such as {sip: debug, calls: warning}"
    )
    file: Path | None = Field(
        default=None, description="file to write to, relative to this one; else standard error"
    )
    format: Literal["text", "json"] = Field(default="text", description="lines of text, or JSON")
    trace_sip: Flag = Field(default=False, description="write whole SIP messages, without secrets")
    calls_per_second: Count = Field(
        default=20, description="calls a second that have lines of their own; others are counted"
    )
    lines_per_second: Count = Field(
        default=20, description="lines of one kind a second; others are counted"
    )


class Trace(Section):
    """``trace:``, messages on the wire that are kept for a while."""

    bytes: Annotated[int, Strict(), Field(ge=0)] = Field(
        default=16_777_216,
        description="memory for the last messages, for `softswitch trace`; 0: none are kept",
    )
    calls_per_second: Annotated[float, Strict(), Field(ge=0)] = Field(
        default=50.0,
        description="while more calls than this begin in a second none are kept, so that a busy "
        "switch has no work with it; 0: always",
    )
    hep: Annotated[Listen, text_then(parse_hep), IN_JSON_A_TEXT] | None = Field(
        default=None, description="capture server (HEP 3), such as udp:192.0.2.9:9060"
    )
    capture_id: Annotated[int, Strict(), Field(ge=0, le=0xFFFFFFFF)] = Field(
        default=0, description="who this switch is at the capture server"
    )
    password: Annotated[Text, StringConstraints(max_length=256)] = Field(
        default="", repr=False, description="what the capture server takes messages by"
    )
    hep_waiting: Count = Field(
        default=10_000, description="messages that wait to be sent there; more are dropped"
    )


class Limits(Section):
    """``limits:``, what the switch lets the world make it hold."""

    max_calls: Count = Field(default=20_000, description="live calls; more get 503")
    max_message_size: Count = Field(default=65_535, description="bytes of one SIP message")
    max_headers: Count = Field(default=256, description="header lines of one SIP message")
    max_text: Count = Field(
        default=MAX_TEXT, description="characters of a name, a reason, a User-Agent; cut to this"
    )
    max_kept: Count = Field(
        default=8_192, description="characters that a call keeps of one SIP message; more get 400"
    )
    max_transactions: Count = Field(default=500_000, description="SIP transactions alive")
    max_dialogs: Count = Field(default=100_000, description="SIP dialogs alive")
    max_connections: Count = Field(
        default=1_000,
        description="TCP connections that others have open; for one more a stranger's oldest goes",
    )
    max_per_address: Count = Field(
        default=100,
        description="strangers' TCP connections of one address; for one more its oldest goes",
    )
    max_opened: Count = Field(
        default=1_000, description="TCP connections that the switch itself opens"
    )
    max_control: Count = Field(
        default=16, description="who asks the switch at its control socket at once"
    )
    refused_records: Count = Field(
        default=20, description="records of calls refused at once (420, 503...), a second"
    )
    max_contacts: Count = Field(default=10, description="phones registered for one extension")
    max_registrations: Count = Field(default=100_000, description="phones registered in all")
    guesses_at_once: Annotated[int, Strict(), Field(ge=0)] = Field(
        default=5, description="wrong passwords of one address in a row that are answered at once"
    )
    max_guessers: Count = Field(
        default=10_000, description="addresses with wrong passwords that are remembered"
    )
    stranger_rate: Annotated[float, Strict(), Field(ge=0)] = Field(
        default=50.0,
        description="requests a second without a right password that one address may send; who "
        "sends more is banned; 0: nobody is",
    )
    stranger_burst: Count = Field(default=1000, description="such requests that may come at once")
    ban_guesses: Annotated[int, Strict(), Field(ge=0)] = Field(
        default=100, description="wrong passwords for which an address is banned; 0: none"
    )
    max_bans: Count = Field(default=10_000, description="addresses that are banned at once")
    max_delayed: Count = Field(
        default=1_000, description="answers to wrong passwords that wait at once, in all"
    )
    max_forwards: Annotated[int, Strict(), Field(ge=1, le=255)] = Field(
        default=70, description="Max-Forwards of a call whose INVITE names none"
    )
    max_passed: Count = Field(
        default=2048, description="characters of the headers of one message that go through"
    )
    max_early_dialogs: Count = Field(
        default=16, description="early dialogs of one call: phones that ring behind one INVITE"
    )
    max_redirects: Count = Field(default=5, description="3xx contacts tried for one call")
    max_follow: Count = Field(
        default=10, description="numbers of the list where calls of one extension find it"
    )
    max_transfers: Count = Field(default=50, description="transfers of one call")
    max_completions: Count = Field(
        default=5,
        description="extensions that one waits for to be free, and that wait for one",
    )
    max_subscriptions: Count = Field(
        default=20_000, description="subscriptions of phones and other switches (lamps...), in all"
    )
    max_subscriptions_each: Count = Field(
        default=200, description="subscriptions of one extension, or of one other switch"
    )
    max_notified_at_once: Count = Field(
        default=200, description="subscriptions that are told in each pause after a restart"
    )
    max_publications: Count = Field(
        default=5, description="presence documents that an extension has published at once"
    )
    max_presence: Count = Field(default=8192, description="bytes of one presence document")
    max_messages: Count = Field(default=50, description="text messages that wait for one extension")
    max_message_body: Count = Field(default=8192, description="bytes of one text message")
    max_number: Count = Field(default=MAX_NUMBER, description="characters of a dialled number")
    max_remembered_routes: Count = Field(
        default=MAX_REMEMBERED, description="routes remembered, by number and caller"
    )


def _interval(value: int) -> int:
    if value and value < 90:
        raise ValueError(f"found `{value}`, expected 0 or at least 90")
    return value


WholeSeconds = Annotated[int, Strict(), Field(ge=1, le=86_400 * 7)]
SessionInterval = Annotated[int, Strict(), Field(ge=0, le=86400), AfterValidator(_interval)]


class Timers(Section):
    """``timers:``, all in seconds."""

    t1: Seconds = Field(default=0.5, description="round trip estimate (RFC 3261, 17.1.1.1)")
    t2: Seconds = Field(default=4.0, description="longest retransmission interval")
    t4: Seconds = Field(default=5.0, description="how long a message stays in the network")
    trying: Annotated[float, Strict(), Field(ge=0, le=0.2)] = Field(
        default=0.2, description="100 (Trying) to an INVITE that got no other answer by then"
    )
    no_answer: Seconds = Field(
        default=180.0, description="how long to ring when the route names no timeout (Timer C)"
    )
    no_response: SecondsOrOff = Field(
        default=5.0, description="an INVITE not answered at all goes to the next target after this"
    )
    session_check: SecondsOrOff = Field(
        default=300.0, description="how often both sides of a call are asked if they are there"
    )
    qualify: SecondsOrOff = Field(
        default=0.0,
        description="how often each registered phone is asked whether it is there (OPTIONS); who "
        "does not answer any more is not rung",
    )
    restart_check: SecondsOrOff = Field(
        default=1.0,
        description="how soon after a restart both sides of its calls are asked if they are there",
    )
    digits: Seconds = Field(
        default=3.0,
        description="between digits that are dialled within a call; after that a number is whole",
    )
    ring_back: SecondsOrOff = Field(
        default=20.0,
        description="how long who has transferred a call is rung if nothing came of it",
    )
    session_expires: SessionInterval = Field(
        default=600,
        description="how long a session lasts without a refresh (RFC 4028); 0: not asked for",
    )
    min_se: Annotated[int, Strict(), Field(ge=90, le=86400)] = Field(
        default=90, description="the shortest such time that is agreed to"
    )
    parked: SecondsOrOff = Field(
        default=120.0, description="after this who has parked a call is rung; 0: never"
    )
    completion: Seconds = Field(
        default=2700.0, description="how long a phone waits for another one to be free"
    )
    completion_pause: Seconds = Field(
        default=5.0, description="how long that one must have been free until the phone is rung"
    )
    completion_ring: Seconds = Field(
        default=20.0, description="how long the phone is rung that has waited"
    )
    min_subscription: WholeSeconds = Field(
        default=60, description="shortest subscription (lamps...) or publication; less gets 423"
    )
    default_subscription: WholeSeconds = Field(
        default=3600, description="how long one lasts that asks for no time"
    )
    max_subscription: WholeSeconds = Field(
        default=7200, description="longest one; who asks for more gets this"
    )
    notify_pause: SecondsOrOff = Field(
        default=0.1, description="between two NOTIFYs of one subscription"
    )
    message_kept: Seconds = Field(
        default=259_200.0, description="how long a text message waits for a phone that is away"
    )
    message_again: SecondsOrOff = Field(
        default=60.0,
        description="after this a phone that did not take one is tried again; 0: when it registers",
    )
    max_duration: SecondsOrOff = Field(
        default=0.0, description="longest answered call; it is hung up after this"
    )
    nonce_lifetime: Seconds = Field(
        default=300.0, description="how long a digest challenge can be answered"
    )
    ban_first: Seconds = Field(
        default=60.0, description="how long an address is banned; the next time twice as long"
    )
    ban_longest: Seconds = Field(default=86_400.0, description="the longest ban")
    guess_delay: SecondsOrOff = Field(
        default=1.0,
        description="how long the first answer to a wrong password waits that is not given at "
        "once; each that follows waits twice as long; 0: none waits",
    )
    guess_longest: Seconds = Field(
        default=16.0, description="how long an answer to a wrong password waits at most"
    )
    guess_forget: Seconds = Field(
        default=900.0,
        description="how long an address is remembered after its last wrong password",
    )
    drain_timeout: SecondsOrOff = Field(
        default=30.0, description="how long calls may go on after SIGTERM"
    )
    min_expires: Annotated[int, Strict(), Field(ge=1)] = Field(
        default=60, description="shortest registration; shorter gets 423"
    )
    default_expires: Annotated[int, Strict(), Field(ge=1)] = Field(
        default=3600, description="registration of a phone that names no time"
    )
    max_expires: Annotated[int, Strict(), Field(ge=1)] = Field(
        default=7200, description="longest registration; longer is cut to this"
    )
    dns_least: Seconds = Field(
        default=30.0, description="what the DNS says of a trunk is not asked for sooner than this"
    )
    dns_longest: Seconds = Field(
        default=3600.0, description="nor is it believed for longer, whatever its TTL"
    )
    trunk_pause: Seconds = Field(
        default=30.0,
        description="an address of a trunk that did not take a call is the last choice so long",
    )
    tcp_idle: Seconds = Field(default=3600.0, description="a TCP connection idle so long is closed")
    tcp_keepalive: SecondsOrOff = Field(
        default=30.0,
        description="a connection idle so long is asked whether it lives, which keeps it in NATs",
    )
    tcp_first: Seconds = Field(
        default=10.0,
        description="a TCP connection that somebody opened is closed without a message by then",
    )
    store_every: Annotated[float, Strict(), Field(ge=0, le=0.1)] = Field(
        default=0.005, description="what calls do is put on disk together, so often at most"
    )
    store_within: Seconds = Field(
        default=0.4,
        description="what is sent waits so long at most for what it says to be on disk",
    )


PASSABLE = (
    "Alert-Info",
    "Call-Info",
    "Subject",
    "Priority",
    "User-to-User",
    "Accept-Language",
    "Warning",
    "Referred-By",
)
"""Headers that go through from leg to leg, besides such as begin with ``X-``."""

_X_HEADER = re.compile(r"[Xx]-[A-Za-z0-9-.!%*_+`'~]{1,60}")


def _passable(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name.title() not in {one.title() for one in PASSABLE} and not _X_HEADER.fullmatch(name):
            close = did_you_mean(name, PASSABLE)
            hint = close if close.startswith(":") else f", expected {', '.join(PASSABLE)} or X-..."
            raise ValueError(f"found `{name}`{hint}")
    return tuple(name.lower() for name in names)


PassedHeaders = Annotated[
    Annotated[tuple[Text, ...], AfterValidator(_passable)] | None, BeforeValidator(one_or_more)
]


def _hex(text: str) -> str:
    if not re.fullmatch(r"(?:[0-9a-fA-F]{32}){1,2}", text):
        raise ValueError(f"found `{text}`, expected what `softswitch passwd` says")
    return text.lower()


class ExtensionModel(Section):
    """One entry of ``extensions:``."""

    name: Text = Field(default="", description="the person or place, shown to phones it calls")
    password: Annotated[Text, StringConstraints(min_length=1)] | None = Field(
        default=None, description="what the phone registers with; this or ha1"
    )
    ha1: dict[Literal["MD5", "SHA-256"], Annotated[Text, AfterValidator(_hex)]] | None = Field(
        default=None, description="what `softswitch passwd` makes of the password, in its place"
    )
    allow: Networks = Field(
        default=(), description="networks that its phones may come from; by default all"
    )
    pickup: Annotated[tuple[Text, ...], BeforeValidator(one_or_more), TEXTS] = Field(
        default=(), description="groups in which each takes calls that ring at the others"
    )
    pass_headers: PassedHeaders = Field(
        default=None, description="headers that go through, to it and from it"
    )
    prack: Flag = Field(
        default=True, description="whether responses that ring are acknowledged (RFC 3262)"
    )
    calls: Count | None = Field(default=None, description="calls at once; no limit if absent")
    max_calls: Count | None = Field(default=None, description="the older name of `calls`")
    caller_id: CallerIdModel | None = Field(
        default=None, description="what carriers are shown of its calls"
    )
    forward: ForwardModel | None = Field(
        default=None, description="where its calls go instead, and when"
    )
    follow: FollowModel | None = Field(
        default=None, description="where its calls find it, one after the other"
    )
    dnd: DndKey = Field(default=False, description="do not disturb: calls do not ring")
    mailbox: MailboxModel | None = Field(
        default=None, description="where callers may leave messages: true, or its settings"
    )
    record: Flag = Field(default=False, description="what is said in its calls is recorded")
    tap: TapModel | None = Field(
        default=None, description="a program that hears what is said in its calls, by its URL"
    )

    @property
    def most_calls(self) -> int | None:
        """Calls at once, by whichever name; None: no limit."""
        return self.calls or self.max_calls


class TrunkModel(Section):
    """One entry of ``trunks:``."""

    to: Annotated[TrunkAddress, text_then(parse_trunk_uri), IN_JSON_A_TEXT] = Field(
        description="SIP URI to send its calls to, such as sip:192.0.2.1:5060"
    )
    switch: Flag = Field(default=False, description="one of our switches: the callID travels")
    register_: Flag = Field(
        default=False,
        alias="register",
        description="whether the switch registers there, as phones do: a carrier that wants it",
    )
    user: Text = Field(default="", description="our user there, for registration and challenges")
    password: Text = Field(default="", description="what answers its challenges")
    auth_user: Text = Field(
        default="", description="the user name of challenges, if that is another one than user"
    )
    outbound_proxy: Annotated[TrunkAddress, text_then(parse_trunk_uri), IN_JSON_A_TEXT] | None = (
        Field(default=None, description="SIP URI of a proxy that its requests are sent to instead")
    )
    listen: Annotated[Listen, text_then(parse_listen), IN_JSON_A_TEXT] | None = Field(
        default=None,
        description="by which of `switch.listen` its requests go; by default the first of its kind",
    )
    ca: Path | None = Field(
        default=None,
        description="over TLS: file of the authorities that are believed; by default the system's",
    )
    verify: Flag = Field(
        default=True, description="over TLS: whether its certificate has to be right for its name"
    )
    realm: Text = Field(
        default="", description="the only realm whose challenges are answered; empty: any"
    )
    contact_user: Text = Field(
        default="",
        description="the number by which it calls us, if it calls the address that was registered; "
        "by default user",
    )
    register_expires: Annotated[int, Strict(), Field(ge=30, le=86_400)] = Field(
        default=600, description="seconds that a registration is asked for"
    )
    sources: Annotated[
        tuple[Annotated[TrunkSource, text_then(parse_trunk_source)], ...],
        BeforeValidator(one_or_more),
        TEXTS,
    ] = Field(default=(), alias="from", description="addresses and networks it also calls from")
    max_calls: Count | None = Field(default=None, description="calls at once; no limit if absent")
    caller_id: TrunkCallerIdModel | None = Field(
        default=None, description="what it is shown of those who call: of a carrier"
    )
    assert_identity: Flag = Field(
        default=False,
        description="a carrier that is told who calls by P-Asserted-Identity (RFC 3325), also "
        "where the number is withheld from those called",
    )
    caller_format: NumberForms = Field(
        default=[],
        description="the form that its callers' numbers get as they come in; the first that fits",
    )
    keepalive: SecondsOrOff = Field(
        default=30.0, description="seconds between OPTIONS that ask whether it lives; 0: never"
    )
    session_check: Flag | None = Field(
        default=None,
        description="whether a call is over when it does not answer OPTIONS within the call "
        "(timers.session_check); by default only for our switches",
    )
    nat: Flag = Field(
        default=False,
        description="behind NAT: what is said within its calls goes to where it sends from, "
        "whatever its Contact says",
    )
    refer: Flag = Field(default=False, description="whether it may transfer calls (REFER)")
    messages: Flag = Field(
        default=False, description="whether text messages are sent there; to our switches always"
    )
    large_by_tcp: Flag = Field(
        default=False,
        description="over UDP: whether requests of more than 1300 bytes go by TCP (RFC 3261, "
        "18.1.1), as long as it takes that",
    )
    record: Flag = Field(default=False, description="what is said in its calls is recorded")
    tap: TapModel | None = Field(
        default=None, description="a program that hears what is said in its calls, by its URL"
    )
    prack: Flag = Field(
        default=True, description="whether responses that ring are acknowledged (RFC 3262)"
    )
    pass_headers: PassedHeaders = Field(
        default=None, description="headers that go through, to it and from it"
    )


class ConfigModel(Section):
    """A configuration file, without the sections of plugins."""

    switch: SwitchSection = Field(description="with its name and listen")
    extensions: dict[Annotated[str, AfterValidator(_extension)], ExtensionModel] = Field(
        default={}, description="phones, by number"
    )
    trunks: dict[Annotated[str, AfterValidator(parse_name)], TrunkModel] = Field(
        default={}, description="other switches and carriers, by name"
    )
    dialplan: Annotated[Text, StringConstraints(min_length=1)] = Field(
        description="the dialplan's file, relative to this one"
    )
    log: Log = Field(default=Log(), description="what the switch says, and where")
    media: Media = Field(default=Media(), description="the way of the audio")
    recording: RecordingModel = Field(
        default_factory=RecordingModel, description="what is said in calls, in files"
    )
    tapping: TappingModel = Field(
        default=TappingModel(), description="programs that listen in on calls"
    )
    voicemail: VoicemailModel = Field(
        default=VoicemailModel(), description="messages that callers leave"
    )
    toll: dict[Annotated[str, AfterValidator(parse_name)], TollModel] = Field(
        default={}, description="what calls to carriers may cost, each limit by a name"
    )
    in_call: InCall = Field(default=InCall(), description="codes that phones dial within a call")
    trace: Trace = Field(default=Trace(), description="messages that are kept for a while")
    limits: Limits = Field(default=Limits(), description="what the switch holds at most")
    timers: Timers = Field(default=Timers(), description="seconds")


@dataclass(frozen=True, slots=True)
class Extension:
    """A phone of this switch. ``name`` is what phones that it calls are shown, by default the
    number; ``caller_id`` what carriers are. ``forwarding`` is what the configuration says of it,
    ``prack`` whether it may have and give reliable provisional responses."""

    number: str
    name: str
    password: str = field(repr=False)
    max_calls: int | None = None
    pickup: frozenset[str] = frozenset()
    caller_id: CallerId | None = None
    forwarding: Forwarding | None = None
    pass_headers: frozenset[str] | None = None
    prack: bool = True
    allow: tuple[IPv4Network | IPv6Network, ...] = ()
    ha1: Mapping[str, str] | None = field(default=None, repr=False)
    mailbox: Mailbox | None = None
    record: bool = False
    tap: Tap | None = None


@dataclass(frozen=True, slots=True)
class TrunkAccount:
    """What we are at a carrier. ``auth_user`` and ``password`` answer its challenges, of ``realm``
    alone if that is not empty. ``registers``: for ``expires`` seconds at a time, as ``user``, at
    the Contact ``contact_user``."""

    user: str
    password: str = field(repr=False)
    auth_user: str
    realm: str
    registers: bool
    contact_user: str
    expires: int


@dataclass(frozen=True, slots=True)
class Trunk:
    """Another switch or a carrier.

    ``from_`` lists where it calls from besides ``to``; ``keepalive`` is seconds, 0 for none;
    ``nat``: requests within its calls follow its messages and not its Contact; ``refer``: it may
    transfer calls, ``prack``: it may have and give reliable provisional responses. ``caller_id`` is
    what it is shown of those who call, ``assert_identity`` whether it gets P-Asserted-Identity;
    ``caller_forms`` are those that its callers' numbers get; ``messages``: it takes text messages;
    ``account`` is ours there, if there is one. Over TLS it is believed by the authorities in ``ca``
    (None: the system's), if ``verify``. ``listener`` is the address of ours, ``host:port``, by
    which its requests go; empty: the first of its kind. ``large_by_tcp``: what is too large for a
    datagram goes by TCP. ``record``: its calls are recorded, and
    ``tap`` hears them.
    """

    name: str
    to: TrunkAddress
    switch: bool = False
    from_: tuple[TrunkSource, ...] = ()
    max_calls: int | None = None
    keepalive: float = 30.0
    session_check: bool | None = None
    nat: bool = False
    refer: bool = False
    prack: bool = True
    messages: bool = False
    account: TrunkAccount | None = None
    ca: Path | None = None
    verify: bool = True
    proxy: TrunkAddress | None = None
    pass_headers: frozenset[str] | None = None
    caller_id: CallerId | None = None
    assert_identity: bool = False
    caller_forms: tuple[NumberForm, ...] = ()
    listener: str = ""
    large_by_tcp: bool = False
    record: bool = False
    tap: Tap | None = None

    @property
    def hop(self) -> TrunkAddress:
        """Where its requests are sent: to its proxy, if it has one."""
        return self.proxy or self.to

    @property
    def path(self) -> tuple[str, ...]:
        """The proxies that they go by, as URIs."""
        return (f"{self.proxy.uri()};lr",) if self.proxy is not None else ()
