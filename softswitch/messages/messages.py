"""MESSAGE (RFC 3428): who gets it, and what its sender is answered.

A number is written to as it would be called: the dialplan says which phones, or which other switch,
and who may. For phones of this switch a message is on disk before its sender hears 202 (Accepted);
from then on it is the switch's business to bring it there. For another of our switches, or a trunk
that takes messages, it is passed on, and the sender hears what is answered there.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from softswitch.calls import Caller, Journal, body_lines, route_lines, shown
from softswitch.config import CallerId, Extension, Trunk
from softswitch.dialplan import Do, Route, Source, Target
from softswitch.messages.rows import MESSAGE, MessageRow
from softswitch.messages.waiting import Queue, Waiting, request_of
from softswitch.sip import (
    Account,
    Exchange,
    Flow,
    NonInviteServer,
    Request,
    Response,
    ServerTransaction,
    Surroundings,
    delta_seconds,
    parse_uri,
    readable,
)

log = logging.getLogger("softswitch.messages")

_KIND_RE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")
_PASSING: Final = "application/im-iscomposing+xml"
"""That somebody types (RFC 3994): of no use to who is away."""


@dataclass(frozen=True, slots=True)
class MessageSettings:
    """`most` messages wait for one extension, of `max_body` bytes each, for `lasts` seconds at
    most. A phone that was not there is tried again after `again` seconds, as long as it is
    registered; 0: when it registers again."""

    most: int = 50
    max_body: int = 8192
    lasts: float = 259_200.0
    again: float = 60.0


class Messages:
    """All that wait at a switch, and those on their way. `caller_of` says who sends a request."""

    def __init__(
        self,
        around: Surroundings,
        extensions: Mapping[str, Extension],
        trunks: Mapping[str, Trunk],
        phones: Callable[[str], list[tuple[str, Flow, tuple[str, ...]]]],
        flow_to_trunk: Callable[[Trunk], Flow | None],
        path_to: Callable[[Trunk], tuple[str, ...]],
        route: Callable[[str, Source], Route | None],
        caller_of: Callable[[Request, Source], Caller],
        own_caller_id: Callable[[str], CallerId | None],
        accounts: Mapping[str, Account],
        journal: Callable[[], Journal | None],
        now_us: Callable[[], int],
        settings: MessageSettings,
    ) -> None:
        self._around = around
        self._extensions = extensions
        self._trunks = trunks
        self._flow_to_trunk = flow_to_trunk
        self._path_to = path_to
        self._route = route
        self._caller_of = caller_of
        self._own_caller_id = own_caller_id
        self._accounts = accounts
        self._journal = journal
        self._now_us = now_us
        self.phones = phones
        self._queues: dict[str, Queue] = {}
        self._passed_on = 0
        self.take_up(settings)

    def __len__(self) -> int:
        """Messages that wait."""
        return sum(len(queue.messages) for queue in self._queues.values())

    def tables(self) -> dict[str, int]:
        """How many of each are alive."""
        return {"messages": len(self), "messages_passed_on": self._passed_on}

    def take_up(self, settings: MessageSettings) -> None:
        """Go on by other settings; of extensions that are gone nothing is kept."""
        self.settings = settings
        self.again = settings.again
        for name in [name for name in self._queues if name not in self._extensions]:
            for message in list(self._queues[name].messages):
                self._drop(message, "there is no such extension any more")

    # --- who sends

    def request(
        self, request: Request, transaction: ServerTransaction, flow: Flow, source: Source
    ) -> None:
        """A MESSAGE outside of a dialog."""
        assert isinstance(transaction, NonInviteServer)
        hops = int(request.get("max-forwards") or 70)
        if hops <= 0:
            transaction.respond(483)
            return
        kind = (request.get("content-type") or "text/plain").strip()
        if not _KIND_RE.fullmatch(kind.partition(";")[0].strip()):
            transaction.respond(400, "Bad Content-Type")
            return
        if len(request.body) > self.settings.max_body:
            transaction.respond(413)
            return
        try:
            number = parse_uri(request.uri).user
        except ValueError:
            transaction.respond(400)
            return
        route = self._route(number, source) if number else None
        if route is None or isinstance(route.action, Do):
            transaction.respond(404)
            return
        here, there = self._receivers(route, source)
        caller = self._caller_of(request, source)
        now = self._now_us()
        seconds = delta_seconds(request.get("expires"))
        content = MessageRow(
            "",
            number,
            "",
            "",
            readable(kind, 512),
            request.body,
            now,
            "",
            body_lines(request),
            0 if seconds is None else now + seconds * 1_000_000,
        )
        if here:
            self._take(here, content, self._shown(caller, source, route, None), transaction)
        for trunk, to in there[:1] if not here else there:
            answered = transaction if not here else None
            said = self._shown(caller, source, route, trunk)
            self._pass_on(trunk, to, content, said, hops - 1, answered)
        if not here and not there:
            # A carrier that takes none, or nobody at all.
            if _targets(route) and all(one.kind == "trunk" for one in _targets(route)):
                transaction.respond(403, "No Messages There")
            else:
                transaction.respond(404)

    def _receivers(self, route: Route, source: Source) -> tuple[list[str], list[tuple[Trunk, str]]]:
        """The extensions, and the trunks with the number to send there."""
        here: dict[str, None] = {}
        there: list[tuple[Trunk, str]] = []
        for target in _targets(route):
            if target.kind == "extension":
                if target.name in self._extensions:
                    here[target.name] = None
                continue
            trunk = self._trunks.get(target.name)
            if (
                trunk is not None
                and (trunk.switch or trunk.messages)
                and str(target) != str(source)
            ):
                there.append((trunk, target.number))
        return list(here), there

    def _shown(
        self, caller: Caller, source: Source, route: Route, trunk: Trunk | None
    ) -> tuple[str, str]:
        """How the sender is shown there: number and name; empty if it asks not to be."""
        carrier = trunk if trunk is not None and not trunk.switch else None
        said = shown(caller, source, route.caller, self._own_caller_id(str(source)), carrier)
        return ("", "") if said.private else (said.number, said.name)

    def _take(
        self,
        extensions: list[str],
        content: MessageRow,
        sender: tuple[str, str],
        transaction: NonInviteServer,
    ) -> None:
        # With "Expires: 0" it is meant for who is there (RFC 3428 §7).
        kept = (
            content.until != content.at
            and content.kind.partition(";")[0].strip().lower() != _PASSING
        )
        most = self.settings.most
        room = [one for one in extensions if len(self._queue(one).messages) < most]
        if not room:
            self._forget_empty(extensions)
            transaction.respond(480, "Too Many Messages Wait")
            return
        for extension in room:
            call_id = self._around.tokens.token()
            number, name = sender
            row = msgspec.structs.replace(
                content, extension=extension, sender=number, name=name, call_id=call_id
            )
            message = Waiting(row, kept)
            self._put(message, self._left(row) if kept else self.settings.lasts)
            journal = self._journal()
            if kept and journal is not None:
                journal.changed(message)
        transaction.respond(202)
        for extension in room:
            self._queue(extension).deliver()

    def _pass_on(
        self,
        trunk: Trunk,
        number: str,
        content: MessageRow,
        sender: tuple[str, str],
        hops: int,
        transaction: NonInviteServer | None,
    ) -> None:
        flow = self._flow_to_trunk(trunk)
        if flow is None:
            if transaction is not None:
                transaction.respond(503, "Trunk Is Unreachable")
            return
        tokens = self._around.tokens
        shown_as, name = sender
        row = msgspec.structs.replace(
            content, number=number, sender=shown_as, name=name, call_id=tokens.token()
        )
        self._passed_on += 1
        request = request_of(row, trunk.to.uri(number), flow, tokens.branch(), hops, tokens.token())
        request.routes = route_lines(self._path_to(trunk))
        account = self._accounts.get(f"trunk:{trunk.name}")
        if account is not None:
            request.authorizer = Exchange(account)
        self._around.transactions.send(request, flow, partial(self._answered_there, transaction))

    def _answered_there(self, transaction: NonInviteServer | None, response: Response) -> None:
        if response.status < 200:
            return
        self._passed_on -= 1
        if transaction is not None:
            # A challenge is for us alone (RFC 3261 §16.7 step 7 has proxies pass it on).
            status = 502 if response.status in (401, 407) else response.status
            transaction.respond(status, readable(response.reason) if status != 502 else None)

    # --- who has them (`Post`)

    def delivered(self, message: Waiting) -> None:
        """A phone has taken it."""
        queue = self._queue(message.content.extension)
        self._end(message)
        queue.deliver()

    def undelivered(self, message: Waiting, why: str) -> None:
        """None has, for now."""
        if not message.kept:
            self._end(message)
            self._queue(message.content.extension).deliver()
            self._forget_empty([message.content.extension])
            return
        log.info("a message for extension:%s waits: %s", message.content.extension, why)

    def registered(self, extension: str) -> None:
        """One of its phones can be reached."""
        queue = self._queues.get(extension)
        if queue is not None:
            queue.registered()

    def _put(self, message: Waiting, lasts: float) -> None:
        self._queue(message.content.extension).messages.append(message)
        message.timer = self._around.timers.after(
            lasts, partial(self._drop, message, "nobody has taken it in time")
        )

    def _left(self, content: MessageRow) -> float:
        """Seconds for which it is kept from now on: no longer than its sender wants it (RFC 3428
        §7)."""
        most = self.settings.lasts
        now = self._now_us()
        left = most - (now - content.at) / 1e6
        if content.until:
            left = min(left, (content.until - now) / 1e6)
        return min(left, most)

    def _drop(self, message: Waiting, why: str) -> None:
        content = message.content
        log.warning(
            "a message for extension:%s from %r is dropped: %s",
            *(content.extension, content.sender or "anonymous", why),
        )
        message.timer = None
        self._end(message)

    def _end(self, message: Waiting) -> None:
        if message.timer is not None:
            message.timer.cancel()
            message.timer = None
        extension = message.content.extension
        self._queue(extension).remove(message)
        self._forget_empty([extension])
        journal = self._journal()
        if message.kept and journal is not None:
            journal.over(message)

    def _queue(self, extension: str) -> Queue:
        queue = self._queues.get(extension)
        if queue is None:
            queue = self._queues[extension] = Queue(self, self._around, extension)
        return queue

    def _forget_empty(self, extensions: list[str]) -> None:
        for extension in extensions:
            queue = self._queues.get(extension)
            if queue is not None and not queue.messages:
                del self._queues[extension]

    # --- after a restart

    def restore(self, row: int, data: bytes) -> None:
        """Take up a row of the process before. Raises whatever a row that is none may raise."""
        content = MESSAGE.decode(data)
        journal = self._journal()
        left = self._left(content)
        if content.extension not in self._extensions or left <= 0:
            if journal is not None:
                journal.drop(row)
            return
        message = Waiting(content, True)
        self._put(message, left)
        if journal is not None:
            journal.restored(message, row)

    def opened(self) -> None:
        """The switch listens."""
        for queue in list(self._queues.values()):
            queue.messages.sort(key=lambda one: one.content.at)
            queue.deliver()


def _targets(route: Route) -> list[Target]:
    return [target for stage in route.action.stages for target in stage.targets]
