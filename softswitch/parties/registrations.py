"""Registrations in the journal: where phones can be called after the process was killed.

A phone that was answered with 200 relies on being called until its registration runs out, so that
is on disk before the answer leaves. A row holds all bindings of an address-of-record; without any
it says that there are none. Times are UTC in there, as the registrar's clock starts anew with the
machine. As long as it does not, that clock goes on, whoever sets the time of day meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Final

import msgspec

from softswitch.calls import Journal, RowKind
from softswitch.parties.bindings import Binding
from softswitch.parties.registrar import Registrar
from softswitch.sip import Timer, Timers

CLOCK_SET = 5.0
"""Seconds by which the time of day has to jump for everything to be written again."""
UNREGISTERED_KEPT = 1.0
"""Seconds after which the journal forgets that a phone is not registered any more."""


class _BindingRow(msgspec.Struct, frozen=True, array_like=True):
    """A binding; texts as the bytes that came, which need not be UTF-8."""

    uri: bytes
    flow: tuple[str, str, int]
    target: tuple[str, str, int]
    q: float
    expires_at: float
    since: float
    call_id: bytes
    cseq: int
    instance: bytes
    reg_id: bytes
    params: bytes
    user_agent: bytes
    path: list[bytes] = []
    listener: str = ""
    temporary: str = ""


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """`ahead` is how far UTC was ahead of the registrar's clock, which goes on as long as `boot`
    has the same name; empty: no longer than the process."""

    aor: str
    bindings: list[_BindingRow]
    ahead: float = 0.0
    boot: str = ""


REGISTRATION: Final = RowKind(b"r", _Row)


class Registered:
    """What the journal keeps of an address-of-record (`softswitch.calls.journal.Kept`).

    `ahead` is how far UTC is ahead of the registrar's clock just now, in seconds; `boot` as in its
    row.
    """

    __slots__ = ("_ahead", "_boot", "_registrar", "aor", "row", "timer")

    def __init__(
        self, aor: str, registrar: Registrar, ahead: Callable[[], float], boot: str
    ) -> None:
        self.aor = aor
        self.row = 0
        self.timer: Timer | None = None
        """Set while nothing is registered: then the row goes."""
        self._registrar = registrar
        self._ahead = ahead
        self._boot = boot

    def written(self) -> bytes:
        """The row's bytes, as of now."""
        return encode(self.aor, self._registrar.bindings(self.aor), self._ahead(), self._boot)

    def __repr__(self) -> str:
        return f"<the registrations of {self.aor}>"


class Registrations:
    """Keeps the journal up to date with the registrar, whose `changed` it is.

    `journal` gives the journal, if there is one; `ahead` is how far UTC is ahead of the registrar's
    clock just now, in seconds. `boot` names the start since which that clock runs, if it has a name
    (`softswitch.steady`).
    """

    def __init__(
        self,
        registrar: Registrar,
        extensions: Container[str],
        timers: Timers,
        journal: Callable[[], Journal | None],
        ahead: Callable[[], float],
        boot: str = "",
    ) -> None:
        self._registrar = registrar
        self._extensions = extensions
        self._timers = timers
        self._journal = journal
        self._ahead = ahead
        self._boot = boot
        self._written_ahead = ahead()
        self._kept: dict[str, Registered] = {}
        registrar.changed = self._changed

    def __len__(self) -> int:
        """Addresses-of-record in the journal."""
        return len(self._kept)

    def restore(self, row: int, data: bytes) -> None:
        """Take up a row of the process before. Raises whatever a row that is none may raise."""
        aor, bindings = decode(data, self._ahead(), self._boot)
        known = aor in self._extensions and aor not in self._kept
        found = self._registrar.restore(aor, bindings) if known else []
        journal = self._journal()
        if journal is None:
            return
        if not found:
            journal.drop(row)
            return
        kept = self._kept[aor] = Registered(aor, self._registrar, self._ahead, self._boot)
        journal.restored(kept, row)

    def expire(self) -> None:
        """Phones whose registration ran out are gone. Call every second."""
        self._registrar.expire(self._timers.clock())
        ahead = self._ahead()
        journal = self._journal()
        if abs(ahead - self._written_ahead) > CLOCK_SET:
            # The time of day was put right, and the journal has times by the one before.
            self._written_ahead = ahead
            if journal is not None:
                for kept in self._kept.values():
                    journal.changed(kept)

    def _changed(self, aor: str) -> None:
        """The phone is told once that is in the journal."""
        journal = self._journal()
        if journal is None:
            return
        kept = self._kept.get(aor)
        if kept is None:
            kept = self._kept[aor] = Registered(aor, self._registrar, self._ahead, self._boot)
        journal.changed(kept)
        if kept.timer is not None:
            kept.timer.cancel()
            kept.timer = None
        if not self._registrar.bindings(aor):
            # Its row says so now. It is of no use once that is on disk.
            kept.timer = self._timers.after(UNREGISTERED_KEPT, partial(self._unregistered, kept))

    def _unregistered(self, kept: Registered) -> None:
        kept.timer = None
        del self._kept[kept.aor]
        journal = self._journal()
        if journal is not None:
            journal.over(kept)


def encode(aor: str, bindings: Sequence[Binding], ahead: float, boot: str = "") -> bytes:
    """The row of an address-of-record."""
    rows = [
        _BindingRow(
            _bytes(one.uri),
            one.flow,
            one.target,
            one.q,
            one.expires_at + ahead,
            one.since + ahead,
            _bytes(one.call_id),
            one.cseq,
            _bytes(one.instance),
            _bytes(one.reg_id),
            _bytes(one.params),
            _bytes(one.user_agent),
            [_bytes(uri) for uri in one.path],
            one.listener,
            one.temporary,
        )
        for one in bindings
    ]
    return REGISTRATION.encode(_Row(aor, rows, ahead, boot))


def decode(row: bytes, ahead: float, boot: str = "") -> tuple[str, list[Binding]]:
    """The address-of-record of a row and its bindings. Raises msgspec.DecodeError if it is none."""
    read = REGISTRATION.decode(row)
    if boot and read.boot == boot:
        ahead = read.ahead
    return read.aor, [
        Binding(
            uri=_text(one.uri),
            flow=one.flow,
            target=one.target,
            q=one.q,
            expires_at=one.expires_at - ahead,
            since=one.since - ahead,
            call_id=_text(one.call_id),
            cseq=one.cseq,
            instance=_text(one.instance),
            reg_id=_text(one.reg_id),
            params=_text(one.params),
            user_agent=_text(one.user_agent),
            path=tuple([_text(uri) for uri in one.path]),
            listener=one.listener,
            temporary=one.temporary,
        )
        for one in read.bindings
    ]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
