"""What must hold: ``docs/simulation.md`` numbers these as "Call data: what must always hold" does.

After each step: one owner (1), merging (2), stamps (3), never back to the author (4), one record
(9). At the end: the copies are equal, the archives together have one right row for each call, and
everything is forgotten.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
from collections.abc import Iterator, Sequence
from typing import Any

from cdsplugin.archive import composing
from cdsplugin.data.call import Call, Client
from cdsplugin.data.call_data import CallData
from cdsplugin.data.entries import Log, Property
from cdsplugin.data.frames import EndOfCall, Frame, Update

from .calls import Truth
from .scheduler import World
from .server import Process, Server


class Violated(AssertionError):
    """An invariant does not hold."""


class _Errors(logging.Handler):
    """What the code logs as an error (exceptions of clients are caught there) counts as one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self.found.append(text)


errors = _Errors()


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """While a plan runs, errors that are logged are found, and all else is not even made."""
    logger = logging.getLogger("cdsplugin")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(errors)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(errors)
        logger.setLevel(level)
        logger.propagate = propagate


class Auditor:
    """Sees every registration, every change, every frame."""

    def __init__(self, world: World, servers: dict[str, Server], truths: dict[str, Truth]) -> None:
        self.world = world
        self.servers = servers
        self.truths = truths
        self._rng = random.Random(world.rng.random())
        self.owners: dict[str, str] = {}
        """As the callIDs say it."""
        self._owners: dict[str, str] = {}
        self._seen: dict[tuple[Process, str], int] = {}
        """The newest stamp that a process has seen of a call."""
        self._shown: dict[tuple[str, str], tuple[int, int, set[int]]] = {}
        """By (author, callID): in which run of the author anyone else was shown a stamp last, the
        newest of that run, and all there ever were. Before that a stamp may be moved:
        ``Store.restamp``."""
        self._written_by: dict[tuple[str, str, int], tuple[int, int]] = {}
        """In which life of the author's copy an entry was made, by (author, callID, stamp)."""
        self._forgotten: dict[tuple[Process, str], int] = {}
        """How often a process has ended a call: its copy's lives."""
        self._left: dict[tuple[Process, str], int] = {}
        """When the last client left a call that had held it."""
        self.changed: dict[str, int] = {}
        """When a call was last written to or registered for by anyone's local client."""
        self.acted: dict[str, int] = {}
        """The same, and when such a client last left it."""
        self._down: set[tuple[Process, str]] = set()
        """Which servers a process has reported as down, and not as back since."""
        self._touched: list[tuple[Server, Call]] = []
        self.unbased: set[tuple[str, str]] = set()
        """Calls, and servers that could not know their owner's time: it was never reached."""
        self.anew: set[str] = set()
        """Calls that came back to an owner that had ended them in an earlier life."""
        self._ended_by: dict[str, Process] = {}
        self.refused: dict[str, set[str]] = {}
        """Authors that anybody named as writing too much, by callID."""
        self.incoming: Server | None = None
        """Whose proxy a frame is being given to."""
        errors.found.clear()

    def watch(self, server: Server, process: Process) -> _Watch:
        return _Watch(self, server, process)

    # What happens

    def frame_sent(self, sender: str, receiver: str, frame: Frame) -> None:
        """3: what an author shows is newer than all it has shown. 4: an update never goes back to
        its author, unless that has lost it since."""
        if not isinstance(frame, Update | EndOfCall):
            properties: Sequence[Property] = getattr(frame, "properties", ())
            logs: Sequence[Log] = getattr(frame, "logs", ())
        else:
            properties, logs = frame.properties, frame.logs
        call_id: str = getattr(frame, "call_id", "")
        for entry in sorted((*properties, *logs), key=_stamp_of):
            author = entry.author
            if author == sender:
                key = (author, call_id)
                process = self.servers[sender].process
                assert process is not None
                run, newest, shown = self._shown.get(key, (0, 0, set()))
                if entry.stamp in shown:
                    continue  # others have it already, and may have given it back after a crash
                if run != process.number and call_id not in process.restored:
                    newest = 0  # it was over there, and forgotten with the process
                if entry.stamp <= newest:
                    raise Violated(f"3: {sender} shows {entry!r}, but has shown {newest} before")
                shown.add(entry.stamp)
                self._shown[key] = (process.number, entry.stamp, shown)
            elif author == receiver and isinstance(frame, Update):
                process = self.servers[receiver].process
                if process is None:
                    continue
                life = self._written_by.get((author, call_id, entry.stamp))
                if life == (process.number, self._forgotten.get((process, call_id), 0)):
                    raise Violated(f"4: {sender} sends {entry!r} of {call_id} back to its author")

    def frame_comes(self, receiver: Server, process: Process, frame: Frame) -> None:
        """A frame is about to be taken: its entries count as seen if the call is known, but for
        those of who writes too much, as these may be refused."""
        call_id = getattr(frame, "call_id", None)
        if call_id is None or process.store.get(call_id) is None:
            return
        entries = (*getattr(frame, "properties", ()), *getattr(frame, "logs", ()))
        stamps = [entry.stamp for entry in entries if "/" not in entry.author]
        if stamps:
            key = (process, call_id)
            self._seen[key] = max(self._seen.get(key, 0), *stamps)

    def wrote(
        self,
        server: Server,
        process: Process,
        call: Call,
        entries: Sequence[Property | Log],
    ) -> None:
        """3: stamps of an author strictly increase, and are never behind the newest seen."""
        self.changed[call.call_id] = self.acted[call.call_id] = self.world.now
        key = (process, call.call_id)
        newest = self._seen.get(key, 0)
        for entry in entries:
            known = (entry.author, call.call_id, entry.stamp)
            if entry.author != server.name or known in self._written_by:
                self._seen[key] = newest = max(newest, entry.stamp)
                continue  # a copy that had been put aside comes back
            if entry.stamp <= newest:
                raise Violated(f"3: {server.name} stamps {entry!r}, but has seen {newest}")
            newest = entry.stamp
            life = (process.number, self._forgotten.get(key, 0))
            self._written_by[server.name, call.call_id, entry.stamp] = life
        self._seen[key] = newest

    def restamped(self, server: Server, process: Process, call: Call) -> None:
        """What nobody else has seen got other stamps: what was acknowledged, or is about to be, is
        known by these, or by what has replaced it since."""
        data = call.data
        lines = {(line.author, line.text): line for line in data.log_lines()}

        def moved(entry: Any) -> Any:
            if entry.author != server.name:
                return entry
            if isinstance(entry, Property):
                return data.properties.get(entry.name, entry)
            return lines.get((entry.author, entry.text), entry)

        truth = self.truths.get(call.call_id)
        if truth is not None:  # else a neighbour's call
            truth.properties = [moved(entry) for entry in truth.properties]
            truth.lines = [moved(line) for line in truth.lines]
            for written in truth.waiting:
                written.entry = moved(written.entry)
        key = (process, call.call_id)
        self._seen[key] = data.newest
        life = (process.number, self._forgotten.get(key, 0))
        for entry in (*data.properties.values(), *data.log_lines()):
            if entry.author == server.name:
                self._written_by.setdefault((server.name, call.call_id, entry.stamp), life)

    def left(self, process: Process, call: Call, client: Client | None = None) -> None:
        """A client left a call, or follows it from now on: does anybody hold it still?"""
        if client is not None and client is not process.proxy:
            self.acted[call.call_id] = self.world.now
        if not call.held and not call.lingering:
            self._left[process, call.call_id] = self.world.now

    def forgotten(self, server: Server, process: Process, call: Call) -> None:
        """A call ended here; should it come back, what was seen of it before does not count."""
        left = self._left.pop((process, call.call_id), None)
        lingered = server.settings.linger * 999_000
        if left is not None and call.owner == server.name and self.world.now - left < lingered:
            raise Violated(f"5: {server.name} ends {call.call_id} without lingering")
        if not call.based:
            self.unbased.add((call.call_id, server.name))
        if call.owner == server.name:
            self._ended_by[call.call_id] = process
            for author, count in call.data.counts().items():
                if "/" in author and count > 10 * server.settings.call_entries.get(
                    server.name, 1000
                ):
                    raise Violated(f"9: {server.name} has {count} entries of {author}")
        key = (process, call.call_id)
        self._seen.pop(key, None)
        self._forgotten[key] = self._forgotten.get(key, 0) + 1

    def reported(self, process: Process, peer: str, up: bool) -> None:
        """6: silence is told once, and so is its end."""
        if ((process, peer) in self._down) != up:
            raise Violated(f"6: {peer} is reported as {'back' if up else 'down'} once more")
        (self._down.discard if up else self._down.add)((process, peer))

    def registered(self, process: Process, call: Call) -> None:
        """Somebody came to a call."""
        if self._ended_by.get(call.call_id, process) is not process:
            self.anew.add(call.call_id)

    def touched(self, server: Server, call: Call) -> None:
        self._touched.append((server, call))

    # After each step

    def check(self) -> None:
        """What must hold after every step, for the calls that it touched."""
        if errors.found:
            raise Violated("logged: " + errors.found[0])
        if not self._touched:
            return
        for server, call in self._touched:
            owner = self._owners.setdefault(call.call_id, call.owner)
            true_owner = self.owners[call.call_id]
            if not owner == call.owner == true_owner:
                raise Violated(
                    f"1: {call.call_id} is owned by {true_owner}, {server.name} says {call.owner}"
                )
            if call.refused is not None:
                self._refuses(server, call, call.refused)
            data = call.data
            for name, entry in data.properties.items():
                if entry.stamp > data.newest or entry.name != name:
                    raise Violated(f"3: {server.name} holds {entry!r}, newest is {data.newest}")
            if self._rng.random() < 0.1:
                self._merging(server, call)
        self._touched.clear()

    def _refuses(self, server: Server, call: Call, refused: frozenset[str]) -> None:
        """9: whatever applications write, what switches say is taken."""
        self.refused.setdefault(call.call_id, set()).update(refused)
        for author in refused:
            if "/" not in author:
                raise Violated(f"9: {server.name} refuses what {author} says of {call.call_id}")

    def _merging(self, server: Server, call: Call) -> None:
        """2: any two copies become the same, in whichever order they are merged."""
        copies = [call.data]
        for other in self.servers.values():
            if other is not server and other.process is not None:
                theirs = other.process.store.get(call.call_id)
                if theirs is not None:
                    copies.append(theirs.data)
        one, other_way = CallData(), CallData()
        for data in copies:
            one.merge(*data.newer({}))
        for data in reversed(copies):
            other_way.merge(*data.newer({}))
        again = one.merge(*call.data.newer({}))
        if one != other_way or again != ([], []):
            raise Violated(f"2: copies of {call.call_id} merge differently, or never end doing so")


