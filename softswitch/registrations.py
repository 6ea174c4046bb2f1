"""Registrations in the journal: where phones can be called after the process was killed.

A phone that was answered with 200 relies on being called until its registration runs out, so that
is on disk before the answer leaves. A row holds all bindings of an address-of-record; without any
it says that there are none. Times are UTC in there: the clock of a process starts anew with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from softswitch.registrar import Binding, Registrar
from softswitch.sip.timers import Timer

_MARK = b"r"  # no row of a call begins so: those are arrays of msgpack


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


class _Row(msgspec.Struct, frozen=True, array_like=True):
    aor: str
    bindings: list[_BindingRow]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Row).decode


class Registered:
    """What the journal keeps of an address-of-record (`softswitch.calls.journal.Kept`).

    `ahead` is how far UTC is ahead of the registrar's clock just now, in seconds.
    """

    __slots__ = ("_ahead", "_registrar", "aor", "row", "timer")

    def __init__(self, aor: str, registrar: Registrar, ahead: Callable[[], float]) -> None:
        self.aor = aor
        self.row = 0
        self.timer: Timer | None = None
        """Set while nothing is registered: then the row goes."""
        self._registrar = registrar
        self._ahead = ahead

    def written(self) -> bytes:
        """The row's bytes, as of now."""
        return encode(self.aor, self._registrar.bindings(self.aor), self._ahead())

    def __repr__(self) -> str:
        return f"<the registrations of {self.aor}>"


def is_registration(row: bytes) -> bool:
    """Whether a row of the journal is one of these."""
    return row.startswith(_MARK)


def encode(aor: str, bindings: Sequence[Binding], ahead: float) -> bytes:
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
        )
        for one in bindings
    ]
    return _MARK + _encode(_Row(aor, rows))


def decode(row: bytes, ahead: float) -> tuple[str, list[Binding]]:
    """The address-of-record of a row and its bindings. Raises msgspec.DecodeError if it is none."""
    read = _decode(row[len(_MARK) :])
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
        )
        for one in read.bindings
    ]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
