"""What a call needs of its switch, and what the parts of a call know of the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from softswitch import events
from softswitch.calls.codes import InCallCodes
from softswitch.calls.destination import Destination
from softswitch.calls.journal import Journal
from softswitch.calls.numbers import LegNumbers
from softswitch.config import CallerId, Forwarding, Tap
from softswitch.dialplan import Plays, Route, Source, Stages, Target
from softswitch.log import CallLog
from softswitch.sip import (
    Account,
    Flow,
    InviteServer,
    NonInviteServer,
    Request,
    Response,
    Surroundings,
    Uri,
)


@dataclass(frozen=True, slots=True)
class CallSettings:
    """What calls are limited by. Times in seconds; 0 switches a check off.

    `no_response`: an INVITE that nothing at all answers goes to the next target after this time.
    `session_check`: how often both sides of an answered call are asked whether they are still
    there. `ring_back`: how long who asked for a transfer is rung if nothing came of it.
    `max_transfers` is of one call. `parked`: who has parked a call is rung after this time.
    `session_expires` is the session interval that is asked for (RFC 4028), with the header lines
    that do so; `min_se` the shortest one that is taken. `max_passed` is in characters, of the
    headers of one message that go through, `early_dialogs` how many may ring behind one INVITE.
    `completion_ring`: how long who has asked for a call's completion is rung. `trunk_pause`: for so
    long an address of a trunk that did not take a call is the last choice.
    """

    no_response: float = 5.0
    session_check: float = 300.0
    max_duration: float = 0.0
    max_redirects: int = 5
    max_forwards: int = 70
    call_id_header: str = "X-CDS-Call-ID"
    user_agent: str = "softswitch"
    max_text: int = 256
    max_transfers: int = 50
    ring_back: float = 20.0
    parked: float = 120.0
    session_expires: int = 600
    min_se: int = 90
    session_lines: str = "Session-Expires: 600\r\n"
    max_passed: int = 2048
    early_dialogs: int = 16
    completion_ring: float = 20.0
    trunk_pause: float = 30.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as far as this switch believes it. `private`: asked not to be shown (RFC 3323)."""

    number: str
    name: str
    private: bool = False


class LineCounts:
    """How many calls a party may have at once (`softswitch.parties`)."""

    def take(self, line: str, holder: object) -> bool:
        """One leg more at `extension:NAME` or `trunk:NAME`; False if there may be no more."""
        raise NotImplementedError

    def release(self, line: str, holder: object) -> None:
        """One leg less."""
        raise NotImplementedError


class TollLimits:
    """What calls to carriers may cost (`softswitch.parties`)."""

    def admits(self, call: Passage, party: str, trunk: str, dialled: str, again: bool) -> bool:
        """Whether a call of a party may go to a number (with its parameters) at a trunk; if not, it
        has been told why. `again`: it went to that number before, and came to nothing there."""
        raise NotImplementedError

    def placed(
        self, call: Passage, leg: int, party: str, trunk: str, dialled: str, again: bool
    ) -> None:
        """It goes there, as the leg of that number."""
        raise NotImplementedError

    def told(self, event: events.Event) -> None:
        """Something has happened to a call."""
        raise NotImplementedError


class Features:
    """What phones have set by star codes, and what is remembered for them
    (`softswitch.features`)."""

    def set(self, extension: str, what: str, argument: str, number: str) -> tuple[str, str, str]:
        """Do as `dialplan.Asked.do` says, of an extension: forward, dnd, complete. Returns the name
        and value of what was set, and a phrase that says it; ValueError, its text a phrase, if that
        cannot be, LookupError if there is nothing to complete."""
        raise NotImplementedError

    def has_called(self, party: str, number: str) -> None:
        """A party has dialled a number."""
        raise NotImplementedError

    def was_called(self, party: str, number: str) -> None:
        """A party is called by a number that it may see."""
        raise NotImplementedError

    def has_failed(self, party: str, number: str, status: int) -> None:
        """A call of a party to that number came to nothing; 487: the party has given it up."""
        raise NotImplementedError

    def has_talked(self, party: str) -> None:
        """A call of a party was answered."""
        raise NotImplementedError

    def leg_over(self, party: str, active: bool) -> None:
        """A leg of a party that is `awaited` is over. `active`: somebody was there, as it has
        called or answered."""
        raise NotImplementedError

    def last(self, extension: str, what: str) -> str:
        """Which number a phone has called last (`redial`), or was called by (`return`); empty:
        none."""
        raise NotImplementedError


