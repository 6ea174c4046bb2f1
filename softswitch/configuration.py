"""The configuration of a switch: read, checked against the dialplan it names, and frozen.

``load_config`` reports every mistake of both files at once. What each key means to an admin stands
in ``docs/configuration.md``; the models here are what it is checked against.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    StringConstraints,
    WithJsonSchema,
    create_model,
)

from softswitch.config.addresses import (
    Listen,
    TrunkAddress,
    TrunkSource,
    parse_listen,
    parse_trunk_source,
    parse_trunk_uri,
)
from softswitch.config.mistakes import check_model, resolve_paths
from softswitch.config.places import ConfigErrors, Mistake, YamlFile, as_written, read_yaml
from softswitch.config.trunk_clashes import trunk_clashes
from softswitch.dialplan.loader import (
    DialplanWatch,
    Stamp,
    Surroundings,
    Text,
    load_dialplan,
    stamp,
)
from softswitch.dialplan.routing import MAX_NUMBER, MAX_REMEMBERED, Dialplan

__all__ = [
    "Config",
    "ConfigErrors",
    "Extension",
    "Limits",
    "Listen",
    "Media",
    "Mistake",
    "SwitchSection",
    "Timers",
    "Trunk",
    "TrunkAddress",
    "TrunkSource",
    "config_model",
    "load_config",
]

Count = Annotated[int, Strict(), Field(ge=1)]
Seconds = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
SecondsOrOff = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTENSION = re.compile(r"[A-Za-z0-9*#+._-]+")
_HEADER = re.compile(r"[A-Za-z0-9-.!%*_+`'~]+")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"found `{text}`, expected letters, digits, `.`, `_` and `-`")
    return text


def _extension(text: str) -> str:
    if text == "extension" or not _EXTENSION.fullmatch(text):
        raise ValueError("expected a number, or a name of letters and digits, for an extension")
    return text


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise ValueError(f"found `{text}`, expected the name of a SIP header")
    return text


def _media_mode(mode: str) -> str:
    if mode != "bypass":
        raise ValueError(f"found `{mode}`, which is not available yet: only bypass is")
    return mode


def _text_then(parse: Callable[[str], object]) -> PlainValidator:
    def check(value: object) -> object:
        text = as_written(value)
        if not isinstance(text, str):
            raise ValueError("expected text: an address")
        return parse(text)

    return PlainValidator(check)


def _file_or_off(value: object) -> Path | bool:
    text = as_written(value)
    if value is False or (isinstance(text, str) and text):
        return Path(text) if isinstance(text, str) and value is not False else False
    raise ValueError("expected a file, or `off`")


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


_TEXT = WithJsonSchema({"type": "string"})
_TEXTS = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SwitchSection(_Section):
    """``switch:``, who this switch is and where it listens."""

    name: Annotated[Text, AfterValidator(_name)] = Field(
        description="the switch's name, unique among your switches"
    )
    site: Text = Field(default="", description="where it stands; goes into the call's data")
    listen: Annotated[
        tuple[Annotated[Listen, _text_then(parse_listen), _TEXT], ...],
        BeforeValidator(_one_or_more),
        Field(min_length=1),
    ] = Field(description="where to listen for SIP, such as [udp:0.0.0.0:5060, tcp:0.0.0.0:5060]")
    call_id_header: Annotated[Text, AfterValidator(_header)] = Field(
        default="X-CDS-Call-ID", description="SIP header that carries the callID between switches"
    )
    digest: Annotated[
        tuple[Literal["MD5", "SHA-256"], ...], BeforeValidator(_one_or_more), Field(min_length=1)
    ] = Field(
        default=("MD5",),
        description="algorithms that phones are challenged with, in this order (RFC 8760); not "
        "all phones pass over one that they do not know, so SHA-256 is for where all know it",
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


class Media(_Section):
    """``media:``, the way of the audio."""

    mode: Annotated[Literal["bypass", "relay", "rtpengine"], AfterValidator(_media_mode)] = Field(
        default="bypass", description="bypass: the phones send audio to each other"
    )


class Limits(_Section):
    """``limits:``, what the switch lets the world make it hold."""

    max_calls: Count = Field(default=20_000, description="live calls; more get 503")
    max_message_size: Count = Field(default=65_535, description="bytes of one SIP message")
    max_headers: Count = Field(default=256, description="header lines of one SIP message")
    max_transactions: Count = Field(default=500_000, description="SIP transactions alive")
    max_dialogs: Count = Field(default=100_000, description="SIP dialogs alive")
    max_connections: Count = Field(default=1_000, description="TCP connections open")
    max_contacts: Count = Field(default=10, description="phones registered for one extension")
    max_registrations: Count = Field(default=100_000, description="phones registered in all")
    max_forwards: Annotated[int, Strict(), Field(ge=1, le=255)] = Field(
        default=70, description="Max-Forwards of a call whose INVITE names none"
    )
    max_redirects: Count = Field(default=5, description="3xx contacts tried for one call")
    max_number: Count = Field(default=MAX_NUMBER, description="characters of a dialled number")
    max_remembered_routes: Count = Field(
        default=MAX_REMEMBERED, description="routes remembered, by number and caller"
    )


class Timers(_Section):
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
    restart_check: SecondsOrOff = Field(
        default=1.0,
        description="how soon after a restart both sides of its calls are asked if they are there",
    )
    max_duration: SecondsOrOff = Field(
        default=0.0, description="longest answered call; it is hung up after this"
    )
    nonce_lifetime: Seconds = Field(
        default=300.0, description="how long a digest challenge can be answered"
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
    tcp_idle: Seconds = Field(default=3600.0, description="a TCP connection idle so long is closed")
    store_every: Annotated[float, Strict(), Field(ge=0, le=0.1)] = Field(
        default=0.005, description="what calls do is put on disk together, so often at most"
    )
    store_within: Seconds = Field(
        default=0.4,
        description="what is sent waits so long at most for what it says to be on disk",
    )


class ExtensionModel(_Section):
    """One entry of ``extensions:``."""

    name: Text = Field(default="", description="the person or place, shown to those called")
    password: Annotated[Text, StringConstraints(min_length=1)] = Field(
        description="what the phone registers with"
    )
    max_calls: Count | None = Field(default=None, description="calls at once; no limit if absent")


class TrunkModel(_Section):
    """One entry of ``trunks:``."""

    to: Annotated[TrunkAddress, _text_then(parse_trunk_uri), _TEXT] = Field(
        description="SIP URI to send its calls to, such as sip:192.0.2.1:5060"
    )
    switch: Flag = Field(default=False, description="one of our switches: the callID travels")
    sources: Annotated[
        tuple[Annotated[TrunkSource, _text_then(parse_trunk_source)], ...],
        BeforeValidator(_one_or_more),
        _TEXTS,
    ] = Field(default=(), alias="from", description="addresses and networks it also calls from")
    max_calls: Count | None = Field(default=None, description="calls at once; no limit if absent")
    keepalive: SecondsOrOff = Field(
        default=30.0, description="seconds between OPTIONS that ask whether it lives; 0: never"
    )


class ConfigModel(_Section):
    """A configuration file, without the sections of plugins."""

    switch: SwitchSection = Field(description="with its name and listen")
    extensions: dict[Annotated[str, AfterValidator(_extension)], ExtensionModel] = Field(
        default={}, description="phones, by number"
    )
    trunks: dict[Annotated[str, AfterValidator(_name)], TrunkModel] = Field(
        default={}, description="other switches and carriers, by name"
    )
    dialplan: Annotated[Text, StringConstraints(min_length=1)] = Field(
        description="the dialplan's file, relative to this one"
    )
    media: Media = Field(default=Media(), description="the way of the audio")
    limits: Limits = Field(default=Limits(), description="what the switch holds at most")
    timers: Timers = Field(default=Timers(), description="seconds")


@dataclass(frozen=True, slots=True)
class Extension:
    """A phone of this switch. ``name`` is what those called are shown, by default the number."""

    number: str
    name: str
    password: str = field(repr=False)
    max_calls: int | None = None


@dataclass(frozen=True, slots=True)
class Trunk:
    """Another switch or a carrier.

    ``from_`` lists where it calls from besides ``to``; ``keepalive`` is seconds, 0 for none.
    """

    name: str
    to: TrunkAddress
    switch: bool = False
    from_: tuple[TrunkSource, ...] = ()
    max_calls: int | None = None
    keepalive: float = 30.0


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without mistakes.

    ``journal`` is the file in which calls and registrations outlive the process; None for none.
    ``sections`` holds those of plugins that are in the file, each as its plugin's model, with
    relative paths resolved. ``warnings`` are places worth a look that stop nothing.
    """

    path: Path
    switch: SwitchSection
    extensions: Mapping[str, Extension]
    trunks: Mapping[str, Trunk]
    dialplan: Dialplan
    media: Media
    limits: Limits
    timers: Timers
    sections: Mapping[str, BaseModel]
    dialplan_path: Path
    dialplan_stamp: Stamp
    surroundings: Surroundings
    warnings: tuple[Mistake, ...] = ()
    journal: Path | None = None

    def dialplan_watch(self) -> DialplanWatch:
        """Watches the dialplan's file from the state in which it was loaded."""
        return DialplanWatch(self.dialplan_path, self.surroundings, self.dialplan_stamp)


