"""The switch: what is asked, and which call or party it concerns.

The transaction user (RFC 3261 §17) of the whole switch. It owns the tables of calls and legs,
but no sockets: those are `Network`'s, and `softswitch.process` puts the two together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

import pluggy

from softswitch.applications import Applications, Queues
from softswitch.call_ids import CallIDs
from softswitch.calls import (
    DRAINING,
    KNOWN_METHODS,
    LINE_FULL,
    METHODS,
    Call,
    CompletingCall,
    Core,
    Destination,
    Dialling,
    Errand,
    Journal,
    Leg,
    LegNumbers,
    Member,
    Passage,
    RecordedTalks,
    Refusals,
    TappedTalks,
    in_use,
    restore,
    restore_failure,
    restore_goodbye,
    unsupported,
)
from softswitch.configuration import Config
from softswitch.dialplan import Dialplan, MusicPlay, Play, Plays, Route, Source, Stages, Target
from softswitch.events import CallMerged, Event, SwitchStarted
from softswitch.features import (
    COMPLETION,
    MAILBOX,
    WISHES,
    Completions,
    Mailboxes,
    PhoneFeatures,
    completes,
    remembers,
)
from softswitch.listeners import Listeners, store_all
from softswitch.memory import give_back
from softswitch.messages import MESSAGE, Messages
from softswitch.notifier import PACKAGES, SUBSCRIPTION, Afar, Notifier, Subscription
from softswitch.parties import REGISTRATION, TEMPORARY, TOLL, Parties, Toll
from softswitch.refusing import Refusing
from softswitch.restarting import KeptRows, Restarting
from softswitch.settings import (
    call_settings,
    completion_settings,
    guess_limits,
    in_call_codes,
    kept_until_restart,
    message_settings,
    notifier_settings,
    pool_settings,
    recorded_parties,
    records,
    registrar_settings,
    tapped_parties,
    taps,
    timers_of,
)
from softswitch.sip import (
    Answer,
    BadRefer,
    Flow,
    InviteServer,
    Network,
    Request,
    ServerTransaction,
    Session,
    Timers,
    Tokens,
    Transactions,
    Uri,
    parse_uri,
    read_target_dialog,
    too_brief,
    unreachable_from,
)
from softswitch.sip import forget as forget_parsed
from softswitch.trace import Dialogs

log = logging.getLogger(__name__)

ALLOW_LINE = f"Allow: {METHODS}, NOTIFY, PUBLISH, REFER, REGISTER, SUBSCRIBE, UPDATE\r\n"
_EVENTS_LINE = f"Allow-Events: {PACKAGES}\r\n"
_BODIES = "Accept: application/sdp, multipart/mixed, multipart/alternative\r\n"
_LATER = "Retry-After: 10\r\n"


def _nothing() -> None:
    """Nobody asks."""


@dataclass(slots=True)
class Counters:
    """What happened since the start."""

    calls: int = 0
    answered: int = 0


def _seconds(now_us: Callable[[], int]) -> float:
    return now_us() / 1e6


def _zone(config: Config) -> ZoneInfo | None:
    name = config.switch.time_zone
    return ZoneInfo(name) if name else None


class Switch(Core):
    """All of a switch but its sockets."""

    def __init__(
        self,
        config: Config,
        plugins: pluggy.PluginManager,
        network: Network,
        *,
        clock: Callable[[], float],
        now_us: Callable[[], int],
        tokens: Tokens,
        steady_us: Callable[[], int] | None = None,
        boot: str = "",
    ) -> None:
        """`clock` gives seconds and never goes back; `now_us` is the time of day, in microseconds,
        which somebody may set. `steady_us` is what nobody sets, also in microseconds: `clock`, if
        there is no other. Both go on in the next process as long as `boot` has the same name; if it
        is empty, they may not."""
        self.config = config
        self.name = config.switch.name
        self.site = config.switch.site
        self.network = network
        self.tokens = tokens
        self.now_us = now_us
        self.steady_us = steady_us or (lambda: int(clock() * 1e6))
        self.boot = boot
        self.timers = Timers(clock)
        self.transactions = Transactions(
            self.timers,
            self,
            timers_of(config),
            max_transactions=config.limits.max_transactions,
        )
        self.transactions.layer.reconnect = self.reconnect
        self.settings = call_settings(config)
        self._take_up_limits(config)
        self.dialplan: Dialplan = config.dialplan.by(partial(_seconds, self.now_us))
        self.parties = self._parties = parties = Parties(
            config,
            registrar_settings(config),
            guess_limits(config),
            network,
            self.timers,
            tokens,
            self.transactions,
            self._journal,
            now_us,
            self._ahead,
            boot,
        )
        # Each by itself, as every call asks for some of them.
        self.extensions = parties.extensions
        self.trunk_entries = parties.trunk_entries
        self.digest = parties.digest
        self.guesses = parties.guesses
        self.bans = parties.bans
        self.registrar = parties.registrar
        self.registrations = parties.registrations
        self.authentication = parties.authentication
        self.registering = parties.registering
        self.callers = parties.callers
        self.trunks = self.trunk_states = parties.trunks
        self.sources = parties.sources
        self.lines = self.line_counts = parties.lines
        self.targets = parties.targets
        self.trunk_checks = parties.trunk_checks
        self.transactions.layer.larger = parties.targets.larger
        self.transactions.layer.small = parties.targets.small
        self.qualifying = parties.qualifying
        self.accounts = parties.accounts
        self.enrolments = parties.enrolments
        self.forwardings = {}
        self.completions = Completions(
            self.extensions,
            self.forwardings,
            self._journal,
            self.route,
            self.timers,
            self.now_us,
            self,
            completion_settings(config),
        )
        self.awaited = self.completions.awaited
        self.mailboxes = Mailboxes(self.extensions, self._journal)
        self.features = self.phone_features = PhoneFeatures(
            self.extensions,
            self._journal,
            self.route,
            self.completions,
            self.forwardings,
            self.mailboxes,
            config.limits.max_follow,
            self._agents,
        )
        parties.on_registered = self._registered
        parties.registering.moved = self._moved
        self.remembers = remembers(self.dialplan)
        self.completes = completes(self.dialplan)
        self.passes_more = self._parties.passes_more()
        owner = plugins.hook.owner_name(config=config) or ""
        self.call_ids = CallIDs(config.switch.call_id_header, owner, now_us, tokens)
        self.listeners = Listeners(plugins)
        self.calls: set[Call] = set()
        self.legs: dict[str, Leg] = {}
        self.orbits = {}
        self.notifier = Notifier(
            self,
            network,
            self.name,
            self.extensions,
            self.trunk_entries,
            self.accounts,
            self.registrar,
            self.targets,
            self.route,
            parties.source_of,
            parties.may_pick_up,
            self.legs,
            self.orbits,
            self.forwardings,
            self.mailboxes,
            self._journal,
            now_us,
            notifier_settings(config),
        )
        self.lamps = self.notifier.lamps
        self.gruus = parties.gruus
        # The phones that calls are for, by extension and instance.
        self.only: dict[object, tuple[str, str]] = {}
        self.toll_counts = Toll(
            config.toll,
            self.timers,
            now_us,
            _zone(config),
            self._journal,
            self._calls_of,
            self.name,
        )
        self.toll = self.toll_counts if config.toll else None
        self.messages = Messages(
            self,
            self.extensions,
            self.trunk_entries,
            self.targets.phones,
            self.targets.flow_to_trunk,
            self.targets.path_to,
            self.route,
            self.callers.of,
            parties.caller_id,
            self.accounts,
            self._journal,
            now_us,
            message_settings(config),
        )
        parties.on_unregistered = self._unregistered
        self.phone_features.on_changed = self._unregistered
        self.codes = in_call_codes(config)
        self.dialling = {}
        self.music: Plays | None = None
        self.transcodes = False
        self.recorded: RecordedTalks | None = None
        self.tapped: TappedTalks | None = None
        self.queues = Queues(
            self._dialplan,
            self.timers,
            self,
            self.phone_features,
            self.legs,
            self.forwardings,
        )
        self.applications = self.spoken = Applications(
            self.name, self._dialplan, network, self.timers, now_us, self.emit, self.queues
        )
        self.spoken.phones = self
        self._take_up_sounds(config)
        self.restarting = Restarting(
            network,
            self.timers,
            self.transactions,
            self.legs,
            self.registrations,
            (
                KeptRows(REGISTRATION, self.registrations.restore),
                KeptRows(WISHES, self.phone_features.restore),
                KeptRows(COMPLETION, self.completions.restore),
                KeptRows(MAILBOX, self.mailboxes.restore),
                KeptRows(MESSAGE, self.messages.restore),
                KeptRows(SUBSCRIPTION, self.notifier.restore, after_calls=True),
                KeptRows(TOLL, self.toll_counts.restore, after_calls=True),
            ),
            call=partial(restore, self),
            failure=partial(restore_failure, self),
            goodbye=partial(restore_goodbye, self),
        )
        self.notifier.flows = self.restarting
        self.numbers = LegNumbers(self.timers, self._base)
        self.refusals = Refusals(self, config.limits.refused_records)
        self.refusing = Refusing(self.refusals, self.sources, self.callers, self.call_ids)
        self.counters = Counters()
        # What `Core` has declared must not be declared again: compiled, the garbage collector would
        # count it twice, and let nothing go that it belongs to.
        self.call_log = None
        self.dialogs: Dialogs | None = None
        self.draining = False
        self.journal = None
        # Told whenever something was told that what is sent may rely on (`stored`).
        self.on_told: Callable[[], None] = _nothing
        # Whose answer goes out with what is being sent.
        self._answers: list[Call] = []
        self.on_idle: Callable[[], None] | None = None

    def take_up(self, config: Config) -> None:
        """Go on by another configuration. Calls, registrations and what is known of trunks stay;
        so does what only a restart can change (`softswitch.reload`)."""
        config = kept_until_restart(self.config, config)
        self.config = config
        self.site = config.switch.site
        self.transactions.take_up(timers_of(config), config.limits.max_transactions)
        self.settings = call_settings(config)
        self.codes = in_call_codes(config)
        self._take_up_limits(config)
        self.dialplan = config.dialplan.by(partial(_seconds, self.now_us))
        self._parties.take_up(config, registrar_settings(config), guess_limits(config))
        self.phone_features.take_up(config.limits.max_follow)
        self.remembers = remembers(self.dialplan)
        self.completes = completes(self.dialplan)
        self.completions.take_up(completion_settings(config), self.completes)
        self.passes_more = self._parties.passes_more()
        self.refusals.take_up(config.limits.refused_records)
        self.toll_counts.take_up(config.toll, _zone(config))
        self.toll = self.toll_counts if config.toll else None
        self.mailboxes.take_up()
        self.notifier.take_up(notifier_settings(config))
        self.messages.take_up(message_settings(config))
        self._take_up_sounds(config)
        self.queues.take_up()

    def _agents(self) -> Mapping[str, bool]:
        """The agents of all queues, and whether they are logged in from the beginning."""
        found: dict[str, bool] = {}
        for queue in self.dialplan.queues.values():
            for agent in queue.agents:
                found[agent.extension] = found.get(agent.extension, False) or agent.logged_in
        return found

    def _dialplan(self) -> Dialplan:
        return self.dialplan

    def _take_up_sounds(self, config: Config) -> None:
        spoken = self.spoken
        spoken.sounds = config.sounds
        music = self.dialplan.hold_music
        self.music = Play(MusicPlay(music)) if music else None
        self.transcodes = config.media.transcode and config.media.spare > 0
        if records(config):
            if self.recorded is None:
                self.recorded = RecordedTalks()
            self.recorded.parties = recorded_parties(config)
        elif self.recorded is not None:
            self.recorded.parties = frozenset()
        listen = taps(config)
        if listen and self.tapped is None:
            self.tapped = TappedTalks()
        if self.tapped is not None:
            self.tapped.parties = tapped_parties(config)
            self.tapped.known = {one.key: one for one in listen}
            self.tapped.most = config.tapping.most
        spoken.tapping = config.tapping
        spoken.address = config.media.address or ""
        spoken.time_zone = config.switch.time_zone or ""
        if spoken.messages is not None:
            spoken.messages.take_up(config.voicemail)
        if spoken.workers is not None:
            spoken.workers.take_up(pool_settings(config))

    def _moved(self, extension: str, before: tuple[str, str, int], flow: Flow) -> None:
        """A phone registers from another place: it is there with its calls, too."""
        party = f"extension:{extension}"
        for leg in self.legs.values():
            if leg.party == party and leg.session.follows(before):
                leg.session.dialog.flow = flow
                if leg.call is not None:
                    leg.call.changed()
        self.notifier.moved(party, before, flow)

    def _registered(self, extension: str) -> None:
        """A phone of it is new, or has moved."""
        self.completions.changed(extension)
        self._unregistered(extension)
        self.messages.registered(extension)

    def _unregistered(self, extension: str) -> None:
        """A phone of it has gone, or something else is in force of it."""
        self.notifier.registered(extension)
        self.queues.changed(extension)

    def _take_up_limits(self, config: Config) -> None:
        # Every call asks for these; of the configuration's model each costs a search.
        limits = config.limits
        self._max_calls = limits.max_calls
        self._max_dialogs = limits.max_dialogs

    def _journal(self) -> Journal | None:
        return self.journal

    def _ahead(self) -> float:
        """By how many seconds UTC is ahead of our clock."""
        return self.now_us() / 1e6 - self.timers.clock()

    def _base(self) -> int:
        """By how many microseconds UTC is ahead of the steady clock."""
        return self.now_us() - self.steady_us()

    def emit(self, event: Event) -> None:
        """Tell every plugin, and that there is something new to be stored."""
        self.listeners.tell(event)
        if self.lamps.awake:
            self.lamps.told(event)
        if self.toll is not None:
            self.toll.told(event)
        if self.dialogs is not None and isinstance(event, CallMerged):
            self.dialogs.merged(event.call_id, event.into)
        self.on_told()

    def stored(self, then: Callable[[], None]) -> Callable[[], None] | None:
        """Call `then` once all that was told so far would survive this process. What is returned
        is to be called when what relies on it has left.

        The journal of calls comes first: of a call that a plugin still knows after a restart, the
        switch knows what became of it.
        """
        stores = self.listeners.stores()
        journal = self.journal
        ended: list[int] = []
        answers: list[Call] = []
        # Before the switch listens, what restored calls have to say last has not even been sent.
        if self.restarting.listens:
            answers, self._answers = self._answers, answers
            if journal is not None:
                ended = journal.ended()
        if journal is None:
            store_all(stores, then)
        else:
            journal.commit(partial(store_all, stores, then))
        return partial(self._left, journal, ended, answers) if ended or answers else None

    def _left(self, journal: Journal | None, ended: list[int], answers: list[Call]) -> None:
        """What waited for `stored` has left."""
        if ended and journal is not None:
            journal.end(ended)
        for call in answers:
            call.answer_left()

    def answered(self, call: Passage) -> None:
        """A caller's 2xx was sent: the call wants to know when it leaves."""
        if self.on_told is not _nothing:  # else nothing waits for `stored`, and it has left
            assert isinstance(call, Call)
            self._answers.append(call)

    # --- requests

    def screen(self, request: Request, flow: Flow) -> Answer | None:
        """Who sent this and may it go on? Notes the `Source` in `request.party` (§8.2)."""
        # Of what there is most, each by the shortest way.
        if request.to_tag:
            leg = self.legs.get(f"{request.headers['call-id'][0]} {request.to_tag}")
            if leg is not None:
                request.party = leg
                return None
        elif request.method == "INVITE":
            request.party = self.sources.of(request, flow)
            if request.party is not None:
                return None
        answer = self._screened(request, flow)
        # What was challenged is counted already.
        if answer is None or not answer.status or answer.status == 401 or request.party is not None:
            return answer
        known = self.sources.of(request, flow) is not None
        return answer if known or self.bans.stranger(flow.remote[0]) else Answer(0)

    def unreadable(self, flow: Flow) -> bool:
        """Whether to answer a request that cannot be read."""
        return self.bans.stranger(flow.remote[0])

    def _screened(self, request: Request, flow: Flow) -> Answer | None:
        method = request.method
        if request.to_tag:
            request.party = self.notifier.party_of(request)
            if request.party is not None:
                return None
            return Answer(481 if method in KNOWN_METHODS else 501)
        if method == "INVITE":
            return self.authentication.check(request, flow)
        if method == "OPTIONS":
            if flow.reliable or self.trunks.down:
                # Whose connection it is, and a sign of life.
                request.party = self.sources.of(request, flow)
            # A switch that takes no calls says so to the trunks that ask (§11.2).
            return self._not_understood(request) or Answer(
                503 if self.draining else 200,
                None,
                f"{ALLOW_LINE}{_EVENTS_LINE}Accept: application/sdp\r\n",
            )
        if method == "MESSAGE" or method == "SUBSCRIBE" or method == "PUBLISH":
            return self._not_understood(request) or self._who(request, flow)
        if method == "REGISTER":
            return self._not_understood(request) or self.authentication.check(request, flow)
        if method == "REFER" and "target-dialog" in request.headers:
            return self._not_understood(request) or self._who(request, flow)
        if method == "BYE":
            return Answer(481)
        return Answer(405 if method in KNOWN_METHODS else 501, None, ALLOW_LINE)

    def _who(self, request: Request, flow: Flow) -> Answer | None:
        """Notes the trunk or the phone from which a request comes, or says what it is answered."""
        request.party = self.sources.of(request, flow)
        return None if request.party is not None else self.authentication.check(request, flow)

    def request(self, request: Request, transaction: ServerTransaction, flow: Flow) -> None:
        """A request that `screen` let through: within a dialog, or INVITE, REGISTER or REFER."""
        if request.to_tag:
            leg = request.party
            if isinstance(leg, (Subscription, Afar)):
                self.notifier.within(leg, request, transaction, flow)
                return
            assert isinstance(leg, Leg)
            if self.trunks.down and leg.party.startswith("trunk:"):
                self.trunks.heard(leg.party[6:])
            leg.within_dialog(request, transaction, flow)
        elif isinstance(transaction, InviteServer):
            self._invite(request, transaction, flow)
        elif request.method == "REFER":
            self._refer(request, transaction, flow)
        elif request.method == "SUBSCRIBE":
            assert isinstance(request.party, Source)
            self.notifier.subscribe(request, transaction, flow, request.party)
        elif request.method == "MESSAGE":
            assert isinstance(request.party, Source)
            self.messages.request(request, transaction, flow, request.party)
        elif request.method == "PUBLISH":
            assert isinstance(request.party, Source)
            self.notifier.publish(request, transaction, request.party)
        else:
            self.registering.request(request, transaction, flow)

    def ack(self, request: Request, flow: Flow) -> None:
        """The ACK of a 2xx, or one whose INVITE is not found by its Via."""
        leg = self.legs.get(f"{request.headers['call-id'][0]} {request.to_tag}")
        if leg is None or not leg.acked(request):
            self.transactions.ack_of_failure(request, flow)

    def refused(self, request: Request, flow: Flow, status: int, reason: str | None) -> None:
        """An INVITE outside of a dialog gets this answer and no transaction."""
        if status != 401:
            self.refusing.refused(request, None, flow, status, reason)

    def _not_understood(self, request: Request) -> Answer | None:
        missing = unsupported(request)
        return Answer(420, None, missing) if missing else None

    def _refer(self, request: Request, transaction: ServerTransaction, flow: Flow) -> None:
        """A REFER about a dialog that it does not come in (RFC 4538): only by who is in that."""
        assert not isinstance(transaction, InviteServer)
        try:
            call_id, ours, theirs = read_target_dialog(request)
        except BadRefer as error:
            transaction.respond(error.status, error.reason)
            return
        leg = self.legs.get(f"{call_id} {ours}")
        if leg is None or leg.call is None or leg.session.dialog.remote_tag != theirs:
            transaction.respond(481)
        elif leg.party != str(request.party):
            transaction.respond(403, "Not Your Dialog")
        else:
            leg.call.referred(leg, request, transaction, flow)

    def _invite(self, request: Request, transaction: InviteServer, flow: Flow) -> None:
        source = request.party
        assert isinstance(source, Source)
        if self.draining:
            self.refusing.refuse(request, transaction, flow, 503, extra=_LATER, why=DRAINING)
            return
        crowded = len(self.calls) >= self._max_calls or len(self.legs) >= self._max_dialogs
        emergency = crowded and self._is_emergency(request, source)
        if len(self.calls) >= self._max_calls and not emergency:
            self.refusing.refuse(request, transaction, flow, 503, extra=_LATER)
            return
        if len(self.legs) >= self._max_dialogs and not emergency:
            self.refusing.refuse(request, transaction, flow, 503, "Too Many Dialogs", _LATER)
            return
        headers = request.headers
        if "require" in headers or "proxy-require" in headers:
            missing = unsupported(request)
            if missing:
                self.refusing.refuse(request, transaction, flow, 420, extra=missing)
                return
        if request.body:
            kind = (request.get("content-type") or "").partition(";")[0].strip().lower()
            if kind != "application/sdp" and not kind.startswith("multipart/"):
                self.refusing.refuse(request, transaction, flow, 415, extra=_BODIES)
                return
        if "session-expires" in headers and too_brief(request, self.settings.min_se):
            lines = f"Min-SE: {self.settings.min_se}\r\n"
            self.refusing.refuse(request, transaction, flow, 422, extra=lines)
            return
        hops = headers.get("max-forwards")
        if hops is not None and int(hops[0]) == 0:
            self.refusing.refuse(request, transaction, flow, 483)
            return
        named, made, first = self.call_ids.of(request, source)
        call_id = named.call_id
        try:
            call = Call.received(
                self,
                call_id,
                named.owner,
                made,
                source,
                self.callers.of(request, source),
                request,
                transaction,
                flow,
            )
        except ValueError:
            self.refusing.refuse(request, transaction, flow, 400, "Bad Contact Or Record-Route")
            return
        caller = call.caller
        assert call.search is not None
        assert caller is not None
        if source.name in self.sources.natted and source.kind == "trunk":
            caller.session.nat = True
        if not made:
            call.came = named.legs
            call.first = first
        self.counters.calls += 1
        self.calls.add(call)
        self.numbers.begin(call_id)
        if self.lines.take(call.party, caller):
            caller.line = call.party
        elif not self._is_emergency(request, source):
            # It has the place of a call already, and the record of one.
            why = "Too Many Calls At Once"
            self.refusals.count(LINE_FULL, source, request, flow, 503, why)
            call.refuse(request, parse_uri(request.uri).user, 503, why)
            return
        uri = parse_uri(request.uri)
        dialled = uri.user
        if "gr" in uri.params and source.kind == "extension":
            phone = self.gruus.phone_of(uri)
            if phone is not None:
                # Of the phones of that extension this alone.
                dialled = phone[0]
                self.only[call] = phone
        if uri.number_params and len(uri.number_params) <= self.settings.max_text:
            call.search.number_params = uri.number_params
        if "replaces" in headers:
            call.replace(request, dialled)
            return
        route = self.dialplan.route(dialled, source)
        if route is None:
            self.refusals.say(source, request, flow, 404, "No Route")
        call.start(request, dialled, route)

    # --- what calls need (softswitch.calls.core.Core)

    def flow_to(self, hop: Uri, fallback: Flow) -> Flow:
        """The flow to a next hop; `fallback`, where the dialog's messages come from, for a name."""
        host, port = hop.host.strip("[]"), hop.port or 5060
        transport = (hop.params.get("transport") or "udp").lower()
        if fallback.remote == (host, port) and fallback.transport == transport:
            return fallback
        if not host.replace(".", "").isdigit() and ":" not in host:
            return fallback
        if unreachable_from(host, fallback.remote[0]):
            return fallback
        if hop.scheme == "sips" or transport == "tls":
            # Not to another port in the clear (§26.2.2): over TLS, or the way its messages came.
            transport, port = "tls", hop.port or 5061
            if fallback.remote == (host, port) and fallback.transport == transport:
                return fallback
        flow = self.network.flow_to(transport, host, port, fallback.listener, fallback.peer)
        return flow or fallback

    def reconnect(self, data: bytes, flow: Flow) -> Flow | None:
        """Another connection to where this message goes: see `Destinations.reconnect`."""
        return self.targets.reconnect(data, flow, self._whose)

    def _whose(self, key: str) -> tuple[str, Session] | None:
        """The party and the session of a dialog."""
        leg = self.legs.get(key)
        return (leg.party, leg.session) if leg is not None else self.notifier.whose(key)

    def destinations(self, target: Target, holder: object) -> list[Destination] | tuple[int, str]:
        """Where a target of the dialplan is just now: see `Destinations.of`."""
        only = self.only.get(holder) if self.only else None
        if only is not None and target.kind == "extension" and target.name == only[0]:
            return self.targets.of(target, holder, only[1])
        return self.targets.of(target, holder)

    def elsewhere(self, before: Destination, number: str, holder: object) -> Destination | None:
        """Another address of a trunk: see `Destinations.elsewhere`."""
        return self.targets.elsewhere(before, number, holder)

    def make_room(self, party: str) -> bool:
        """End a call that has a line of a trunk, for one of an emergency; whether there is one."""
        found: Call | None = None
        for call in self.calls:
            if call.emergency or (found is not None and call.call_id < found.call_id):
                continue
            if any(leg.line == party for leg in (*call.legs, *call.ringing())):
                found = call
        if found is None:
            return False
        log.warning(
            "call %s ends: its line of %s is needed for an emergency call", found.call_id, party
        )
        found.hang_up_all("Room For An Emergency Call")
        return True

    def _calls_of(self, legs: set[tuple[str, int]]) -> list[Passage]:
        """The calls that have one of these legs."""
        call_ids = {call_id for call_id, _ in legs}
        return [
            call
            for call in self.calls
            if call.call_id in call_ids
            and any((call.call_id, leg.index) in legs for leg in call.legs)
        ]

    def _is_emergency(self, request: Request, source: Source) -> bool:
        """Whether the route of an INVITE says that no limit stops it."""
        try:
            number = parse_uri(request.uri).user
        except ValueError:
            return False
        route = self.dialplan.route(number, source)
        return route is not None and route.emergency

    def redirected(self, party: str, number: str, uri: Uri) -> Stages | Destination | None:
        """Where a 3xx may lead: see `Destinations.redirected`."""
        return self.targets.redirected(party, number, uri, self.dialplan)

    def route(self, number: str, source: Source) -> Route | None:
        """What the dialplan does with a number."""
        if number.startswith(TEMPORARY):
            number = self.gruus.extension_of(number)
        return self.dialplan.route(number, source)

    def ringing(self, party: str, number: str) -> Member | None:
        """The leg that rings longest at that extension, or with an empty number at any, if the
        party may take it."""
        wanted = f"extension:{number}" if number else ""
        found: Call | None = None
        longest: Leg | None = None
        for call in self.calls:
            if found is not None and found.call_id < call.call_id:
                continue
            for leg in call.ringing():
                if wanted and leg.party != wanted:
                    continue
                mine = self.parties.may_pick_up(party, leg.party) and leg.party != party
                if mine and call.lets_take(leg):
                    found, longest = call, leg
                    break
        return longest

    def leg_of(self, call_id: str, tag: str) -> Member | None:
        """The leg of a dialog: by its Call-ID and our tag."""
        return self.legs.get(f"{call_id} {tag}")

    def adopt(self, call: Passage, next_leg: int, next_talk: int) -> None:
        """A passage that did not begin with an INVITE is one of ours."""
        assert isinstance(call, Call)
        self.numbers.go_on(call.call_id, next_leg, call.base, next_talk)
        self.calls.add(call)

    def remember(self, leg: Member, tag: str = "") -> None:
        """From now on requests find this leg by its dialog, or by that of another tag of ours."""
        assert isinstance(leg, Leg)
        self.legs[leg.key if not tag else f"{leg.session.dialog.call_id} {tag}"] = leg
        if self.dialogs is not None and leg.call is not None:
            self.dialogs.began(leg.call.call_id, leg.session.dialog.call_id, leg.party)
        if self.lamps.awake:
            self.lamps.took(leg)
        if self.queues.awake:
            self.queues.took(leg)

    def forget(self, leg: Member, tag: str = "") -> None:
        """The leg is over, or its dialog of that tag."""
        if tag:
            assert isinstance(leg, Leg)
            self.legs.pop(f"{leg.session.dialog.call_id} {tag}", None)
            return
        self.legs.pop(leg.key, None)
        if self.lamps.awake:
            self.lamps.lost(leg)
        if self.queues.awake:
            self.queues.lost(leg)
        if self.dialling:
            dialling = self.dialling.pop(leg.key, None)
            if isinstance(dialling, Dialling):
                dialling.stop()
        if self.draining and not self.legs and self.on_idle is not None:
            self.on_idle()

    def call_over(self, call: Passage) -> None:
        """A passage has ended; its legs may still wait for the last responses."""
        assert isinstance(call, Call)
        self.calls.discard(call)
        if self.only:
            self.only.pop(call, None)
        self.counters.answered += call.answered
        self.numbers.end(call.call_id, call.comes_no_more())
        if self.dialogs is not None:
            self.dialogs.ended(call.call_id)
        if self.draining and not self.calls and self.on_idle is not None:
            self.on_idle()

    # --- what the switch does by itself (softswitch.features.Phones)

    def is_registered(self, extension: str) -> bool:
        """Whether a phone of it can be called."""
        return bool(self.registrar.contacts(extension))

    def is_in_use(self, extension: str) -> bool:
        """Whether a leg of it rings or talks."""
        party = f"extension:{extension}"
        return any(leg.party == party and in_use(leg) for leg in self.legs.values())

    def place(self, caller: str, callee: str, number: str, errand: Errand) -> CompletingCall | None:
        """Ring one extension, and then call `number` on its behalf; None: not now."""
        crowded = len(self.calls) >= self._max_calls or len(self.legs) >= self._max_dialogs
        if crowded or self.draining:
            return None
        self.counters.calls += 1
        made = self.call_ids.made()
        return CompletingCall.placed(self, made.call_id, made.owner, caller, callee, number, errand)

    # --- whom a page calls (softswitch.applications.page.Phones)

    def address_of(self, extension: str) -> str:
        """By which address and port a phone of it knows this switch; empty: none can be reached."""
        phones = self.targets.phones(extension)
        return phones[0][1].sent_by if phones else ""

    def all_in_use(self) -> frozenset[str]:
        """The extensions of which a leg rings or talks."""
        return frozenset(
            [
                leg.party[10:]
                for leg in self.legs.values()
                if leg.party.startswith("extension:") and in_use(leg)
            ]
        )

    def wants_quiet(self, extension: str) -> bool:
        """Whether it is not to be disturbed."""
        forwarding = self.forwardings.get(extension)
        return forwarding is not None and forwarding.dnd

    # --- calls of the process before

    def restore(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """Put back what a process that was killed had in its journal: calls, registrations.

        To be called before the switch listens, with or without any: what was not restored is over.
        """
        self.restarting.restore(rows, self.journal, self.config.timers.restart_check)
        self.emit(SwitchStarted(at=self.now_us(), switch=self.name))

    def opened(self) -> None:
        """The switch listens: what restored calls had to say goes out."""
        self.restarting.opened()
        self.enrolments.open()
        self.notifier.opened()
        self.messages.opened()
        self.on_told()

    # --- keeping up

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        give_back(self.calls, self.legs)
        self.numbers.tidy()
        self.refusals.tidy()
        self.lines.tidy()
        self.transactions.tidy()
        self.timers.tidy()
        forget_parsed()
        if self.journal is not None:
            self.journal.tidy()

    def drain(self) -> None:
        """No new calls from here on."""
        self.draining = True
        self.enrolments.leave()

    def hang_up_all(self, why: str) -> None:
        """End every call now."""
        for call in list(self.calls):
            call.hang_up_all(why)

    def tables(self) -> dict[str, int]:
        """How many of each are alive: all zero in a switch without calls, but for bindings."""
        return {
            "calls": len(self.calls),
            "legs": len(self.legs),
            "numbers": len(self.numbers),
            "refused": len(self.refusals),
            "lines": len(self.lines),
            "orbits": len(self.orbits),
            "dialling": len(self.dialling),
            "queued": len(self.queues),
            "completions": len(self.completions),
            **self.transactions.tables(),
            "timers": len(self.timers),
            "bindings": len(self.registrar),
            "registrations": len(self.registrations),
            "mailboxes": len(self.mailboxes),
            **self.notifier.tables(),
            **self.messages.tables(),
        }
