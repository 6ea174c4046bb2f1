"""The configuration of a switch: read, checked against the dialplan it names, and frozen.

``load_config`` reports every mistake of both files at once.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from softswitch.config import (
    CASES,
    Beside,
    ConfigErrors,
    ConfigModel,
    Extension,
    ExtensionModel,
    FollowAllModel,
    FollowToModel,
    InCall,
    Limits,
    Listen,
    Log,
    Mailbox,
    Media,
    Mistake,
    RecordingModel,
    Stamp,
    SwitchSection,
    TappingModel,
    Timers,
    TollRule,
    Trace,
    Trunk,
    TrunkAccount,
    TrunkModel,
    VoicemailModel,
    YamlFile,
    as_written,
    check_model,
    did_you_mean,
    fill_empty_sections,
    number_forms,
    parse_listen,
    parse_trunk_uri,
    read_forwarding,
    read_yaml,
    resolve_paths,
    stamp,
    toll_rule,
    trunk_clashes,
    with_sections,
)
from softswitch.dialplan import OWN, Dialplan, Sounds, Source, Surroundings, load_dialplan
from softswitch.sip import Certificate, TlsError, client_context, is_numeric, server_context

MAX_SOCKET_PATH: Final = 107
"""Bytes of a Unix socket's path (unix(7))."""


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without mistakes.

    ``journal`` is the file in which calls and registrations outlive the process; None for none.
    ``control`` is the socket at which the switch is asked how it is; None for none.
    ``sections`` holds those of plugins that are in the file, each as its plugin's model, with
    relative paths resolved. ``warnings`` are places worth a look that stop nothing.
    """

    path: Path
    switch: SwitchSection
    extensions: Mapping[str, Extension]
    trunks: Mapping[str, Trunk]
    dialplan: Dialplan
    log: Log
    media: Media
    sounds: Sounds
    recording: RecordingModel
    tapping: TappingModel
    voicemail: VoicemailModel
    in_call: InCall
    trace: Trace
    limits: Limits
    timers: Timers
    sections: Mapping[str, BaseModel]
    dialplan_path: Path
    stamp: Stamp
    dialplan_stamp: Stamp
    surroundings: Surroundings
    toll: Mapping[str, TollRule]
    warnings: tuple[Mistake, ...] = ()
    journal: Path | None = None
    control: Path | None = None

    @property
    def files(self) -> dict[Path, Stamp]:
        """What was read, and its stamp: the configuration, its dialplan and what that names."""
        return {
            self.path: self.stamp,
            self.dialplan_path: self.dialplan_stamp,
            **dict(self.dialplan.files),
        }


def _names(names: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def config_model(sections: Mapping[str, type[BaseModel]] = {}) -> type[ConfigModel]:
    """The model of a whole file, plugins' sections included. Raises ``SectionTaken``."""
    return with_sections("Configuration", ConfigModel, sections)


