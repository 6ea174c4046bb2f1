"""What a process that was killed had in its journal, taken up by the next one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from functools import partial
from typing import Any

from softswitch.calls import (
    RESTARTED,
    Call,
    Journal,
    Leg,
    RowKind,
    decode,
    is_failure,
    is_goodbye,
)
from softswitch.sip import Flow, Network, Response, Timers, Transactions

log = logging.getLogger(__name__)

# Of how many restored calls a second the sides are asked whether they are still there.
RESTART_CHECKS = 500.0

_MOVED = b"LegMoved"  # the tag of `events.LegMoved` in a row


class KeptRows:
    """Rows that are no calls', and what takes one of them up, with its number: it may raise
    whatever a row that is none makes it raise. `after_calls`: it tells of them."""

    def __init__(
        self, kind: RowKind[Any], take_up: Callable[[int, bytes], None], after_calls: bool = False
    ) -> None:
        self.kind = kind
        self.take_up = take_up
        self.after_calls = after_calls


class Restarting:
    """Puts calls, registrations and what phones have set back, and is the network of those calls
    (`Flows`), also while the switch does not listen yet.

    `legs` are found as requests find them. `kept` are the rows that are no calls'. `call`,
    `failure` and `goodbye` are `restore`, `restore_failure` and `restore_goodbye` of
    `softswitch.calls`, for this switch.
    """

    def __init__(
        self,
        network: Network,
        timers: Timers,
        transactions: Transactions,
        legs: Mapping[str, Leg],
        registrations: Sized,
        kept: Sequence[KeptRows],
        *,
        call: Callable[..., Call],
        failure: Callable[..., None],
        goodbye: Callable[..., None],
    ) -> None:
        self._network = network
        self._timers = timers
        self._transactions = transactions
        self._legs = legs
        self._registrations = registrations
        self._kept = tuple(kept)
        self._call = call
        self._failure = failure
        self._goodbye = goodbye
        self._journal: Journal | None = None
        # What restored calls have to say, until the switch listens.
        self._unsent: list[Callable[[], None]] = []
        self.listens = False
        """Whether the switch listens: until then nothing leaves."""

    def restore(
        self, rows: Iterable[tuple[int, bytes]], journal: Journal | None, check_after: float
    ) -> None:
        """Put back what is in the rows of the journal of a process that was killed, if there are
        any. After `check_after` seconds, and then one call after the other, their sides are asked
        whether they are still there; 0: they are not."""
        self._journal = journal
        calls: list[tuple[int, bytes]] = []
        goodbyes: list[tuple[int, bytes]] = []
        later: list[Callable[[], None]] = []
        for row, data in rows:
            kept = next((one for one in self._kept if one.kind.is_one(data)), None)
            if kept is not None:
                take_up = partial(self._take_up, row, partial(kept.take_up, row, data))
                if kept.after_calls:
                    later.append(take_up)
                else:
                    take_up()
            elif is_goodbye(data):
                goodbyes.append((row, data))
            elif not is_failure(data):
                calls.append((row, data))
            elif journal is not None:
                self._take_up(row, partial(self._failure, self, journal, row, data))
        answered, ended = self._restore_calls(calls, check_after)
        for row, data in goodbyes:
            if journal is not None:
                self._take_up(row, partial(self._goodbye, self, journal, row, data))
        for tell in later:
            tell()
        if answered or ended:
            log.warning(
                "restarted: %d calls go on, %d were not answered and have ended", answered, ended
            )
        if self._registrations:
            log.info("extensions still registered: %d", len(self._registrations))
        if answered:
            self._transactions.on_stray = self._stray
            self._timers.after(self._transactions.layer.timeout, self._no_strays)

    def _restore_calls(self, rows: list[tuple[int, bytes]], check_after: float) -> tuple[int, int]:
        """Returns how many go on, and how many were not answered and have ended."""
        answered = ended = 0
        # A call that has legs of another one goes first: the other may not have forgotten them yet.
        for row, data in sorted(rows, key=lambda one: _MOVED not in one[1]):
            try:
                record = decode(data)
            except Exception as error:
                self._unreadable(row, error)
                continue
            try:
                call = self._call(self, record)
            except Exception as error:
                log.error("call %s cannot be restored: %s", record.call_id, str(error))
                self._drop(row)
                continue
            if self._journal is not None:
                self._journal.restored(call, row)
            if call.answered:
                call.resume(check_after + answered / RESTART_CHECKS if check_after else 0.0)
                if not self.when_open(call.resumed):
                    call.resumed()
                answered += 1
            else:
                call.hang_up_all(RESTARTED)
                ended += 1
        return answered, ended

    def _take_up(self, row: int, restore: Callable[[], None]) -> None:
        try:
            restore()
        except Exception as error:
            self._unreadable(row, error)

    def _unreadable(self, row: int, error: Exception) -> None:
        log.error("row %d of the journal cannot be read: %s", row, str(error))
        self._drop(row)

    def _drop(self, row: int) -> None:
        if self._journal is not None:
            self._journal.drop(row)

    def opened(self) -> None:
        """The switch listens: what restored calls had to say goes out."""
        self.listens = True
        unsent, self._unsent = self._unsent, []
        for send in unsent:
            send()

    # --- what restored calls need (softswitch.calls.restoring.Flows)

    def when_open(self, send: Callable[[], None]) -> bool:
        """Whether the switch does not listen yet; then `send` is called as soon as it does."""
        if self.listens:
            return False
        self._unsent.append(send)
        return True

    def open_flow(
        self, transport: str, host: str, port: int, listener: str, peer: str
    ) -> Flow | None:
        """A flow to where a peer was before the restart."""
        return self._network.flow_to(transport, host, port, listener, peer)

    def knows(self, leg: Leg) -> bool:
        """Whether a leg of this dialog was restored already."""
        return leg.key in self._legs

    def later(self, callback: Callable[[], None]) -> None:
        """Call back from the clock, not from within."""
        self._timers.after(0.0, callback)

    def _stray(self, response: Response) -> None:
        if 200 <= response.status < 300 and response.cseq_method == "INVITE":
            leg = self._legs.get(f"{response.headers['call-id'][0]} {response.from_tag}")
            if leg is not None:
                leg.stray(response)

    def _no_strays(self) -> None:
        self._transactions.on_stray = None