def _stamp_of(entry: Property | Log) -> int:
    return entry.stamp


class _Watch:
    """A client of a store for all calls."""

    def __init__(self, auditor: Auditor, server: Server, process: Process) -> None:
        self._auditor = auditor
        self._server = server
        self._process = process

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        auditor = self._auditor
        if auditor.incoming is not self._server:
            auditor.wrote(self._server, self._process, call, (*properties, *logs))
        auditor.touched(self._server, call)

    def registered(self, call: Call, client: Client) -> None:
        auditor = self._auditor
        if call.owner == self._server.name:
            auditor.registered(self._process, call)
        if auditor.incoming is not self._server:
            auditor.changed[call.call_id] = auditor.acted[call.call_id] = auditor.world.now
        auditor.left(self._process, call)
        auditor.touched(self._server, call)

    def unregistered(self, call: Call, client: Client) -> None:
        self._auditor.left(self._process, call, client)
        self._auditor.touched(self._server, call)

    def restamped(self, call: Call) -> None:
        self._auditor.restamped(self._server, self._process, call)

    def ended(self, call: Call) -> None:
        self._auditor.touched(self._server, call)
        self._auditor.forgotten(self._server, self._process, call)
        if self._auditor.world.tracing:
            self._auditor.world.note(self._server.name, f"ends {call.call_id} in its store")


