"""``cds:``, the section of the configuration that belongs to the call data server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PlainValidator,
    SecretStr,
    Strict,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cdsplugin.data import server_name
from cdsplugin.link import SECRET_LENGTH, Address, LinkKeys, TlsFiles
from softswitch.config import IN_JSON_A_TEXT, Count, Seconds, SecondsOrOff, Section

_ADDRESS = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})"
)


def _address(text: object, example: str) -> Address:
    found = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found["port"]) > 65535:
        raise ValueError(f"found `{text}`, expected an address such as {example}")
    return Address(found["six"] or found["host"], int(found["port"]))


def _link_address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    if not isinstance(value, str) or not value.startswith("tcp:"):
        raise ValueError(f"found `{value}`, expected an address such as tcp:127.0.0.1:7400")
    return _address(value[4:], "tcp:127.0.0.1:7400")


def _api_address(value: object) -> Address:
    return value if isinstance(value, Address) else _address(value, "127.0.0.1:8080")


def _secret(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < SECRET_LENGTH:
        raise ValueError(
            f"expected at least {SECRET_LENGTH} characters, of chance: `cds keys secret FILE`"
            " makes a file for `secret_file`"
        )
    return secret


LinkAddress = Annotated[Address, PlainValidator(_link_address), IN_JSON_A_TEXT]
ServerName = Annotated[str, Strict(), AfterValidator(server_name)]


Token = Annotated[SecretStr, Field(min_length=1)]


class ApiToken(Section):
    """A bearer token. What its holder writes has the author ``SERVER/NAME``."""

    token: Token = Field(description="the token itself, a long text of chance")
    name: Annotated[ServerName, Field(max_length=64)] = Field(
        description="who holds it; part of the author of what is written with it"
    )
    role: Literal["read", "write"] = Field(
        default="write", description="read: only reads; write: also sets properties and logs"
    )


def _kind_of_token(value: object) -> str:
    return "named" if isinstance(value, dict | ApiToken) else "text"


_AnyToken = Annotated[
    Annotated[Token, Tag("text")] | Annotated[ApiToken, Tag("named")],
    Discriminator(_kind_of_token),
]


class ApiSection(Section):
    """``cds.api``, the HTTP API for applications; without it there is none."""

    listen: Annotated[Address, PlainValidator(_api_address), IN_JSON_A_TEXT] = Field(
        description="where to listen for HTTP, such as 127.0.0.1:8080"
    )
    tokens: tuple[_AnyToken, ...] = Field(
        min_length=1,
        description="bearer tokens, as texts (they may read and write), or each with `token`,"
        " `name` and `role`; a request must carry one of them",
    )
    page: Count = Field(default=1000, description="calls or records in one answer, at most")
    connections: Count = Field(
        default=200,
        description="HTTP connections at once; for more the oldest without a token goes, else 503",
    )
    per_address: Count = Field(default=100, description="HTTP connections at once of one address")
    for_health: Count = Field(
        default=20, description="connections beyond these that may ask for /health alone"
    )
    head_within: Seconds = Field(
        default=10.0, description="seconds in which a request's head has to be there"
    )
    body_within: Seconds = Field(
        default=30.0, description="seconds in which a request's body has to be there after that"
    )
    rate: Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)] = Field(
        default=100.0, description="requests a second of one token; more get 429"
    )
    burst: Count = Field(default=200, description="requests of one token that may come at once")
    body_bytes: Count = Field(default=65_536, description="body of a request; a longer one: 413")
    entry_bytes: Count = Field(
        default=4096, description="one property (name and value) or log line, as UTF-8; more: 413"
    )
    entries: Count = Field(default=50, description="properties in one request, at most")
    followers: Count = Field(
        default=100, description="event streams and WebSockets at once; more get 503"
    )
    follower_queue: Count = Field(
        default=1000, description="events that may wait for a follower before it is dropped"
    )
    followed_calls: Count = Field(default=1000, description="calls that one WebSocket follows")
    keepalive: Seconds = Field(
        default=15.0, description="seconds between signs of life on event streams"
    )
    interest: Seconds = Field(
        default=30.0,
        description="seconds a call of another server stays registered after a request for it",
    )
    wait: Seconds = Field(
        default=5.0, description="seconds a request waits for a call's owner, and for the disk"
    )

    @field_validator("tokens")
    @classmethod
    def _told_apart(cls, tokens: tuple[_AnyToken, ...]) -> tuple[_AnyToken, ...]:
        for key in ("token", "name"):
            seen: set[str] = set()
            for grant in _grants(tokens):
                value = getattr(grant, key)
                text = value.get_secret_value() if isinstance(value, SecretStr) else value
                if text in seen:
                    shown = "the same token" if key == "token" else f"the name `{text}`"
                    raise ValueError(f"{shown} is there twice")
                seen.add(text)
        return tokens

    def grants(self) -> tuple[ApiToken, ...]:
        """All tokens in full: plain texts are named ``token1`` and so on, and may write."""
        return _grants(self.tokens)


def _grants(tokens: tuple[_AnyToken, ...]) -> tuple[ApiToken, ...]:
    return tuple(
        ApiToken(token=token, name=f"token{place}") if isinstance(token, SecretStr) else token
        for place, token in enumerate(tokens, 1)
    )


class CdsLimits(Section):
    """``cds.limits``, what a server holds at most."""

    call_entries: Count = Field(
        default=1000, description="properties and log lines of one application in one call"
    )
    switch_entries: Count = Field(
        default=10_000, description="properties of one call by the switches of one server"
    )
    peer_authors: Count = Field(
        default=200,
        description="applications at other servers that may have written to one call, and as many"
        " servers",
    )
    entry_bytes: Count = Field(
        default=4096,
        description="one property (name and value) or log line of a program in the process, as"
        " UTF-8; a longer one is refused (by HTTP: `api.entry_bytes`)",
    )
    remote_calls: Count = Field(
        default=200_000, description="calls of this server that others take part in at once"
    )
    frame_bytes: Annotated[int, Strict(), Field(ge=1024)] = Field(
        default=16 * 1024 * 1024,
        description="one message between servers; a longer one drops the peer",
    )
    buffer_bytes: Count = Field(
        default=64 * 1024 * 1024, description="what may wait for a slow peer before it is dropped"
    )
    connections: Count = Field(default=2000, description="connections of other servers")
    strangers: Count = Field(
        default=100,
        description="connections that have not shown yet who they are; of more, the oldest goes",
    )
    queue_rows: Count = Field(
        default=500_000,
        description="rows kept in memory while the database fails; more go to a file beside it",
    )
    journal_records: Count = Field(
        default=1_000_000,
        description="changes of live calls kept in memory while the journal's disk fails; of more,"
        " all are let go, and every live call is written anew when it works again",
    )
    journal_waiting: Count = Field(
        default=100_000, description="writers that may wait for the disk; more are refused"
    )
    spool_bytes: Annotated[int, Strict(), Field(ge=65_536)] = Field(
        default=1024 * 1024 * 1024,
        description="events on disk while the server at `server_at` is away; at nine tenths of"
        " it events of new calls are dropped, at all of it the others too",
    )
    kept_calls: Count = Field(
        default=20_000,
        description="ended calls kept for owners that are dead; of more, the oldest is let go"
        " (its record stays with this server)",
    )
    listed: Count = Field(
        default=16, description="participants of a call that are told who takes care after whom"
    )
    missed: Count = Field(
        default=1000,
        description="servers with which no call is shared any more that are dialled on, and listed"
        " as down, until they are heard of again",
    )
    max_ahead: Seconds = Field(
        default=86_400.0,
        description="seconds that another server's stamp may be ahead of the owner's clock",
    )
    reregister_batch: Count = Field(
        default=200,
        description="calls registered again in one go after a reconnect (then 10 ms pause)",
    )


class TlsSection(Section):
    """``cds.tls``, certificates for the link: PEM files, as ``cds keys`` makes them."""

    certificate: Path = Field(description="this server's certificate, for its name")
    key: Path = Field(description="the certificate's private key")
    authority: Path = Field(description="certificate of the authority that signs all servers'")


class CdsSection(Section):
    """``cds:``, the call data server beside this switch."""

    server: ServerName | None = Field(
        default=None,
        description="this server's name, unique in the network; the switch's by default",
    )
    # Before listen and peers, whose checks look at them.
    secret: Annotated[SecretStr, AfterValidator(_secret)] | None = Field(
        default=None, description="what all servers of the network know, and nobody else"
    )
    secret_file: Path | None = Field(default=None, description="a file with that secret instead")
    tls: TlsSection | None = Field(default=None, description="certificates: the link by TLS")
    handshake_within: Seconds = Field(
        default=5.0, description="seconds in which a connection has to say and prove who it is"
    )
    listen: LinkAddress | None = Field(
        default=None, description="where other servers reach this one, such as tcp:127.0.0.1:7400"
    )
    peers: dict[ServerName, LinkAddress] = Field(
        default={}, description="other servers: name and address"
    )
    database: Path | None = Field(
        default=None, description="the SQLite file of the call detail records"
    )
    switches: tuple[ServerName, ...] = Field(
        default=(), description="names of the switches elsewhere that this server manages"
    )
    server_at: LinkAddress | None = Field(
        default=None,
        description="where the server is that manages this switch, such as tcp:127.0.0.1:7400;"
        " then this process runs none",
    )
    spool: Path | None = Field(
        default=None,
        description="folder of the events that the server at `server_at` has not taken yet"
        " (SWITCH.spool beside the configuration)",
    )
    synchronous: Literal["normal", "full"] = Field(
        default="normal",
        description="normal: committed records survive kill -9; full: also a loss of power",
    )
    commit_interval: Seconds = Field(
        default=0.1, description="seconds for which records are gathered before one commit"
    )
    journal_interval: Seconds = Field(
        default=0.005,
        description="seconds for which changes of live calls are gathered before one commit; what"
        " waits for an acknowledgement waits that long",
    )
    journal_keep: Seconds = Field(
        default=120.0,
        description="age at which a live call is written again at the end of the journal, so that"
        " the journal stays short",
    )
    alive_interval: Seconds = Field(
        default=5.0, description="seconds between signs of life to servers that share calls"
    )
    dead_after: Seconds = Field(
        default=30.0, description="seconds of silence after which a server counts as down"
    )
    reregister_within: Seconds = Field(
        default=300.0, description="seconds a server that was cut off has to register again"
    )
    linger: SecondsOrOff = Field(
        default=30.0, description="seconds a call's data stays after the last participant left"
    )
    caretaker_within: Seconds = Field(
        default=10.0,
        description="seconds in which the caretaker of a dead owner's calls has to be reached,"
        " else the next participant is asked",
    )
    stop_within: SecondsOrOff = Field(
        default=2.0, description="seconds to wait at stop for other servers' last words"
    )
    api: ApiSection | None = Field(default=None, description="the HTTP API for applications")
    limits: CdsLimits = Field(default=CdsLimits(), description="what the server holds at most")

    def link_keys(self) -> LinkKeys:
        """What is to secure the link."""
        files = self.tls
        return LinkKeys(
            None if self.secret is None else self.secret.get_secret_value().encode(),
            self.secret_file,
            None if files is None else TlsFiles(files.certificate, files.key, files.authority),
        )

    @field_validator("secret_file")
    @classmethod
    def _one_secret(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None and info.data.get("secret") is not None:
            raise ValueError("there is `secret` already: expected one of the two")
        return path

    @field_validator("listen")
    @classmethod
    def _open_to_none(cls, listen: Address | None, info: ValidationInfo) -> Address | None:
        if listen is not None and not listen.loopback() and _unsecured(info.data):
            raise ValueError(
                f"found `tcp:{listen}`, expected a loopback address (127.0.0.1), or the link"
                " between servers secured by `secret_file` or `tls` (`cds keys` makes them)"
            )
        return listen

    @field_validator("peers")
    @classmethod
    def _told_to_none(cls, peers: dict[str, Address], info: ValidationInfo) -> dict[str, Address]:
        for name, address in peers.items():
            if not address.loopback() and _unsecured(info.data):
                raise ValueError(
                    f"`{name}` is on another machine (`tcp:{address}`): expected the link between"
                    " servers secured by `secret_file` or `tls` (`cds keys` makes them)"
                )
        return peers

    @model_validator(mode="after")
    def _check(self) -> CdsSection:
        if self.dead_after <= self.alive_interval:
            raise ValueError(
                f"`dead_after` ({self.dead_after:g} s) must be longer than"
                f" `alive_interval` ({self.alive_interval:g} s)"
            )
        if self.server_at is None and self.database is None:
            raise ValueError(
                "expected `database`, the file of the call detail records (or `server_at`, the"
                " server that manages this switch)"
            )
        if self.server_at is not None:
            if self.server is None:
                raise ValueError("`server_at` needs `server`, the name of the server there")
            taken = [
                key
                for key in ("database", "listen", "api", "switches", "peers")
                if getattr(self, key)
            ]
            if taken:
                raise ValueError(
                    f"`{taken[0]}` belongs to a server, and `server_at` says that it is elsewhere"
                )
            if not self.server_at.loopback() and _unsecured(self.__dict__):
                raise ValueError(
                    f"found `server_at: tcp:{self.server_at}`, expected a loopback address"
                    " (127.0.0.1), or the link secured by `secret_file` or `tls`"
                    " (`cds keys` makes them)"
                )
        elif self.spool is not None:
            raise ValueError("`spool` has a meaning only with `server_at`")
        if self.server is not None and self.server in self.peers:
            raise ValueError(f"`peers` names `{self.server}`, which is this server itself")
        return self


def _unsecured(data: dict[str, object]) -> bool:
    """Nothing secures the link; false too where something does that has a mistake of its own."""
    return all(key in data and data[key] is None for key in ("secret", "secret_file", "tls"))


def different(one: CdsSection, other: CdsSection) -> list[str]:
    """The keys whose values are not the same in both."""
    return [key for key in CdsSection.model_fields if getattr(one, key) != getattr(other, key)]
