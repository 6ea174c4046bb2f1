"""What a seed means: the servers, their settings and clocks, the calls, the notes, the faults.

All of it is drawn before the simulation starts, as a list of items; a failing seed is made smaller
by leaving items out (``keep``).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

SECOND = 1_000_000

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox")
UNSERVED = ("gnu", "hen")


@dataclass(frozen=True, slots=True)
class Settings:
    """Of the network and of each server. Seconds, unless a name says otherwise."""

    servers: tuple[str, ...]
    off: dict[str, int]
    drift: dict[str, int]
    peers: dict[str, set[str]]
    alive_interval: float
    dead_after: float
    reregister_within: float
    linger: float
    commit_interval: float
    journal_sync: float
    journal_keep: float
    delay_us: int
    jitter_us: int
    faults_end: int
    """When the last fault is over, microseconds."""
    unserved: tuple[str, ...] = ()
    """Switches beside which no server runs."""
    call_entries: dict[str, int] = field(default_factory=dict)
    """``cds.limits.call_entries`` of the servers where it is another than 1000."""
    peer_authors: int = 200
    """``cds.limits.peer_authors``."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A call at one switch, from the INVITE that came in to its end. Microseconds."""

    switch: str
    first_leg: int
    begins: int
    rings: int
    answers: int
    """0: never."""
    holds: int
    """0: never."""
    ends: int


@dataclass(frozen=True, slots=True)
class CallItem:
    """A call: its passages, in their order. It is owned by the first server on its way; of switches
    that have none (``unserved``) nobody hears but by the callID's header."""

    call_id: str
    owner: str
    caller: str
    callee: str
    disposition: str
    passages: tuple[Passage, ...]
    kind: str = "call"

    @property
    def origin(self) -> Passage:
        """The passage that tells of the call as a whole."""
        return next(passage for passage in self.passages if passage.switch == self.owner)


@dataclass(frozen=True, slots=True)
class NoteItem:
    """An application at ``server`` registers for a call, writes, and leaves after ``stays``."""

    at: int
    call: int
    server: str
    name: str
    """Of the property; empty: a log line."""
    text: str
    stays: int


@dataclass(frozen=True, slots=True)
class FaultItem:
    """Something fails at ``at`` and is mended at ``until``.

    ``kind``: ``partition`` (all ways between ``group`` and the rest), ``oneway`` (from ``one`` to
    ``other``), ``cut`` (both ways), ``reset`` (the connection, once), ``jump`` (the wall clock of
    ``one``, by ``by`` microseconds), ``full`` (the disk of ``one``), ``kill`` (the process; its
    switch is one with it), ``power`` (the machine), ``freeze`` (the process does nothing for a
    while, and goes on: SIGSTOP, a debugger, a machine that swaps or is moved), ``absent`` (a cut
    between a participant, ``one``, and the owner of its call, ``other``, that is frozen: it leaves
    the call, and reaches the owner only long after that goes on), ``away`` (the process, and its
    machine's wall clock is set by ``by`` before it is back).
    """

    kind: str
    at: int
    until: int
    one: str = ""
    other: str = ""
    group: tuple[str, ...] = ()
    by: int = 0


@dataclass(frozen=True, slots=True)
class FollowItem:
    """Somebody follows a call from ``at`` on, at ``server``: for ``stays``, 0: until its end."""

    at: int
    call: int
    server: str
    stays: int
    kind: str = "follow"


@dataclass(frozen=True, slots=True)
class NeighbourItem:
    """A call comes to ``server`` from ``at`` to ``ends`` with a callID whose owner never heard of
    it, or, when ``over``, of a call that is long over."""

    at: int
    ends: int
    server: str
    call_id: str
    owner: str
    caller: str
    over: bool
    kind: str = "neighbour"