def load_config(path: Path, sections: Mapping[str, type[BaseModel]] = {}) -> Config:
    """Read and check a configuration and its dialplan.

    ``sections`` are the top-level sections that plugins own. Raises ConfigErrors with every mistake
    of both files, and ``SectionTaken``.
    """
    # Before it is read: a change meanwhile is seen the next time.
    own = stamp(path)
    read = read_yaml(path)
    if read.mistakes and read.value is None:
        raise ConfigErrors(read.mistakes)
    fill_empty_sections(read, but=("dialplan",))
    model = check_model(config_model(sections), read, Beside(path.parent))
    for number, extension in _raw(read, "extensions").items():
        if isinstance(extension, dict) and not extension.keys() & {"password", "ha1"}:
            what = "missing key `password`: what the phone registers with"
            read.at_key(("extensions", number), what)
    for where, message in _cross_checks(read):
        read.at(where, message)
    for where, message in (*_too_many(model), *_too_long(model, path.parent)):
        read.at(where, message)
    dialplan_path, around = _dialplan_of(read, model, path)
    for where, message in _announce_mistakes(path, model):
        read.at(where, message)
    for where, message in _toll_mistakes(read, model):
        read.at(where, message)
    for where, message in _tls_mistakes(model, path.parent):
        read.at(where, message)
    mistakes = sorted(read.mistakes)
    dialplan, seen = None, None
    files: list[tuple[Path, Stamp]] = []
    if dialplan_path is not None:
        seen = stamp(dialplan_path)
        files.append((dialplan_path, seen))
        if seen is None:
            read.at(("dialplan",), f"`dialplan`: there is no file {dialplan_path}")
            mistakes = sorted(read.mistakes)
        else:
            try:
                dialplan = load_dialplan(dialplan_path, around)
            except ConfigErrors as errors:
                mistakes += errors.mistakes
                files += errors.files
    if mistakes or model is None or dialplan is None or dialplan_path is None:
        raise ConfigErrors(mistakes, files)
    nowhere = _nowhere(read, model, dialplan)
    folder = path.parent
    return Config(
        path=path,
        switch=model.switch,
        extensions={
            number: Extension(
                number,
                entry.name or number,
                entry.password or "",
                entry.most_calls,
                frozenset(entry.pickup),
                None if entry.caller_id is None else entry.caller_id.read(),
                read_forwarding(entry.forward, entry.dnd, entry.follow) or None,
                pass_headers=_names(entry.pass_headers),
                prack=entry.prack,
                allow=entry.allow,
                ha1=None if entry.ha1 is None else dict(entry.ha1.items()),
                mailbox=None
                if entry.mailbox is None
                else Mailbox(entry.mailbox.pin or "", entry.mailbox.mail or ""),
                record=entry.record,
                tap=None if entry.tap is None else entry.tap.read(),
            )
            for number, entry in model.extensions.items()
        },
        trunks={
            name: Trunk(
                name,
                entry.to,
                entry.switch,
                entry.sources,
                entry.max_calls,
                entry.keepalive,
                entry.session_check,
                entry.nat,
                entry.refer,
                caller_id=None if entry.caller_id is None else entry.caller_id.read(),
                assert_identity=entry.assert_identity,
                caller_forms=number_forms(entry.caller_format),
                pass_headers=_names(entry.pass_headers),
                prack=entry.prack,
                messages=entry.messages,
                account=_account(entry),
                ca=None if entry.ca is None else folder / entry.ca,
                verify=entry.verify,
                proxy=entry.outbound_proxy,
                listener="" if entry.listen is None else entry.listen.at,
                large_by_tcp=entry.large_by_tcp,
                record=entry.record,
                tap=None if entry.tap is None else entry.tap.read(),
            )
            for name, entry in model.trunks.items()
        },
        dialplan=dialplan,
        log=resolve_paths(model.log, folder),
        media=model.media,
        sounds=_sounds(path, model),
        recording=_recording(path, model),
        tapping=_tapping(path, model),
        voicemail=resolve_paths(model.voicemail, folder),
        in_call=model.in_call,
        trace=model.trace,
        limits=model.limits,
        timers=model.timers,
        sections={
            name: resolve_paths(section, folder)
            for name in sections
            if (section := getattr(model, name)) is not None
        },
        dialplan_path=dialplan_path,
        stamp=own,
        dialplan_stamp=seen,
        surroundings=around,
        toll={
            name: toll_rule(name, entry, [one for one, t in model.trunks.items() if not t.switch])
            for name, entry in model.toll.items()
        },
        warnings=(*nowhere, *dialplan.warnings),
        journal=_journal_path(model.switch, folder),
        control=control_path(model.switch.name, model.switch.journal, model.switch.control, folder),
    )


def certificates(switch: SwitchSection, folder: Path) -> list[Certificate]:
    """What the switch shows over TLS; paths are from there."""
    tls = switch.tls
    if tls is None:
        return []
    return [Certificate(folder / one.certificate, folder / one.key) for one in (tls, *tls.more)]


