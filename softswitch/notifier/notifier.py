"""The notifier (RFC 6665): who is subscribed to what, and what each is told.

Phones watch numbers (`dialog`, RFC 4235: lamps; `presence`, RFC 3856), their own mailbox
(`message-summary`, RFC 3842) and their own registration (`reg`, RFC 3680). A number is watched as
it would be called: the dialplan says which phones it rings, whether it is an orbit, and whether it
leads to another of our switches, which is asked itself. So nobody sees more than it could call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from softswitch.calls import FlowRecord, Flows, Journal, Leg, Member, RestoredFlow
from softswitch.config import Extension, Forwarding, Trunk
from softswitch.dialplan import Do, Route, Source
from softswitch.events import Event
from softswitch.features import Mailboxes
from softswitch.notifier.afar import Afar, Ways
from softswitch.notifier.dialog_info import DIALOG_INFO, read_dialogs, write_dialogs
from softswitch.notifier.lamps import Lamps
from softswitch.notifier.lines import Line
from softswitch.notifier.pidf import (
    BUSY,
    ON_THE_PHONE,
    PIDF,
    Presence,
    read_presence,
    together,
    write_presence,
)
from softswitch.notifier.publications import Publications
from softswitch.notifier.reg_info import REG_INFO, write_registrations
from softswitch.notifier.rows import SUBSCRIPTION
from softswitch.notifier.subscription import Subscription
from softswitch.notifier.summary import SUMMARY, write_summary
from softswitch.notifier.xml import BadXml
from softswitch.parties import Registrar
from softswitch.sip import (
    Account,
    Answer,
    Dialog,
    Flow,
    Network,
    NonInviteServer,
    Request,
    ServerTransaction,
    Session,
    Surroundings,
    delta_seconds,
    escape_user,
    parse_uri,
    split_list,
)

DIALOG: Final = "dialog"
PRESENCE: Final = "presence"
MAILBOX: Final = "message-summary"
REGISTRATION: Final = "reg"
_KINDS: Final = {
    DIALOG: DIALOG_INFO, PRESENCE: PIDF, MAILBOX: SUMMARY, REGISTRATION: REG_INFO,
}  # fmt: skip
PACKAGES: Final = ", ".join(_KINDS)
"""What can be subscribed to, as an Allow-Events header has it."""
_OWN: Final = frozenset((MAILBOX, REGISTRATION))


@dataclass(frozen=True, slots=True)
class NotifierSettings:
    """How long subscriptions and publications last (`shortest`, `usual`, `longest`) and the `pause`
    between two NOTIFYs of one, in seconds. `most` subscriptions in all, `each` of one party;
    `publications` of one extension, of `max_body` bytes. After a restart `at_once` subscriptions
    are told how it stands in each `pause`."""

    shortest: int = 60
    usual: int = 3600
    longest: int = 7200
    pause: float = 0.1
    most: int = 20_000
    each: int = 200
    publications: int = 5
    max_body: int = 8192
    at_once: int = 200


@dataclass(frozen=True, slots=True)
class Watched:
    """What a subscription is about: parties (`extension:NAME`, `orbit:NUMBER`) of this switch, and
    numbers at others of ours, by trunk."""

    package: str
    parties: tuple[str, ...]
    afar: tuple[tuple[str, str], ...] = ()


_ELSEWHERE: Final = 2.0
"""Seconds for which other switches are waited for before somebody hears how it stands there."""


class Places(Ways, Protocol):
    """Where our other switches are, and phones."""

    def of_phone(self, party: str, session: Session) -> Flow | None:
        """Where the phone of a dialog has registered, if its requests follow where it speaks from;
        None if it has not. ValueError if a Contact is none."""


class _Told:
    """`Watched`, and who is told of it."""

    __slots__ = ("notifier", "subscriptions", "what")

    def __init__(self, notifier: Notifier, what: Watched) -> None:
        self.notifier = notifier
        self.what = what
        self.subscriptions: dict[Subscription, None] = {}

    def document(self, subscription: Subscription) -> tuple[str, bytes]:
        """See `Resource`."""
        return self.notifier.document(self.what, subscription)


class Notifier:
    """`legs` and `orbits` are those of the switch, `forwardings` what is in force of its phones."""

    def __init__(
        self,
        around: Surroundings,
        network: Network,
        name: str,
        extensions: Mapping[str, Extension],
        trunks: Mapping[str, Trunk],
        accounts: Mapping[str, Account],
        registrar: Registrar,
        ways: Places,
        route: Callable[[str, Source], Route | None],
        source_of: Callable[[str], Source],
        may_pick_up: Callable[[str, str], bool],
        legs: Mapping[str, Leg],
        orbits: Mapping[str, object],
        forwardings: Mapping[str, Forwarding],
        mailboxes: Mailboxes,
        journal: Callable[[], Journal | None],
        now_us: Callable[[], int],
        settings: NotifierSettings,
    ) -> None:
        self._around = around
        self._network = network
        self._name = name
        self._extensions = extensions
        self._trunks = trunks
        self._accounts = accounts
        self._registrar = registrar
        self._ways = ways
        self._route = route
        self._source_of = source_of
        self._may_pick_up = may_pick_up
        self._forwardings = forwardings
        self._mailboxes = mailboxes
        self._journal = journal
        self._now_us = now_us
        self.timers = around.timers
        self.settings = settings
        self.pause = settings.pause
        self.lamps = Lamps(legs, orbits, around.timers, self._dialogs_changed)
        self.publications = Publications(
            around.timers,
            around.tokens,
            self.expires,
            self.too_brief,
            partial(self._changed, packages=frozenset((PRESENCE,))),
        )
        self._subscriptions: dict[str, Subscription] = {}
        self._of_party: dict[str, dict[Subscription, None]] = {}
        self._told: dict[Watched, _Told] = {}
        self._about: dict[str, dict[_Told, None]] = {}
        self._afar: dict[tuple[str, str, str], Afar] = {}
        self._wanted: dict[tuple[str, str, str], dict[_Told, None]] = {}
        self._heard: dict[tuple[str, str, str], tuple[Line, ...] | Presence] = {}
        self._by_dialog: dict[str, Afar] = {}
        self._unsent: list[Subscription] = []
        self._unasked: list[Afar] = []
        self._listens = False
        self.flows: Flows | None = None
        """The network of what is restored before there is one."""
        self._take_up_limits()
        mailboxes.changed = partial(self._changed, packages=frozenset((MAILBOX,)))

    def __len__(self) -> int:
        """Subscriptions there are."""
        return len(self._subscriptions)

    def counted(self) -> dict[str, int]:
        """How many watch each kind of thing, and how many numbers at other switches."""
        counts = dict.fromkeys(_KINDS, 0)
        for one in self._subscriptions.values():
            counts[one.package] += 1
        return {**counts, "at other switches": len(self._afar)}

    def tables(self) -> dict[str, int]:
        """How many of each are alive."""
        return {
            "subscriptions": len(self._subscriptions),
            "subscribed": len(self._afar),
            "publications": len(self.publications),
        }

    def take_up(self, settings: NotifierSettings) -> None:
        """Go on by other settings, extensions and routes."""
        self.settings = settings
        self.pause = settings.pause
        self._take_up_limits()
        for subscription in list(self._subscriptions.values()):
            what = self._what(
                subscription.package, subscription.number, self._source_of(subscription.party)
            )
            told = subscription.resource
            assert isinstance(told, _Told)
            if not self._is_known(subscription.party) or isinstance(what, Answer):
                subscription.end("noresource")
            elif what != told.what:
                # In this order: what both of them watch goes on.
                self._attach(subscription, what)
                self._unattach(subscription, told)
                subscription.notify()
        for key, afar in list(self._afar.items()):
            trunk = self._trunks.get(key[0])
            if trunk is not None and (trunk.to, trunk.hop) != (afar.trunk.to, afar.trunk.hop):
                # What is said there is of another switch.
                self._leave(key)
                self._ask(key)
                self._heard_from(key, None)

    def _take_up_limits(self) -> None:
        self.publications.most = self.settings.publications
        self.publications.max_body = self.settings.max_body

    def _is_known(self, party: str) -> bool:
        kind, _, name = party.partition(":")
        if kind == "extension":
            return name in self._extensions
        trunk = self._trunks.get(name)
        return trunk is not None and trunk.switch

    # --- requests

    def party_of(self, request: Request) -> Subscription | Afar | None:
        """Whose request this is, within a dialog of a subscription; None: there is none."""
        key = f"{request.headers['call-id'][0]} {request.to_tag}"
        if request.method == "NOTIFY":
            return self._by_dialog.get(key)
        if request.method == "SUBSCRIBE":
            found = self._subscriptions.get(key)
            if found is not None and found.session.dialog.remote_tag == request.from_tag:
                return found
        return None

    def whose(self, key: str) -> tuple[str, Session] | None:
        """The party and the session of a subscription, by its Call-ID and our tag."""
        found = self._subscriptions.get(key)
        return None if found is None else (found.party, found.session)

    def within(
        self, of: Subscription | Afar, request: Request, transaction: ServerTransaction, flow: Flow
    ) -> None:
        """A request of `party_of`."""
        if isinstance(of, Afar):
            of.notified(request, transaction)
        else:
            of.request(request, transaction, flow)

    def subscribe(
        self, request: Request, transaction: ServerTransaction, flow: Flow, source: Source
    ) -> None:
        """A SUBSCRIBE outside of a dialog (§4.2.1)."""
        assert isinstance(transaction, NonInviteServer)
        if source.kind == "trunk" and not source.switch:
            transaction.respond(403)
            return
        package, _, params = (request.get("event") or "").partition(";")
        package = package.strip().lower()
        if package not in _KINDS:
            transaction.respond(489, extra=f"Allow-Events: {PACKAGES}\r\n")
            return
        if not _takes(request, _KINDS[package]):
            transaction.respond(406, extra=f"Accept: {_KINDS[package]}\r\n")
            return
        seconds = self.expires(request)
        if seconds is None:
            self.too_brief(transaction)
            return
        try:
            number = parse_uri(request.uri).user
            dialog = Dialog.from_request(request, self._around.tokens.token(), flow)
        except ValueError:
            transaction.respond(400, "Bad Contact Or Record-Route")
            return
        what = self._what(package, number, source)
        if isinstance(what, Answer):
            transaction.respond(what.status, what.reason)
            return
        party = str(source)
        if seconds and len(self._of_party.get(party, ())) >= self.settings.each:
            transaction.respond(403, "Too Many Subscriptions")
            return
        if seconds and len(self._subscriptions) >= self.settings.most:
            transaction.respond(503, extra="Retry-After: 60\r\n")
            return
        session = Session(self._around, dialog)
        session.nat = source.kind == "extension"
        event_id = _event_id(params)
        subscription = Subscription(self, package, number or source.name, event_id, party, session)
        self._keep(subscription, what, seconds)
        if seconds:
            self.changed(subscription)
        transaction.respond(
            200, to_tag=dialog.local_tag, extra=f"Expires: {seconds}\r\n{subscription.contact}"
        )
        if seconds:
            subscription.notify()
        else:
            subscription.end("timeout")  # it has only asked how it stands (§4.4.3)

    def publish(self, request: Request, transaction: ServerTransaction, source: Source) -> None:
        """A PUBLISH (RFC 3903 §6)."""
        package = (request.get("event") or "").partition(";")[0].strip().lower()
        if package != PRESENCE:
            transaction.respond(489, extra=f"Allow-Events: {PRESENCE}\r\n")
            return
        try:
            number = parse_uri(request.uri).user
        except ValueError:
            transaction.respond(400)
            return
        if source.kind != "extension" or number not in ("", source.name):
            transaction.respond(403, "Of Itself Alone")
            return
        self.publications.publish(source.name, request, transaction)

    def _what(self, package: str, number: str, source: Source) -> Watched | Answer:
        """What a number stands for, or why it cannot be watched."""
        if package in _OWN:
            if source.kind != "extension" or number not in ("", source.name):
                return Answer(403, "Its Own Alone")
            return Watched(package, (str(source),))
        route = self._route(number, source) if number else None
        if route is None:
            return Answer(404)
        if isinstance(route.action, Do):
            if route.action.what != "park" or package != DIALOG:
                return Answer(404)
            return Watched(package, (f"orbit:{route.action.number or number}",))
        parties: dict[str, None] = {}
        afar: dict[tuple[str, str], None] = {}
        for stage in route.action.stages:
            for target in stage.targets:
                if target.kind == "extension":
                    if target.name in self._extensions:
                        parties[str(target)] = None
                    continue
                trunk = self._trunks.get(target.name)
                # Not back to where it comes from: two switches would ask each other for ever.
                if trunk is not None and trunk.switch and str(target) != str(source):
                    afar[target.name, target.number] = None
        if not parties and not afar:
            return Answer(404, "Nobody To Watch")
        return Watched(package, tuple(parties), tuple(afar))

    # --- who has all subscriptions (`Subscriptions`)

    def expires(self, request: Request) -> int | None:
        """The seconds that a request gets; None if it asks for too few of them."""
        seconds = delta_seconds(request.get("expires"))
        if seconds is None:
            return self.settings.usual
        if seconds and seconds < self.settings.shortest:
            return None
        return min(seconds, self.settings.longest)

    def too_brief(self, transaction: ServerTransaction) -> None:
        """It is answered so."""
        transaction.respond(423, extra=f"Min-Expires: {self.settings.shortest}\r\n")

    def utc_us(self) -> int:
        """The time of day, in microseconds."""
        return self._now_us()

    def changed(self, subscription: Subscription) -> None:
        """What its row holds has changed."""
        journal = self._journal()
        if journal is not None:
            journal.changed(subscription)

    def over(self, subscription: Subscription) -> None:
        """Nobody is to be told any more."""
        if self._subscriptions.pop(subscription.key, None) is None:
            return
        same = self._of_party[subscription.party]
        del same[subscription]
        if not same:
            del self._of_party[subscription.party]
        told = subscription.resource
        assert isinstance(told, _Told)
        self._unattach(subscription, told)
        journal = self._journal()
        if journal is not None:
            journal.over(subscription)

    def _keep(self, subscription: Subscription, what: Watched, seconds: float) -> None:
        self._subscriptions[subscription.key] = subscription
        party = subscription.party
        self._of_party.setdefault(party, {})[subscription] = None
        self._attach(subscription, what)
        subscription.lasts(seconds or 1.0)

    def _attach(self, subscription: Subscription, what: Watched) -> None:
        told = self._told.get(what)
        if told is None:
            told = self._told[what] = _Told(self, what)
            for party in what.parties:
                self._about.setdefault(party, {})[told] = None
                if what.package not in _OWN:
                    self.lamps.watch(party)
            for trunk, number in what.afar:
                key = (trunk, number, what.package)
                self._wanted.setdefault(key, {})[told] = None
                if key not in self._afar:
                    self._ask(key)
        told.subscriptions[subscription] = None
        subscription.resource = told

    def _unattach(self, subscription: Subscription, told: _Told) -> None:
        told.subscriptions.pop(subscription, None)
        if told.subscriptions:
            return
        what = told.what
        del self._told[what]
        for party in what.parties:
            about = self._about[party]
            del about[told]
            if not any(one.what.package not in _OWN for one in about):
                self.lamps.leave(party)
            if not about:
                del self._about[party]
        for trunk, number in what.afar:
            key = (trunk, number, what.package)
            del self._wanted[key][told]
            if not self._wanted[key]:
                del self._wanted[key]
                self._leave(key)

    # --- what others of our switches say

    def _ask(self, key: tuple[str, str, str]) -> None:
        trunk, number, package = key
        self._afar[key] = afar = Afar(
            self._around,
            self._ways,
            self._name,
            self._trunks[trunk],
            self._accounts.get(f"trunk:{trunk}"),
            number,
            package,
            self.settings.usual,
            partial(self._heard_from, key),
            partial(self._found_by, key),
        )
        if self._listens:
            afar.ask()
        else:
            self._unasked.append(afar)

    def _leave(self, key: tuple[str, str, str]) -> None:
        afar = self._afar.pop(key)
        self._by_dialog.pop(afar.key, None)
        self._heard.pop(key, None)
        afar.leave()

    def _found_by(self, key: tuple[str, str, str], before: str, now: str) -> None:
        self._by_dialog.pop(before, None)
        if key in self._afar:
            self._by_dialog[now] = self._afar[key]

    def _heard_from(self, key: tuple[str, str, str], body: bytes | None) -> None:
        package = key[2]
        self._heard.pop(key, None)
        if body is not None:
            with contextlib.suppress(BadXml):  # nothing is known then
                self._heard[key] = read_dialogs(body) if package == DIALOG else read_presence(body)
        for told in list(self._wanted.get(key, ())):
            self._notify(told)

    def moved(self, party: str, before: tuple[str, str, int], flow: Flow) -> None:
        """A phone that watches speaks from elsewhere now."""
        for subscription in list(self._of_party.get(party, ())):
            if subscription.session.follows(before):
                subscription.moved(flow)

    # --- what the switch says

    def took(self, leg: Member) -> None:
        """See `Lamps`; to be called while anybody watches (`lamps`)."""
        self.lamps.took(leg)

    def lost(self, leg: Member) -> None:
        """See `Lamps`."""
        self.lamps.lost(leg)

    def told(self, event: Event) -> None:
        """See `Lamps`."""
        self.lamps.told(event)

    def registered(self, extension: str) -> None:
        """Its registration has changed, or what it has set."""
        for subscription in list(self._of_party.get(f"extension:{extension}", ())):
            with contextlib.suppress(ValueError):
                flow = self._ways.of_phone(subscription.party, subscription.session)
                if flow is not None:
                    subscription.moved(flow)
        if self._about:
            self._changed(extension, packages=frozenset((PRESENCE, REGISTRATION)))

    def _dialogs_changed(self, party: str) -> None:
        for told in list(self._about.get(party, ())):
            if told.what.package not in _OWN:
                self._notify(told)

    def _changed(self, extension: str, packages: frozenset[str]) -> None:
        for told in list(self._about.get(f"extension:{extension}", ())):
            if told.what.package in packages:
                self._notify(told)

    def _notify(self, told: _Told) -> None:
        for subscription in list(told.subscriptions):
            subscription.notify()

    # --- documents

    def document(self, what: Watched, subscription: Subscription) -> tuple[str, bytes]:
        """How it stands, for that subscription."""
        number, host = subscription.number, subscription.host
        entity = f"sip:{escape_user(number)}@{host}"
        kind = _KINDS[what.package]
        if what.package == DIALOG:
            lines: list[Line] = []
            for party in what.parties:
                known = party == subscription.party or self._may_pick_up(subscription.party, party)
                found = self.lamps.lines(party)
                lines += found if known else [_no_names(line) for line in found]
            for trunk, there in what.afar:
                heard = self._heard.get((trunk, there, DIALOG))
                if isinstance(heard, tuple):
                    lines += heard
            return kind, write_dialogs(entity, number, host, subscription.version, lines)
        if what.package == PRESENCE:
            said = [self._presence(party) for party in what.parties]
            for trunk, there in what.afar:
                heard = self._heard.get((trunk, there, PRESENCE))
                if isinstance(heard, Presence):
                    said.append(heard)
            return kind, write_presence(entity, entity, together(said))
        name = what.parties[0].partition(":")[2]
        if what.package == MAILBOX:
            new, old = self._mailboxes.of(name)
            return kind, write_summary(entity, new, old)
        return kind, write_registrations(
            entity, subscription.version, self._registrar.contacts(name), self.timers.clock()
        )

    def _presence(self, party: str) -> Presence:
        name = party.partition(":")[2]
        activities = []
        if self.lamps.lines(party):
            activities.append(ON_THE_PHONE)
        forwarding = self._forwardings.get(name)
        if forwarding is not None and forwarding.dnd:
            activities.append(BUSY)
        registered = Presence(bool(self._registrar.contacts(name)), (), tuple(activities))
        return together([registered, *self.publications.of(name)])

    # --- after a restart

    def restore(self, row: int, data: bytes) -> None:
        """Take up a row of the process before. Raises whatever a row that is none may raise."""
        read = SUBSCRIPTION.decode(data)
        journal = self._journal()
        left = (read.until - self._now_us()) / 1e6
        subscription: Subscription | None = None
        what: Watched | Answer = Answer(404)
        if left > 0 and read.sent_by and self.flows is not None and self._is_known(read.party):
            # There is no network yet.
            where = FlowRecord(*read.flow, read.sent_by, read.listener)
            flow = RestoredFlow(self.flows, where)
            subscription = Subscription.restored(self, read, self._around, flow)
            what = self._what(
                read.package, subscription.number, self._source_of(subscription.party)
            )
        if subscription is None or isinstance(what, Answer):
            if journal is not None:
                journal.drop(row)
            return
        self._keep(subscription, what, left)
        if journal is not None:
            journal.restored(subscription, row)
            # Another process would begin with the same numbers.
            journal.changed(subscription)
        self._unsent.append(subscription)

    def opened(self) -> None:
        """The switch listens: all who are subscribed hear how it stands now, some after the others,
        so that calls find room between them. What stands elsewhere has to be asked first."""
        self._listens = True
        unasked, self._unasked = self._unasked, []
        for afar in unasked:
            afar.ask()
        most = self.settings.at_once
        unsent, self._unsent = self._unsent[:most], self._unsent[most:]
        for subscription in unsent:
            told = subscription.resource
            assert isinstance(told, _Told)
            what = told.what
            if all((*where, what.package) in self._heard for where in what.afar):
                subscription.notify()
            else:
                self.timers.after(_ELSEWHERE, subscription.notify)
        if self._unsent:
            self.timers.after(self.settings.pause, self.opened)


def _no_names(line: Line) -> Line:
    return Line(line.id, line.state, line.direction, held=line.held)


def _takes(request: Request, kind: str) -> bool:
    """Whether a document of that media type is taken (no Accept: the package's own is)."""
    values = request.headers.get("accept")
    if not values:
        return True
    taken = {one.partition(";")[0].strip().lower() for value in values for one in split_list(value)}
    return bool(taken & {kind, "*/*", f"{kind.partition('/')[0]}/*"})


def _event_id(params: str) -> str:
    """The id of an Event header, as it is repeated in NOTIFYs; empty without one."""
    for param in params.split(";"):
        name, _, value = param.strip().partition("=")
        if name.strip().lower() == "id" and value.strip():
            return f";id={value.strip()[:64]}"
    return ""