class TrunkStates:
    """Which trunks live (`softswitch.parties`). `down` is how many do not."""

    down: int

    def is_up(self, name: str) -> bool:
        """Whether to send calls there before others."""
        raise NotImplementedError

    def is_checked(self, name: str) -> bool:
        """Whether a call of it is over when it does not answer OPTIONS within the call."""
        raise NotImplementedError

    def heard(self, name: str) -> None:
        """Something came from there."""
        raise NotImplementedError

    def failed(self, name: str) -> None:
        """A call to it was not answered at all."""
        raise NotImplementedError

    def failed_at(self, name: str, address: tuple[str, int], seconds: float) -> None:
        """One of its addresses takes no calls, for so long."""
        raise NotImplementedError

    def busy(self, name: str, seconds: float) -> None:
        """It takes no calls for so long, it says."""
        raise NotImplementedError


class KnownParties:
    """Who is who: phones, trunks, our other switches (`softswitch.parties`)."""

    def switch_at(self, uri: Uri) -> str:
        """The trunk that leads to another of our switches, if this is its address; else empty."""
        raise NotImplementedError

    def source_of(self, party: str) -> Source:
        """Who a party is to the dialplan."""
        raise NotImplementedError

    def passes(self, party: str) -> frozenset[str]:
        """The headers that may go to and come from a party, in lower case
        (`softswitch.calls.passing`)."""
        raise NotImplementedError

    def may_refer(self, party: str) -> bool:
        """Whether a party may transfer whom it talks with."""
        raise NotImplementedError

    def may_prack(self, party: str) -> bool:
        """Whether a party may have and give reliable provisional responses."""
        raise NotImplementedError

    def may_pick_up(self, party: str, other: str) -> bool:
        """Whether a party may take calls that ring at another."""
        raise NotImplementedError

    def named(self, party: str, number: str) -> Caller:
        """How a party that was called is shown to whom it is to talk with next."""
        raise NotImplementedError

    def is_ours(self, party: str) -> bool:
        """Whether a party is a phone or one of our switches."""
        raise NotImplementedError

    def caller_id(self, party: str) -> CallerId | None:
        """What carriers are shown of a party, if it is an extension that has it set."""
        raise NotImplementedError


class Opened:
    """An application that waits for its call (`softswitch.applications`)."""

    destination: Destination

    def placed(self, leg: Member, party: str, caller: Caller) -> None:
        """The call was placed: it is this leg. Who talks to it, as a party and as it is shown."""
        raise NotImplementedError

    def abandoned(self) -> None:
        """It is not wanted any more."""
        raise NotImplementedError


class Bridged:
    """A way for a talk through a media worker (`softswitch.applications`): two ports that are
    joined, of its first leg and of its second."""

    destinations: tuple[Destination, Destination]

    def placed(self, lost: Callable[[], None], now_us: Callable[[], int]) -> None:
        """Somebody has it. `lost` is to be told if the worker dies; `now_us` is the call's
        time."""
        raise NotImplementedError

    def together(self, talk: int, recorded: bool) -> None:
        """The media of both comes there: they hear each other from now on. `recorded`: what they
        say is kept, as that of the talk of that number."""
        raise NotImplementedError

    def tap(self, talk: int, taps: tuple[Tap, ...], about: tuple[tuple[str, str], ...]) -> None:
        """These programs hear what they say in the talk of that number; `about` is what they are
        told of it."""
        raise NotImplementedError

    def held(self, holder: int, on: bool) -> None:
        """Leg 0 or 1 has put the other one on hold, or does not any more."""
        raise NotImplementedError

    def pause(self, on: bool) -> None:
        """What they say is not recorded for a while, and no program hears it; or again."""
        raise NotImplementedError

    def close(self) -> None:
        """It is not needed any more."""
        raise NotImplementedError