def tls_context(switch: SwitchSection, folder: Path) -> ssl.SSLContext | None:
    """For those who connect; None if the switch has no certificate. Raises TlsError."""
    if switch.tls is None:
        return None
    clients = None if switch.tls.clients is None else folder / switch.tls.clients
    return server_context(certificates(switch, folder), clients)


def _toll_mistakes(
    read: YamlFile, model: ConfigModel | None
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Trunks and extensions that there are not, and limits of nothing."""
    if model is None:
        return
    known = {"trunks": _raw(read, "trunks"), "extensions": _raw(read, "extensions")}
    for name, entry in model.toll.items():
        if entry.at_once is None and entry.calls is None and entry.minutes is None:
            yield ("toll", name), f"`{name}`: expected `at_once`, `calls` or `minutes`"
        for key, there in known.items():
            written = _raw(read, "toll")[name].get(key)
            for i, one in enumerate(getattr(entry, key)):
                if one in there:
                    continue
                where = ("toll", name, key, i) if isinstance(written, list) else ("toll", name, key)
                yield where, f"`{key}`: there is no {key[:-1]} `{one}`{did_you_mean(one, there)}"
            if key == "trunks":
                for one in entry.trunks:
                    if one in model.trunks and model.trunks[one].switch:
                        what = f"`trunks`: `{one}` is one of our switches, and no carrier"
                        yield ("toll", name, key), what


def _tls_mistakes(
    model: ConfigModel | None, folder: Path
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Certificates that cannot be used, and those that are missing."""
    if model is None:
        return
    switch = model.switch
    if switch.tls is None:
        for i, listen in enumerate(switch.listen):
            if listen.transport in ("tls", "wss"):
                where = ("switch", "listen", i)
                yield where, f"`{listen}` without `switch.tls`, which names its certificate"
                return
    try:
        tls_context(switch, folder)
    except TlsError as error:
        yield ("switch", "tls"), f"`tls`: {error}"
    secure = any(listen.transport == "tls" for listen in switch.listen)
    for name, entry in model.trunks.items():
        if (entry.outbound_proxy or entry.to).transport == "tls" and not secure:
            what = "`to`: over TLS, but nothing in `switch.listen` is: add `tls:`"
            yield ("trunks", name, "to"), what
        if entry.ca is not None:
            try:
                client_context(folder / entry.ca)
            except TlsError as error:
                yield ("trunks", name, "ca"), f"`ca`: {error}"


def _account(entry: TrunkModel) -> TrunkAccount | None:
    """Ours at a carrier, if there is one."""
    if not entry.user:
        return None
    return TrunkAccount(
        entry.user,
        entry.password,
        entry.auth_user or entry.user,
        entry.realm,
        entry.register_,
        entry.contact_user or entry.user,
        entry.register_expires,
    )


def _followed(number: str, entry: ExtensionModel) -> list[tuple[tuple[str | int, ...], str]]:
    """The numbers where its calls find an extension, and where each is written."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    for i, step in enumerate(entry.follow or ()):
        where = ("extensions", number, "follow", i)
        if isinstance(step, FollowAllModel):
            found += [((*where, "all", j), to) for j, to in enumerate(step.all)]
        elif isinstance(step, FollowToModel):
            found.append(((*where, "to"), step.to))
        else:
            found.append((where, step))
    return found


def _too_many(model: ConfigModel | None) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Lists that are longer than the file says itself that they may be."""
    if model is None:
        return
    most = model.limits.max_follow
    for number, entry in model.extensions.items():
        for where, _ in _followed(number, entry)[most : most + 1]:
            yield where, f"`follow`: expected at most {most} numbers in all (`limits.max_follow`)"


def _nowhere(read: YamlFile, model: ConfigModel, dialplan: Dialplan) -> tuple[Mistake, ...]:
    """Numbers to which calls are forwarded though no route leads there."""
    found = YamlFile(read.file, values=read.values, keys=read.keys)
    for number, entry in model.extensions.items():
        source = Source("extension", number)
        for where, to in _followed(number, entry):
            if to != number and not dialplan.leads(to, source):
                found.at(where, f"`follow`: no route lets {number} call {to}: it is passed over")
        if entry.forward is None:
            continue
        forwarding = read_forwarding(entry.forward, entry.dnd)
        for case in CASES:
            to = forwarding.of(case)
            if to and not dialplan.leads(to, source):
                found.at(
                    ("extensions", number, "forward", case),
                    f"`{case}`: no route lets {number} call {to}: its own phone will ring",
                )
    return tuple(found.mistakes)


def _journal_path(section: SwitchSection, folder: Path) -> Path | None:
    journal = section.journal
    if journal is None:
        return folder / f"{section.name}.calls"
    return folder / journal.expanduser() if isinstance(journal, Path) else None


def control_path(name: str, journal: object, control: object, folder: Path) -> Path | None:
    """Where the switch of that name has its control socket; `journal` and `control` are those keys
    of `switch` (None: absent, False: off), `folder` that of the configuration."""
    if control is None:
        beside = (folder / journal.expanduser()).parent if isinstance(journal, Path) else folder
        return beside / f"{name}.sock"
    return folder / control.expanduser() if isinstance(control, Path) else None


def _too_long(
    model: ConfigModel | None, folder: Path
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """A control socket that the system has no room for: said where somebody has chosen it."""
    if model is not None and isinstance(model.switch.control, Path):
        path = control_path(model.switch.name, None, model.switch.control, folder)
        length = len(str(path).encode())
        if length > MAX_SOCKET_PATH:
            yield (
                ("switch", "control"),
                f"`control`: {path} has {length} bytes, and a socket at most {MAX_SOCKET_PATH}: "
                "expected a shorter path",
            )


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
            sounds=_sounds(path, model),
            mailboxes=frozenset(
                number for number, one in model.extensions.items() if one.mailbox is not None
            ),
            time_zone=model.switch.time_zone or "",
            call_id_header=model.switch.call_id_header,
            folder=(path.parent / model.dialplan).parent,
        )
    name = as_written(read.value.get("dialplan")) if isinstance(read.value, dict) else None
    return (path.parent / name if isinstance(name, str) and name else None), around


def _announce_mistakes(
    path: Path, model: ConfigModel | None
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """A sound that cannot be heard."""
    if model is None:
        return
    for section, said in (
        ("recording", model.recording.announce),
        ("tapping", model.tapping.announce),
    ):
        try:
            if said:
                _sounds(path, model).find(said)
        except ValueError as error:
            yield (section, "announce"), f"`announce`: {error}"


def _recording(path: Path, model: ConfigModel) -> RecordingModel:
    """With the paths of its folder and its sound."""
    said = model.recording.announce
    found = str(_sounds(path, model).find(said)) if said else ""
    read: RecordingModel = resolve_paths(model.recording, path.parent)
    return read.model_copy(update={"announce": found})


def _tapping(path: Path, model: ConfigModel) -> TappingModel:
    """With the path of its sound."""
    said = model.tapping.announce
    found = str(_sounds(path, model).find(said)) if said else ""
    return model.tapping.model_copy(update={"announce": found})


def _sounds(path: Path, model: ConfigModel) -> Sounds:
    """What is heard: files by paths as the dialplan says them, and prompts."""
    media, folders = model.media, []
    plan = path.parent / model.dialplan
    if media.prompts is not None:
        folders.append(path.parent / media.prompts.expanduser() / media.language)
    folders += [OWN / media.language, OWN / "en"]
    return Sounds(plan.parent, tuple(folders))


def _account_mistakes(
    name: str, trunk: dict[str, Any]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is missing beside what is said of our account at a carrier."""
    for key in ("register", "password", "auth_user", "realm", "contact_user", "register_expires"):
        if trunk.get(key) and not trunk.get("user"):
            yield ("trunks", name, key), f"`{key}` without `user`, which says who we are there"
            return
    if trunk.get("user") and not trunk.get("password"):
        yield ("trunks", name, "user"), "`user` without `password`, which its challenges ask for"


def _raw(read: YamlFile, section: str) -> dict[str, Any]:
    value = read.value.get(section) if isinstance(read.value, dict) else None
    return value if isinstance(value, dict) else {}


def _trunk_listens(
    trunks: dict[Any, Any], listens: list[Listen]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Addresses by which a trunk's requests are to go, and nobody listens."""
    for name, trunk in trunks.items():
        text = trunk.get("listen") if isinstance(trunk, dict) else None
        if not isinstance(text, str):
            continue
        try:
            listen = parse_listen(text)
        except ValueError:
            continue  # said already
        if listen not in listens:
            there = f"; there is {', '.join(map(str, listens))}" if listens else ""
            yield ("trunks", name, "listen"), f"`listen`: {listen} is not in `switch.listen`{there}"
        elif not listen.port:
            yield ("trunks", name, "listen"), f"`listen`: {listen} needs a port of its own"
        elif (to := _said_transport(trunk)) and to != listen.transport:
            yield ("trunks", name, "listen"), f"`listen`: {listen}, but its requests go by {to}"


def _said_transport(trunk: dict[Any, Any]) -> str:
    """By which transport a trunk's requests go; empty if the DNS says so, or nothing can."""
    written = trunk.get("outbound_proxy") or trunk.get("to")
    if not isinstance(written, str):
        return ""
    try:
        hop = parse_trunk_uri(written)
    except ValueError:
        return ""
    return hop.transport if hop.said_transport or is_numeric(hop.host) else ""


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
    yield from _trunk_listens(_raw(read, "trunks"), listens)
    for number, extension in _raw(read, "extensions").items():
        if isinstance(extension, dict):
            known = [key for key in ("password", "ha1") if extension.get(key) is not None]
            if len(known) > 1:
                yield ("extensions", number, "ha1"), "`ha1` beside `password`: expected one of them"
        if isinstance(extension, dict) and {"calls", "max_calls"} <= extension.keys():
            where = ("extensions", number, "max_calls")
            yield where, "`max_calls` is the older name of `calls`: expected one of them"
    for name, trunk in _raw(read, "trunks").items():
        if isinstance(trunk, dict) and trunk.get("switch") is True:
            for key in ("caller_id", "assert_identity"):
                if trunk.get(key):
                    yield (
                        ("trunks", name, key),
                        f"`{key}` is for carriers: one of our switches is told who calls",
                    )
    for name, trunk in _raw(read, "trunks").items():
        if isinstance(trunk, dict):
            yield from _account_mistakes(name, trunk)
    codes = {
        key: text
        for key, value in _raw(read, "in_call").items()
        if isinstance(text := as_written(value), str) and text
    }
    for (key, code), (other, later) in combinations(codes.items(), 2):
        if later == code:
            yield ("in_call", other), f"`{other}`: {code} is `{key}` already"
        elif later.startswith(code):
            yield ("in_call", other), f"`{other}`: {later} begins with {code}, which is `{key}`"
        elif code.startswith(later):
            yield ("in_call", key), f"`{key}`: {code} begins with {later}, which is `{other}`"
    timers = {
        key: value if isinstance(value, int | float) else Timers.model_fields[key].default
        for key in Timers.model_fields
        for value in [_raw(read, "timers").get(key)]
    }
    for small, great in (
        ("min_expires", "default_expires"),
        ("default_expires", "max_expires"),
        ("min_subscription", "default_subscription"),
        ("default_subscription", "max_subscription"),
        ("dns_least", "dns_longest"),
        ("ban_first", "ban_longest"),
        ("t1", "t2"),
        ("guess_delay", "guess_longest"),
    ):
        if timers[small] > timers[great]:
            given = great if great in _raw(read, "timers") else small
            yield (
                ("timers", given),
                f"`{small}` ({timers[small]}) is greater than `{great}` ({timers[great]})",
            )