def config_model(sections: Mapping[str, type[BaseModel]] = {}) -> type[ConfigModel]:
    """The model of a whole file, plugins' sections included. ValueError if a name is taken."""
    if taken := sorted(set(sections) & set(ConfigModel.model_fields)):
        raise ValueError(f"section `{taken[0]}` of a plugin is the switch's own")
    fields: dict[str, Any] = {
        name: (model, Field(default=None, description=(model.__doc__ or name).split("\n")[0]))
        for name, model in sections.items()
    }
    return create_model("Configuration", __base__=ConfigModel, **fields)


def load_config(path: Path, sections: Mapping[str, type[BaseModel]] = {}) -> Config:
    """Read and check a configuration and its dialplan.

    ``sections`` are the top-level sections that plugins own. Raises ConfigErrors with every mistake
    of both files.
    """
    read = read_yaml(path)
    if read.mistakes and read.value is None:
        raise ConfigErrors(read.mistakes)
    _fill_empty_sections(read)
    model = check_model(config_model(sections), read)
    for where, message in _cross_checks(read):
        read.at(where, message)
    dialplan_path, around = _dialplan_of(read, model, path)
    mistakes = sorted(read.mistakes)
    dialplan, seen = None, None
    if dialplan_path is not None:
        seen = stamp(dialplan_path)
        if seen is None:
            read.at(("dialplan",), f"`dialplan`: there is no file {dialplan_path}")
            mistakes = sorted(read.mistakes)
        else:
            try:
                dialplan = load_dialplan(dialplan_path, around)
            except ConfigErrors as errors:
                mistakes += errors.mistakes
    if mistakes or model is None or dialplan is None or dialplan_path is None:
        raise ConfigErrors(mistakes)
    folder = path.parent
    return Config(
        path=path,
        switch=model.switch,
        extensions={
            number: Extension(number, entry.name or number, entry.password, entry.max_calls)
            for number, entry in model.extensions.items()
        },
        trunks={
            name: Trunk(
                name, entry.to, entry.switch, entry.sources, entry.max_calls, entry.keepalive
            )
            for name, entry in model.trunks.items()
        },
        dialplan=dialplan,
        media=model.media,
        limits=model.limits,
        timers=model.timers,
        sections={
            name: resolve_paths(section, folder)
            for name in sections
            if (section := getattr(model, name)) is not None
        },
        dialplan_path=dialplan_path,
        dialplan_stamp=seen,
        surroundings=around,
        warnings=dialplan.warnings,
        journal=_journal_path(model.switch, folder),
    )