class RecordedTalks:
    """Whose talks are recorded: those of `parties`, and all of `calls` (callIDs)."""

    __slots__ = ("calls", "parties")

    def __init__(self) -> None:
        self.parties: frozenset[str] = frozenset()
        self.calls: set[str] = set()


class TappedTalks:
    """The programs that listen to talks: to those of `parties`, and to all of `calls` (callIDs).
    `known` are all that the configuration has, by their keys; `most` listen to one talk."""

    __slots__ = ("calls", "known", "most", "parties")

    def __init__(self) -> None:
        self.parties: dict[str, Tap] = {}
        self.calls: dict[str, tuple[Tap, ...]] = {}
        self.known: dict[str, Tap] = {}
        self.most = 1

    def add(self, call_id: str, taps: tuple[Tap, ...]) -> bool:
        """From now on they listen to all talks of that call; whether one does that did not."""
        there = self.calls.get(call_id, ())
        new = tuple([one for one in taps if one not in there])[: self.most - len(there)]
        if new:
            self.calls[call_id] = there + new
        return bool(new)

    def keys(self, call_id: str) -> tuple[str, ...]:
        """The keys of those that listen to all talks of that call."""
        return tuple([one.key for one in self.calls.get(call_id, ())])

    def of(self, call_id: str, first: str, second: str) -> tuple[Tap, ...]:
        """Those that listen to a talk of these two parties."""
        found = list(self.calls.get(call_id, ()))
        for party in (first, second):
            tap = self.parties.get(party)
            if tap is not None and tap not in found:
                found.append(tap)
        return tuple(found[: self.most])


class Applications:
    """What the switch itself plays (`softswitch.applications`)."""

    def open(
        self, play: Plays, address: str, then: Callable[[Opened | tuple[int, str]], None]
    ) -> None:
        """`then` gets an application, for one who knows this switch by that address; or the status
        and phrase of why there is none. At once, or a little later."""
        raise NotImplementedError

    def bridge(
        self,
        call_id: str,
        addresses: tuple[str, str],
        then: Callable[[Bridged | tuple[int, str]], None],
    ) -> None:
        """`then` gets a way for a talk of that call, whose legs know this switch by those
        addresses; or why there is none. At once, or a little later."""
        raise NotImplementedError

    def leg_over(self, leg: Member) -> None:
        """The leg of one is about to be over: it may have a last word."""
        raise NotImplementedError


class Member:
    """A leg as the switch has it in its tables."""

    party: str

    @property
    def key(self) -> str:
        """What requests within its dialog are found by."""
        raise NotImplementedError

    def within_dialog(
        self, request: Request, transaction: InviteServer | NonInviteServer, flow: Flow
    ) -> None:
        """Any request but ACK and CANCEL within its dialog."""
        raise NotImplementedError

    def acked(self, request: Request) -> bool:
        """An ACK of this party; False if no 2xx of ours waits for it."""
        raise NotImplementedError

    def stray(self, response: Response) -> None:
        """A 2xx to an INVITE that this party was sent before the switch was killed."""
        raise NotImplementedError