# Between faults and end


def copies_are_equal(
    servers: dict[str, Server], truths: dict[str, Truth], changed: dict[str, int], since: int
) -> None:
    """All faults are over and time has passed: who takes part in a live call has the same data,
    unless something happened after ``since``."""
    for call_id, truth in truths.items():
        if changed.get(call_id, 0) > since:
            continue
        owner = servers[truth.item.owner]
        assert owner.process is not None
        held = owner.process.store.get(call_id)
        for server in servers.values():
            assert server.process is not None
            call = server.process.store.get(call_id)
            if call is None or server is owner or not call.clients:
                continue
            if owner.name not in server.settings.peers[server.name]:
                continue
            if held is None and not call.held:
                continue  # it is about to be told the end
            if held is None:
                raise Violated(f"5: {server.name} takes part in {call_id}, its owner knows nothing")
            if _without_refused(call, held) != _without_refused(held, call):
                raise Violated(
                    f"2: copies of {call_id} differ after healing:\n"
                    f"  at {owner.name}: {_shown(held.data)}\n"
                    f"  at {server.name}: {_shown(call.data)}"
                )


def _without_refused(one: Call, other: Call) -> CallData:
    """What ``one`` has, but of those who wrote more than either of two copies takes."""
    refused = (one.refused or frozenset()) | (other.refused or frozenset())
    if not refused:
        return one.data
    properties, logs = one.data.newer({})
    return CallData(
        [entry for entry in properties if entry.author not in refused],
        [line for line in logs if line.author not in refused],
    )