def _journal_path(section: SwitchSection, folder: Path) -> Path | None:
    journal = section.journal
    if journal is None:
        return folder / f"{section.name}.calls"
    return folder / journal.expanduser() if isinstance(journal, Path) else None


def _fill_empty_sections(read: YamlFile) -> None:
    """``limits:`` with nothing under it, all of it commented out, say, is an empty section."""
    if isinstance(read.value, dict):
        for key, value in read.value.items():
            if value is None and key != "dialplan":
                read.value[key] = {}


def _dialplan_of(
    read: YamlFile, model: ConfigModel | None, path: Path
) -> tuple[Path | None, Surroundings]:
    """Which dialplan to check against what, as far as a file with mistakes tells."""
    extensions, trunks = _raw(read, "extensions"), _raw(read, "trunks")
    around = Surroundings(
        frozenset(extensions),
        {
            name: isinstance(trunk, dict) and trunk.get("switch") is True
            for name, trunk in trunks.items()
        },
    )
    if model is not None:
        around = Surroundings(
            around.extensions,
            around.trunks,
            timeout=model.timers.no_answer,
            max_number=model.limits.max_number,
            max_remembered=model.limits.max_remembered_routes,
        )
    name = as_written(read.value.get("dialplan")) if isinstance(read.value, dict) else None
    return (path.parent / name if isinstance(name, str) and name else None), around


def _raw(read: YamlFile, section: str) -> dict[str, Any]:
    value = read.value.get(section) if isinstance(read.value, dict) else None
    return value if isinstance(value, dict) else {}


def _cross_checks(read: YamlFile) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What concerns several values; looked for whatever else is wrong with the file."""
    written = _raw(read, "switch").get("listen")
    listens: list[Listen] = []
    for i, text in enumerate(written if isinstance(written, list) else [written]):
        try:
            listen = parse_listen(text) if isinstance(text, str) else None
        except ValueError:
            continue
        if listen is None:
            continue
        clash = next((other for other in listens if other.clashes(listen)), None)
        if clash:
            same = "twice" if clash == listen else f"as well as {clash}, which includes it"
            yield ("switch", "listen", i), f"`listen`: {listen} {same}"
        listens.append(listen)
    yield from trunk_clashes(_raw(read, "trunks"), listens)
    timers = {
        key: value if isinstance(value, int | float) else Timers.model_fields[key].default
        for key in Timers.model_fields
        for value in [_raw(read, "timers").get(key)]
    }
    for small, great in (
        ("min_expires", "default_expires"),
        ("default_expires", "max_expires"),
        ("t1", "t2"),
    ):
        if timers[small] > timers[great]:
            given = great if great in _raw(read, "timers") else small
            yield (
                ("timers", given),
                f"`{small}` ({timers[small]}) is greater than `{great}` ({timers[great]})",
            )