class Passage:
    """A call as its legs, searches and talks know it: one way of a callID through this switch.

    `number` is the one of the leg that came in (`softswitch.events`), `party` and `identity` are
    who that was, `most` the characters of a text (`softswitch.sip.texts`). `update`: both sides
    have said that they take UPDATE. `travelled`: another of our switches has been sent the callID;
    `came` are the legs by which it came here (`callid`). `said`: the log has it; `emergency`: no
    limit stops it.
    """

    call_id: str
    came: str
    core: Core
    identity: Caller
    most: int
    number: int
    over: bool
    owner: str
    party: str
    emergency: bool
    said: bool
    switch_name: str
    travelled: bool
    update: bool

    def now_us(self) -> int:
        """The call's time: microseconds since the epoch, UTC, as if nobody had set the time of day
        since the call came."""
        raise NotImplementedError

    def talk_failed(self, talk: object, reason: str) -> None:
        """Those who talk so do not hear each other."""
        raise NotImplementedError

    def tell(self, event: events.Told) -> None:
        """Tell an event, and note what a restart would have to tell again."""
        raise NotImplementedError

    def tell_media(self, event: events.LegMedia) -> None:
        """Tell what has been agreed on; a restart would tell a leg's last such event."""
        raise NotImplementedError

    def tell_facts(self, event: events.ApplicationTold) -> None:
        """Tell what an application knows; a restart would tell the last of each leg."""
        raise NotImplementedError

    def tell_route(
        self, route: Route, properties: dict[str, str], once: dict[str, str] | None = None
    ) -> events.CallRouted:
        """Tell which route it takes, and the properties that it gets by that."""
        raise NotImplementedError

    def changed(self) -> None:
        """Something that the journal holds has changed."""
        raise NotImplementedError

    # what its legs say

    def bye_from(self, leg: Member, request: Request) -> None:
        """A party hung up."""
        raise NotImplementedError

    def cancelled(self, request: Request) -> None:
        """The caller gave up."""
        raise NotImplementedError

    def before_the_answer(
        self,
        leg: Member,
        request: Request,
        transaction: InviteServer | NonInviteServer,
        flow: Flow,
    ) -> None:
        """A request within an early dialog of a leg."""
        raise NotImplementedError

    def alone(
        self,
        leg: Member,
        request: Request,
        transaction: InviteServer | NonInviteServer,
        flow: Flow,
    ) -> None:
        """A request other than BYE from a leg that is answered and talks with nobody."""
        raise NotImplementedError

    def acknowledged(self, leg: Member, request: Request, transaction: NonInviteServer) -> None:
        """A PRACK of the caller, who has had the answer meanwhile."""
        raise NotImplementedError

    def referred(
        self,
        leg: Member,
        request: Request,
        transaction: NonInviteServer,
        outside: Flow | None = None,
    ) -> None:
        """A party asks that whom it talks with talk to somebody else (REFER). `outside`: the
        request came by it, and not within the leg's dialog (RFC 4538)."""
        raise NotImplementedError

    def heeds(self, leg: Member, what: str) -> bool:
        """Whether a leg may dial that code just now (`softswitch.calls.codes`)."""
        raise NotImplementedError

    def dialled_code(self, leg: Member, what: str, number: str) -> None:
        """A leg has dialled that code, and the number that follows it, if one does."""
        raise NotImplementedError

    def renamed(self, leg: Member, value: str) -> None:
        """The neighbour behind a leg says that the call is part of another (the callID header)."""
        raise NotImplementedError

    def said_all(self) -> None:
        """Of a call that is over: the BYE that waited for an ACK is sent."""
        raise NotImplementedError

    # what may be done with its legs

    def leg_ended(self, leg: Member, status: int, reason: str, by: str) -> None:
        """Tell that a leg is over."""
        raise NotImplementedError

    def let_go(self, leg: Member, reason: str, line: str) -> None:
        """Hang up a leg; `reason` is for the record, `line` a header line for the leg."""
        raise NotImplementedError

    def left_alone(self, leg: Member, status: int, reason: str) -> None:
        """Hang up a leg if it has nobody to talk with, and say why."""
        raise NotImplementedError

    def fail(self, status: int, reason: str, by: str = "switch", lines: str = "") -> None:
        """The caller gets this failure, and the call is over."""
        raise NotImplementedError

    def vanished(self, leg: Member, why: str) -> None:
        """A party is not there any more: `why` goes into the record and to all who are hung up
        on."""
        raise NotImplementedError

    def hang_up_all(self, why: str) -> None:
        """The switch ends the call: `why` goes into the record and to all parties."""
        raise NotImplementedError