@dataclass(frozen=True, slots=True)
class FloodItem:
    """Applications at ``server`` write more than a call may have: ``bursts`` of ``size`` entries,
    under the names of ``authors`` of them in turn."""

    bursts: tuple[int, ...]
    """When; microseconds."""
    call: int
    server: str
    size: int
    authors: int
    lines: bool
    """Log lines, or else properties of as many names."""
    length: int
    """Of each, characters."""
    kind: str = "flood"


@dataclass(frozen=True, slots=True)
class TransferItem:
    """Who was called asks at ``at`` that the caller talk to somebody else, at the switch of this
    passage; that one answers at ``answers`` (microseconds)."""

    call: int
    passage: int
    at: int
    answers: int
    kind: str = "transfer"


@dataclass(frozen=True, slots=True)
class MergeItem:
    """At ``at`` two calls become one, at a switch that has both: a call and its passage, of the
    older one and of the younger one."""

    at: int
    older: tuple[int, int]
    younger: tuple[int, int]
    kind: str = "merge"


Item = (
    MergeItem
    | TransferItem
    | CallItem
    | NoteItem
    | FaultItem
    | FollowItem
    | NeighbourItem
    | FloodItem
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A seed's whole meaning but for the delays. ``items`` are numbered from 0."""

    seed: int
    settings: Settings
    items: tuple[Item, ...]
    keep: frozenset[int] | None = field(default=None)

    def kept(self) -> list[Item]:
        """The items that are not left out."""
        keep = self.keep
        return [i for n, i in enumerate(self.items) if keep is None or n in keep]


FIRST_KINDS = ("partition", "oneway", "cut", "reset", "jump", "full", "kill", "power")
FROZEN_KINDS = (*FIRST_KINDS, "freeze")
KINDS = (
    *FROZEN_KINDS,
    "absent",
    "away",
    "follow",
    "neighbour",
    "unserved",
    "flood",
    "transfer",
    "merge",
)
_WEIGHTS = (3, 3, 3, 3, 2, 1, 4, 1)


def make(seed: int, kinds: tuple[str, ...] = KINDS) -> Plan:
    """The plan of a seed; only faults of these kinds."""
    rng = random.Random(seed * 2 + 1)
    settings = _settings(rng)
    items: list[Item] = []
    calls = [_call(rng, settings, n) for n in range(rng.choice((1, 2, 2, 3, 4, 6)))]
    items += calls
    for n in range(rng.choice((0, 2, 3, 4, 6, 10))):
        items.append(_note(rng, settings, calls, n))
    for _ in range(rng.choice((0, 1, 2, 3, 4, 6, 9))):
        item = _fault(rng, settings, items)
        if item.kind in kinds:
            items.append(item)
    # Without these a seed means what it meant before there were any.
    if "freeze" in kinds:
        freezes = [_freeze(rng, settings, calls) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
        items += freezes
        last = max([settings.faults_end, *(freeze.until for freeze in freezes)])
        settings = replace(settings, faults_end=last)
        if rng.random() < 0.5:
            settings = replace(settings, reregister_within=300.0)
        if freezes and rng.random() < 0.5:  # a server that is dialled, and knows nobody itself
            settings = replace(settings, peers={**settings.peers, freezes[0].one: set()})
        if "absent" in kinds and freezes and rng.random() < 0.5:
            items += (absent := _absent(rng, settings, calls, freezes))
            last = max([settings.faults_end, *(fault.until for fault in absent)])
            settings = replace(settings, faults_end=last)
    if "away" in kinds:
        full = {item.one for item in items if isinstance(item, FaultItem) and item.kind == "full"}
        for item in _clocks(random.Random(f"{seed} clocks"), settings, calls):
            # What is lost on a full disk is another matter: ``kill`` sees to that.
            if item.kind in kinds and not (item.kind == "away" and item.one in full):
                items.append(item)
    if "follow" in kinds:
        others = random.Random(f"{seed} follow")
        for _ in range(others.choice((0, 1, 1, 2, 4))):
            items.append(_follow(others, settings, calls))
    if "neighbour" in kinds:
        others = random.Random(f"{seed} neighbour")
        rest = others.sample(calls, len(calls))
        stepped = any(isinstance(i, FaultItem) and i.kind in ("jump", "away") for i in items)
        for n in range(min(others.choice((0, 0, 1, 1, 2)), len(rest))):
            neighbour = _neighbour(others, settings, rest[n], n)
            # What began after the end of another call is told by the owner's clock.
            if not (neighbour.over and stepped):
                items.append(neighbour)
    if "unserved" in kinds and (others := random.Random(f"{seed} unserved")).random() < 0.3:
        settings = replace(settings, unserved=UNSERVED[: others.choice((1, 1, 2))])
        for n, call in enumerate(calls):
            items[n] = _past_unserved(others, settings, call)
    if "flood" in kinds and (others := random.Random(f"{seed} flood")).random() < 0.25:
        few = others.choice((10, 20, 50))
        limits = {s: few for s in settings.servers if others.random() < 0.8}
        settings = replace(
            settings, call_entries=limits, peer_authors=others.choice((len(NAMES), 200))
        )
        for _ in range(others.choice((1, 1, 2, 3))):
            items.append(_flood(others, settings, calls, few))
    if "transfer" in kinds:
        others = random.Random(f"{seed} transfer")
        now = [item for item in items if isinstance(item, CallItem)]  # past switches without server
        for n, call in enumerate(now):
            items += [
                _transfer(others, n, p, passage) for p, passage in _transferable(call, others)
            ]
    if "merge" in kinds:
        items += _merges(random.Random(f"{seed} merge"), items)
    return Plan(seed, settings, tuple(items))


def _settings(rng: random.Random) -> Settings:
    servers = NAMES[: rng.choice((2, 2, 3, 3, 4, 5, 6))]
    alive = rng.choice((2.0, 5.0, 5.0))
    dead = alive * rng.choice((3, 4, 6))
    peers = {s: set(servers) - {s} for s in servers}
    if rng.random() < 0.2:
        # An owner whose name is in nobody's peers, or two servers that do not know each other.
        one, other = rng.sample(servers, 2)
        peers[one].discard(other)
        if rng.random() < 0.7:
            peers[other].discard(one)
    hour = 3600 * SECOND
    wrong = rng.choice((0, SECOND // 20, 10 * SECOND, 5 * hour))
    return Settings(
        servers=servers,
        off={s: rng.randint(-wrong, wrong) for s in servers},
        drift={s: rng.choice((0, 0, 20, -30, 200)) for s in servers},
        peers=peers,
        alive_interval=alive,
        dead_after=dead,
        reregister_within=dead * rng.choice((1, 2, 5)),
        linger=rng.choice((1.0, 5.0, 10.0, 30.0)),
        commit_interval=rng.choice((0.002, 0.02, 0.1)),
        journal_sync=rng.choice((0.0, 0.003, 0.05)),
        journal_keep=rng.choice((8.0, 30.0, 120.0)),
        delay_us=rng.choice((50, 500, 20_000, 150_000)),
        jitter_us=rng.choice((0, 1_000, 100_000, 2_000_000)),
        faults_end=rng.choice((20, 40, 80, 120)) * SECOND,
    )


def _call(rng: random.Random, settings: Settings, n: int) -> CallItem:
    begins = rng.randrange(settings.faults_end)
    # Some calls are still up when all faults are over: their copies must be equal then.
    if rng.random() < 0.3:
        ends = settings.faults_end + int((settings.dead_after + 60) * SECOND)
    else:
        ends = begins + int(rng.choice((0.2, 3, 20, 60)) * SECOND * rng.uniform(0.5, 1.5))
    owner = rng.choice(settings.servers)
    answered = rng.random() < 0.75
    passages: list[Passage] = []
    legs: dict[str, int] = {}
    switch, at = owner, begins
    length = ends - begins
    answers = begins + int(length * rng.uniform(0.05, 0.5)) if answered else 0
    for hop in range(rng.choice((1, 2, 2, 2, 3, 3, 4))):
        first = legs.get(switch, 0)
        legs[switch] = first + 2
        over = ends if not hop else ends + rng.randint(-200_000, 200_000)
        if hop and rng.random() < 0.2:  # it is passed on elsewhere, and this switch is out
            over = at + int((ends - at) * rng.uniform(0.3, 0.9))
        over = max(over, at + 4000)
        said = answers + rng.randrange(50_000) if answers and answers > at + 2000 else 0
        if said >= over - 1000:
            said = 0
        if not hop:
            said = answers
        holds = rng.randrange(said + 1, over) if said and rng.random() < 0.3 else 0
        rings = at + 1000
        passages.append(Passage(switch, first, at, rings, said, holds, over))
        # On to the next: mostly at once, as an INVITE does; later when it is a transfer.
        at += rng.choice((3_000, 30_000, max(int(length * rng.random()), 3_000)))
        if at >= ends - 5000:
            break
        others = [s for s in settings.servers if s != switch]
        switch = rng.choice(others)
    disposition = "answered" if answered else rng.choice(("busy", "no-answer", "cancelled"))
    call_id = f"01990000-{n:04x}-7000-8000-{settings.faults_end:012x}"
    return CallItem(call_id, owner, f"10{n:02d}", f"20{n:02d}", disposition, tuple(passages))


def _transferable(call: CallItem, rng: random.Random) -> list[tuple[int, Passage]]:
    """The passages of a call from which it is sent on."""
    return [
        (n, passage)
        for n, passage in enumerate(call.passages)
        if passage.answers and passage.ends - passage.answers > 1000 and rng.random() < 0.25
    ]


def _transfer(rng: random.Random, call: int, place: int, passage: Passage) -> TransferItem:
    at = rng.randrange(passage.answers + 1, passage.ends - 2)
    return TransferItem(call, place, at, rng.randrange(at + 1, passage.ends))


def _merges(rng: random.Random, items: list[Item]) -> list[MergeItem]:
    """Of calls that are up at one switch at the same time; no INVITE of them is on its way then."""
    calls = [item for item in items if isinstance(item, CallItem)]
    everywhere = [max(passage.begins for passage in call.passages) for call in calls]
    passages = [
        ((n, place), passage)
        for n, call in enumerate(calls)
        for place, passage in enumerate(call.passages)
        if passage.answers
    ]
    found: list[MergeItem] = []
    for older, one in passages:
        for younger, other in passages:
            begin = max(one.answers, other.answers, everywhere[younger[0]]) + 1
            end = min(one.ends, other.ends)
            here = older[0] < younger[0] and one.switch == other.switch and begin < end
            if here and rng.random() < 0.5:
                found.append(MergeItem(rng.randrange(begin, end), older, younger))
    return found


def _note(rng: random.Random, settings: Settings, calls: list[CallItem], n: int) -> NoteItem:
    which = rng.randrange(len(calls))
    call = calls[which]
    first = call.passages[0]
    if rng.random() < 0.35:  # after the hangup, while it lingers
        at = first.ends + int(settings.linger * SECOND * rng.random())
    else:
        at = rng.randrange(first.begins + 500, first.ends + 500)
    server = rng.choice(settings.servers)
    name = rng.choice(("", "", "account", "mood"))
    stays = int(rng.choice((0.001, 0.1, 5, 40)) * SECOND * rng.uniform(0.5, 1.5))
    return NoteItem(at, which, server, name, f"note {n} of {server}", stays)


def _follow(rng: random.Random, settings: Settings, calls: list[CallItem]) -> FollowItem:
    which = rng.randrange(len(calls))
    first = calls[which].passages[0]
    until = first.ends + int(settings.linger * SECOND)
    at = rng.randrange(first.begins, until)
    if rng.random() < 0.2:  # before the call has come to its owner, perhaps
        at = first.begins + rng.randrange(2000)
    stays = 0 if rng.random() < 0.7 else int(rng.choice((0.01, 5, 40)) * SECOND * rng.random())
    return FollowItem(at, which, rng.choice(settings.servers), stays)


def _neighbour(rng: random.Random, settings: Settings, call: CallItem, n: int) -> NeighbourItem:
    lasts = int(rng.choice((0.2, 3, 20, 60)) * SECOND * rng.uniform(0.5, 1.5))
    owner, call_id, over = call.owner, call.call_id, rng.random() < 0.5
    if over:
        at = call.passages[0].ends + int((settings.linger + settings.dead_after + 60) * SECOND)
    else:
        owner, call_id = (
            rng.choice(settings.servers),
            f"01980000-{n:04x}-7000-8000-{settings.faults_end:012x}",
        )
        at = rng.randrange(settings.faults_end)
    server = rng.choice(settings.servers)
    if server != owner and not (
        owner in settings.peers[server] and server in settings.peers[owner]
    ):
        server = owner  # who does not know the owner records what he has of its calls
    return NeighbourItem(at, at + lasts, server, call_id, owner, f"99{n:02d}", over)


def _past_unserved(rng: random.Random, settings: Settings, call: CallItem) -> CallItem:
    """A call that begins at a switch without a server, or passes one, or both."""
    if rng.random() < 0.3:
        return call
    passages: list[Passage] = []
    legs: dict[str, int] = {}
    first = rng.random() < 0.7
    at = max(call.passages[0].begins - 2000, 0)
    for passage in call.passages:
        while rng.random() < (0.4 if passages else 0.9 * first):
            switch = rng.choice(settings.unserved)
            number = legs.get(switch, 0)
            legs[switch] = number + 2
            at = rng.randint(min(at, passage.begins), passage.begins)
            passages.append(replace(passage, switch=switch, first_leg=number, begins=at))
        passages.append(passage)
        at = passage.begins
    return replace(call, passages=tuple(passages), kind="unserved")


def _flood(rng: random.Random, settings: Settings, calls: list[CallItem], few: int) -> FloodItem:
    """Most of the time until the very end of the call."""
    which = rng.randrange(len(calls))
    call = calls[which]
    first = call.passages[0]
    # Mostly where somebody takes part anyway, often where more may be written than at the owner.
    switches = [passage.switch for passage in call.passages]
    generous = [s for s in settings.servers if s not in settings.call_entries]
    server = rng.choice(rng.choice((switches, switches, settings.servers, generous or switches)))
    bursts = [
        rng.randrange(first.begins + 500, first.ends + 500) for _ in range(rng.choice((1, 4, 8)))
    ]
    if rng.random() < 0.7:
        bursts.append(first.ends + rng.randrange(-3000, 3000))
    size = rng.choice((few // 2, few + 1, 4 * few))
    return FloodItem(
        tuple(sorted(bursts)),
        which,
        server,
        size,
        rng.choice((1, 1, 2, 7)),
        rng.random() < 0.5,
        rng.choice((1, 40, 1000)),
    )


def _soon(rng: random.Random, items: list[Item]) -> int:
    """A moment soon after somebody wrote something."""
    item = rng.choice(items)
    at = item.at if isinstance(item, NoteItem) else 0
    if isinstance(item, CallItem):
        passage = rng.choice(item.passages)
        at = rng.choice((passage.begins, passage.rings, passage.answers, passage.ends))
    return at + int(rng.choice((2_000, 60_000, 400_000)) * rng.random())


def _fault(rng: random.Random, settings: Settings, items: list[Item]) -> FaultItem:
    kind = rng.choices(FIRST_KINDS, _WEIGHTS)[0]
    end = settings.faults_end
    at = rng.randrange(end - SECOND)
    if kind in ("kill", "power", "cut", "oneway", "reset") and rng.random() < 0.6:
        at = min(_soon(rng, items), end - SECOND)
    lasts = int(rng.choice((0.05, 2, settings.dead_after * 1.5, 60)) * SECOND * rng.uniform(0.5, 2))
    until = min(at + lasts, end)
    one, other = rng.sample(settings.servers, 2)
    if kind == "partition":
        size = rng.randint(1, len(settings.servers) - 1)
        return FaultItem(kind, at, until, group=tuple(rng.sample(settings.servers, size)))
    if kind == "jump":
        by = rng.choice((-1, 1)) * rng.choice((SECOND, 60 * SECOND, 7200 * SECOND))
        return FaultItem(kind, at, at, one, by=by)
    if kind in ("full", "kill", "power"):
        return FaultItem(kind, at, until, one)
    return FaultItem(kind, at, at if kind == "reset" else until, one, other)


def _freeze(rng: random.Random, settings: Settings, calls: list[CallItem]) -> FaultItem:
    """Mostly of the owner of a call that many take part in, before they hang up, and until it is
    missed: they leave while another server takes care of the call."""
    end = settings.faults_end
    call = max(
        rng.choices(calls, k=3),
        key=lambda call: (call.passages[0].ends < end, len({p.switch for p in call.passages})),
    )
    dead = settings.dead_after * SECOND
    begun = max(p.begins for p in call.passages)
    ends = min(call.passages[0].ends, end)
    at = min(begun + int(max(ends - begun, 0) * rng.random()), end - SECOND)
    lasts = int(dead * rng.choice((0.2, 1.5, 2, 3)) * rng.uniform(0.8, 1.2))
    if rng.random() < 0.7:
        lasts += max(ends - at, 0)
    one = call.owner if rng.random() < 0.8 else rng.choice(settings.servers)
    return FaultItem("freeze", at, at + lasts, one)


def settles_together(settings: Settings) -> float:
    """Seconds in which a call's only row is a final one at its owner, once all that have something
    of it reach that: see ``settling``."""
    return 2 * settings.linger + 5 + (settings.delay_us + settings.jitter_us) / 1e6 * 6


def _absent(
    rng: random.Random, settings: Settings, calls: list[CallItem], freezes: list[FaultItem]
) -> list[FaultItem]:
    """Of each owner that is frozen, one who takes part in its call."""
    found = []
    for freeze in freezes:
        others = {
            passage.switch
            for call in calls
            if call.owner == freeze.one
            for passage in call.passages
            if passage.switch != freeze.one
        }
        if others:
            at = freeze.at + int((freeze.until - freeze.at) * rng.random())
            until = freeze.until + int((settles_together(settings) + 20) * SECOND)
            one = rng.choice(sorted(others))
            found.append(FaultItem("absent", at, until, one, freeze.one))
    return found


def _clocks(rng: random.Random, settings: Settings, calls: list[CallItem]) -> list[FaultItem]:
    """Clocks that are set by an hour or so while a call lasts, or just before one begins."""
    faults: list[FaultItem] = []
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        passage = rng.choice(rng.choice(calls).passages)
        by = rng.choice((-1, 1)) * rng.choice((60, 3600)) * SECOND
        at = rng.randrange(passage.begins, passage.ends)
        last = settings.faults_end
        if rng.random() < 0.5:
            faults.append(FaultItem("jump", min(at, last), min(at, last), passage.switch, by=by))
            continue
        if rng.random() < 0.5:
            at = max(passage.begins - int(rng.uniform(0.5, 3) * SECOND), 0)
        at = min(at, last - SECOND)
        until = min(at + int(rng.uniform(0.05, 2) * SECOND), last)
        faults.append(FaultItem("away", at, until, passage.switch, by=by))
    return faults
