"""What is still to be said of calls that are over, in the journal: until it is known to be heard.

A failure is sent until its ACK comes, a 2xx too, and the BYE of a call that ended before that has
to wait for it (RFC 3261 §17.2.1, §13.3.1.4, §15). Killed meanwhile, the switch must neither leave
it unsaid nor take the INVITE, should it come again, for another call. The call itself is told to
the end and has no row any more, so these have rows of their own.
"""

from __future__ import annotations

import msgspec

from softswitch.calls.journal import Journal
from softswitch.calls.records import CallRecord, FlowRecord, decode, encode, flow_record
from softswitch.sip import InviteServer, Request

# No row of a call begins so: those are arrays of msgpack.
_FAILURE = b"f"
_GOODBYE = b"g"


class FailureRecord(msgspec.Struct, frozen=True, array_like=True):
    """The failure that an INVITE got. `key` and `merged` are what it is known by if it comes again
    (§17.2.3, §8.2.2.2), texts as the bytes that came; `until` is the time of day from which that
    cannot be, in microseconds of UTC, and `steady` the same by the steady clock of the machine's
    start that `boot` names. `next_leg` is the next free leg number of its call, 0 if the call
    cannot come here by another INVITE."""

    key: bytes
    merged: bytes
    response: bytes
    flow: FlowRecord
    until: int
    call_id: str
    next_leg: int
    steady: int = 0
    boot: str = ""


class _GoodbyeRow(msgspec.Struct, frozen=True, array_like=True):
    call: bytes
    reason: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode_failure = msgspec.msgpack.Decoder(FailureRecord).decode
_decode_goodbye = msgspec.msgpack.Decoder(_GoodbyeRow).decode


class LastWord:
    """A row (`softswitch.calls.journal.Kept`) until what it says was heard, or need not be said any
    more. Of a failure it is the `user` of the transaction, which knows when that is."""

    __slots__ = ("_data", "_journal", "row")

    def __init__(self, journal: Journal, data: bytes) -> None:
        self.row = 0
        self._journal = journal
        self._data = data

    def written(self) -> bytes:
        """The row's bytes."""
        return self._data

    def heard(self) -> None:
        """The row is of no use any more."""
        self._journal.over(self)

    def cancelled(self, transaction: InviteServer, request: Request) -> None:
        """Too late: the INVITE has its final response."""

    def terminated(self, transaction: InviteServer) -> None:
        """The INVITE cannot come again."""
        self.heard()


def failed(
    journal: Journal,
    transaction: InviteServer,
    response: bytes,
    until: int,
    call_id: str,
    next_leg: int,
    steady: int,
    boot: str,
) -> None:
    """The INVITE of a call was just told its failure; see `FailureRecord`."""
    record = FailureRecord(
        transaction.key.encode("utf-8", "surrogateescape"),
        transaction.merged.encode("utf-8", "surrogateescape"),
        response,
        flow_record(transaction.flow),
        until,
        call_id,
        next_leg,
        steady,
        boot,
    )
    transaction.user = word = LastWord(journal, _FAILURE + _encode(record))
    journal.changed(word)


def leaves(journal: Journal, record: CallRecord, reason: str) -> LastWord:
    """An answered call is over, and its only leg in `record` gets its BYE, with the header lines
    `reason`, when it has acknowledged its 2xx."""
    row = _GoodbyeRow(encode(record), reason.encode("utf-8", "surrogateescape"))
    word = LastWord(journal, _GOODBYE + _encode(row))
    journal.changed(word)
    return word


def is_failure(row: bytes) -> bool:
    """Whether a row of the journal was written by `failed`."""
    return row.startswith(_FAILURE)


def is_goodbye(row: bytes) -> bool:
    """Whether a row of the journal was written by `leaves`."""
    return row.startswith(_GOODBYE)


def decode_failure(row: bytes) -> FailureRecord:
    """Raises msgspec.DecodeError if `failed` did not write it."""
    return _decode_failure(row[len(_FAILURE) :])


def decode_goodbye(row: bytes) -> tuple[CallRecord, str]:
    """The call and the header lines of the BYE. Raises msgspec.DecodeError or ValueError if
    `leaves` did not write it."""
    read = _decode_goodbye(row[len(_GOODBYE) :])
    return decode(read.call), read.reason.decode("utf-8", "surrogateescape")