class Core(Surroundings):
    """What a call needs of its switch. `now_us` is the time of day, `steady_us` what nobody sets,
    both in microseconds; `boot` names the machine's start since which the latter goes on. `orbits`
    are the calls that are parked, by number, `accounts` what answers the challenges of a party.
    `codes` are those of calls (None: there are none),
    `dialling` what legs have dialled of them, by the legs' keys. `passes_more`: some party's
    `pass_headers` has more than the usual ones."""

    name: str
    site: str
    settings: CallSettings
    journal: Journal | None
    boot: str
    numbers: LegNumbers
    call_log: CallLog | None
    orbits: dict[str, object]
    accounts: dict[str, Account]
    codes: InCallCodes | None
    dialling: dict[str, object]
    passes_more: bool
    line_counts: LineCounts
    toll: TollLimits | None
    """None: nothing is limited."""
    trunk_states: TrunkStates
    parties: KnownParties
    now_us: Callable[[], int]
    steady_us: Callable[[], int]
    features: Features
    applications: Applications
    recorded: RecordedTalks | None
    """Whose talks are recorded; None: nobody's, ever."""
    tapped: TappedTalks | None
    """Who listens to talks; None: nobody, ever."""
    transcodes: bool
    """Whether a media worker speaks for callers where the two sides share no codec."""
    music: Plays | None
    """What is heard by who is on hold; None: nothing."""
    forwardings: dict[str, Forwarding]
    """Of the extensions that have any."""
    remembers: bool
    """Whether `features` is to be told who calls whom, as somebody may ask for it."""
    completes: bool
    """Whether `features` is to be told whose calls came to nothing."""
    awaited: Mapping[str, object]
    """The parties of whose legs `features` is to be told that they are over."""

    def emit(self, event: events.Event) -> None:
        """Tell every plugin."""
        raise NotImplementedError

    def destinations(self, target: Target, holder: object) -> list[Destination] | tuple[int, str]:
        """Where a target of the dialplan is just now, or the status and phrase of why nowhere."""
        raise NotImplementedError

    def elsewhere(self, before: Destination, number: str, holder: object) -> Destination | None:
        """Another address of the trunk that did not take a call, with its line taken; None if all
        were tried."""
        raise NotImplementedError

    def make_room(self, party: str) -> bool:
        """End a call that has a line of a trunk, for one of an emergency; whether there is one."""
        raise NotImplementedError

    def redirected(self, party: str, number: str, uri: Uri) -> Stages | Destination | None:
        """Where a 3xx may lead."""
        raise NotImplementedError

    def route(self, number: str, source: Source) -> Route | None:
        """What the dialplan does with a number."""
        raise NotImplementedError

    def ringing(self, party: str, number: str) -> Member | None:
        """The leg that rings longest at that extension, or with an empty number at any, if the
        party may take it."""
        raise NotImplementedError

    def leg_of(self, call_id: str, tag: str) -> Member | None:
        """The leg of a dialog: by its Call-ID and our tag."""
        raise NotImplementedError

    def answered(self, call: Passage) -> None:
        """A caller's 2xx was sent: the call wants to know when it leaves."""
        raise NotImplementedError

    def adopt(self, call: Passage, next_leg: int, next_talk: int) -> None:
        """A passage that did not begin with an INVITE is one of ours."""
        raise NotImplementedError

    def remember(self, leg: Member, tag: str = "") -> None:
        """From now on requests find this leg by its dialog, or by that of another tag of ours."""
        raise NotImplementedError

    def forget(self, leg: Member, tag: str = "") -> None:
        """The leg is over, or its dialog of that tag."""
        raise NotImplementedError

    def call_over(self, call: Passage) -> None:
        """A passage has ended; its legs may still wait for the last responses."""
        raise NotImplementedError