def _shown(data: CallData) -> str:
    return repr([*data.properties.values(), *data.log_lines()])


# At the end

_STAY = frozenset(
    (
        *("_watchers", "_leg_names", "_reserved_said", "_bases", "_unknown_owners", "peers"),
        *("_left", "on_restamped", "_disk", "_restored", "_silent"),
        "health_listeners",
    )
)
"""Tables that may have something in them when no call is left: settings, and what is said once."""
_MAPS = frozenset(("_peers", "_switches"))
"""Tables by server or switch; what is in their values counts."""


def tables(root: object, path: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    """Every container within these objects of ``cdsplugin``, and how many it holds."""
    if id(root) in seen or not type(root).__module__.startswith("cdsplugin"):
        return
    seen.add(id(root))
    names = list(getattr(root, "__dict__", ()))
    for kind in type(root).__mro__:
        slots = getattr(kind, "__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
        # A compiled class has neither, and says here what it has.
        names += getattr(kind, "__mypyc_attrs__", ())
    for name in names:
        value = getattr(root, name, None)
        where = f"{path}.{name}"
        if name in _STAY:
            continue
        if name in _MAPS and isinstance(value, dict):
            for key, inner in value.items():
                yield from tables(inner, f"{where}[{key}]", seen)
        elif isinstance(value, dict | list | set | tuple) or type(value).__name__ == "deque":
            yield where, len(value)  # type: ignore[arg-type]
        else:
            yield from tables(value, where, seen)


def busy(servers: dict[str, Server]) -> str | None:
    """The first table that still has something in it; None if all are empty."""
    for server in servers.values():
        process = server.process
        if process is None:
            return f"{server.name} is dead"
        if len(process.store):
            return f"{server.name}: {len(process.store)} calls in the store"
        if process.archive.pending():
            return f"{server.name}: {process.archive.pending()} rows not committed"
        kept = process.store.kept.values()
        known = server.settings.peers[server.name]
        if missed := known.intersection(process.proxy.health.down()):
            return f"{server.name} has not noticed that {missed} are back"
        if kept and not any(call.owner in known for call in kept):
            continue  # kept for owners that nobody here knows: for good
        seen: set[int] = {id(process.timers)}
        for name in ("store", "proxy", "recorder", "tms"):
            for path, length in tables(getattr(process, name), name, seen):
                if length and path != "store._queue":
                    return f"{server.name}: {path} has {length}"
    return None


_PropertyRow = tuple[str, str, Any, int]
"""``set_at``, ``author``, ``value``, ``once``."""


def _kept(one: _PropertyRow, other: _PropertyRow) -> _PropertyRow:
    """Which of two rows of a property, in two archives, is its value."""
    if one[3] and other[3]:
        return min(one, other, key=lambda row: (row[3], row))
    return max(one, other, key=lambda row: (not row[3], row))


def one_right_row(
    servers: dict[str, Server],
    truths: dict[str, Truth],
    others: Sequence[str] = (),
    stepped: bool = False,
) -> None:
    """The union of all archives has one row for each call, and it is right. Those of the callers
    ``others`` are somebody else's concern. Clocks have ``stepped``, or stood: what comes late to a
    call that is over may be taken for another call's. Of a call that its owner has lost, or found
    to be over long before, nobody knows that two parts, which were over while they were cut off
    from each other, are of one: each is a record, with legs of its own."""
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    legs: dict[tuple[str, str], tuple[str, Any, Any]] = {}
    properties: dict[tuple[str, str], _PropertyRow] = {}
    lines: set[tuple[str, str, str, str]] = set()
    for server in servers.values():
        conn = server.disk.archive
        cursor = conn.execute("SELECT * FROM cdrs")
        columns = [column[0] for column in cursor.description]
        for row in cursor:
            found = dict(zip(columns, row, strict=True))
            if found["caller"] in others:
                continue
            at = rows.setdefault(found["call_id"], {})
            if server.name in at:
                raise Violated(f"9: {server.name} has two rows of {found['call_id']}")
            at[server.name] = found
        for call_id, switch, leg, ended, status, set_at in conn.execute(
            "SELECT call_id, switch, leg, ended_at, sip_status, set_at FROM cdr_legs"
        ):
            leg_key = (call_id, f"leg/{switch}/{leg}")
            legs[leg_key] = max(legs.get(leg_key, ("", 0, 0)), (set_at, ended or "", status))
        for call_id, name, value, set_at, author, once in conn.execute(
            "SELECT * FROM cdr_properties"
        ):
            key = (call_id, name)
            row_found = (set_at, author, value, once)
            properties[key] = _kept(properties.get(key, row_found), row_found)
        lines.update(conn.execute("SELECT * FROM cdr_logs"))
    for call_id, truth in truths.items():
        found_rows = rows.pop(call_id, {})
        if truth.started is None:
            if found_rows and not truth.begun:
                raise Violated(f"9: {call_id} never was, and has a row: {found_rows}")
            continue
        _right(call_id, truth, found_rows)
        records = [call_id]
        if truth.lost or stepped:  # what went on when it was over at its owner is a record apart
            records += [r for r in _apart(rows, truth.item.caller) if r not in truths]
        account = properties.get((call_id, "account"))
        if account is None or (account[3] and account[2] != f"{truth.item.owner} 0"):
            raise Violated(f"once: {call_id} was set once where it began; the record has {account}")
        for name, status in truth.legs.items():
            leg_row = max((legs[r, name] for r in records if (r, name) in legs), default=None)
            if leg_row is None or not leg_row[1] or leg_row[2] != status:
                raise Violated(f"8: {call_id}: {name} ended with {status}; the record: {leg_row}")
        for name, (talking, over) in truth.talks.items():
            told = [json.loads(properties[r, name][2]) for r in records if (r, name) in properties]
            if not any(t["legs"] == talking and ("ended_at" in t or not over) for t in told):
                raise Violated(f"8: {call_id}: {name} of {talking}, {over=}; the record: {told}")
        for name, into in truth.merged.items():
            told = [properties[r, name][2] for r in records if (r, name) in properties]
            if not any(json.loads(value)["merged_into"] == into for value in told):
                raise Violated(f"8: {call_id} became a part of {into}; the record: {told}")
            row = found_rows.get(truth.item.owner)
            has = (
                servers[truth.item.owner]
                .disk.archive.execute(
                    "SELECT 1 FROM cdr_properties WHERE call_id = ? AND name = ?", (call_id, name)
                )
                .fetchone()
            )
            if has and row is not None and row["merged_into"] is None:
                raise Violated(f"9: {call_id} became a part of {into}; its row does not say so")
        for entry in truth.properties:
            where = [(r, entry.name) for r in records]
            found = [properties[key] for key in where if key in properties]
            kept = max(found, key=lambda row: (not row[3], row), default=None)
            if kept is not None and entry.once:
                continue  # whatever is there was set, or set once before
            if kept is None or (kept[:2] < (_iso(entry.stamp), entry.author) or kept[3]):
                raise Violated(f"8: {call_id}: acknowledged {entry!r}; the record has {kept}")
            if kept[:2] == (_iso(entry.stamp), entry.author) and kept[2] != entry.value:
                raise Violated(f"8: {call_id}: acknowledged {entry!r}; the record has {kept}")
        for line in truth.lines:
            key_of_line = (_iso(line.stamp), line.author, line.text)
            if not any((r, *key_of_line) in lines for r in records):
                raise Violated(f"8: {call_id}: acknowledged {line!r}, and it is in no record")
    for server in servers.values():
        talks_are_composed(server)
    # A call that its owner did not have on disk, or that went on when it was over there, others
    # record apart.
    lost = {None} | {
        t.item.caller
        for t in truths.values()
        if t.begun and (t.lost or t.started is None or stepped)
    }
    apart: dict[str, set[str]] = {}
    for apart_id, found_rows in rows.items():
        for name, row in found_rows.items():
            if row["caller"] not in lost or row["written_by"] != row["owner"]:
                raise Violated(f"9: {name} has a row of an unknown call: {row}")
        callers = {row["caller"] for row in found_rows.values()} - {None}  # only notes
        of_this = {name for call_id, name in legs if call_id == apart_id}
        for caller in callers:
            if of_this & apart.setdefault(caller, set()):
                raise Violated(f"9: one call is recorded twice: {rows}")
            apart[caller] |= of_this


def talks_are_composed(server: Server) -> None:
    """The talks of a record are those of all that it has, in whatever order that came."""
    conn = server.disk.archive
    talks = "SELECT * FROM cdr_talks ORDER BY call_id, talk"
    found = conn.execute(talks).fetchall()
    composing.compose_again(conn, [row[0] for row in conn.execute("SELECT call_id FROM cdrs")])
    if (right := conn.execute(talks).fetchall()) != found:
        raise Violated(f"talks: {server.name} has {found}, and should have {right}")


def _apart(rows: dict[str, dict[str, dict[str, Any]]], caller: str) -> list[str]:
    """The callIDs of records of that caller's call, and of those that are notes alone."""
    return [
        call_id
        for call_id, found in rows.items()
        if any(row["caller"] in (caller, None) for row in found.values())
    ]


def _right(call_id: str, truth: Truth, rows: dict[str, dict[str, Any]]) -> None:
    item = truth.item
    row = rows.get(item.owner)
    if row is None:
        raise Violated(f"9: {call_id} has no row in the archive of its owner; rows: {rows}")
    expected = {
        "owner": item.owner,
        "switch": item.owner,
        "caller": item.caller,
        "dialled": item.callee,
        "callee": item.callee if truth.answered is not None else None,
        "disposition": truth.disposition,
        "started_at": _iso(truth.started),
        "answered_at": _iso(truth.answered),
        "ended_at": _iso(truth.ended),
        "final": 1,
    }
    if truth.lost:
        expected["ended_at"] = row["ended_at"] or "some time"
        del expected["answered_at"]  # other switches may go on and see it answered
    wrong = {k: (row[k], v) for k, v in expected.items() if row[k] != v}
    if wrong:
        raise Violated(f"9: the row of {call_id} has, and should have: {wrong}")


def _iso(us: int | None) -> str:
    from cdsplugin.archive.view import iso

    return iso(us)  # type: ignore[return-value]
