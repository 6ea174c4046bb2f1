"""pjsua2's callbacks: they note what happened, and nothing else.

A callback must never raise: the exception would pass through C++ and end the process. So callbacks
only note what happened, and the work is done after pjsua2 has returned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol

import pjsua2 as pj

from softswitch.phone.intercom import answer_after
from softswitch.phone.quality import Received, Stream
from softswitch.phone.settings import PhoneSettings


class Phone(Protocol):
    """What callbacks know of the phone."""

    notes: deque[tuple[str, PhoneCall | None, tuple[Any, ...]]]
    digits: SimpleQueue[tuple[int, str, int]]
    numbers: Iterator[int]
    account: PhoneAccount | None
    settings: PhoneSettings

    @property
    def calls(self) -> list[int]: ...


class PhoneCall(pj.Call):  # type: ignore[misc]
    """One call; notes what pjsua2 says of it."""

    def __init__(self, phone: Phone, number: int, call_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(phone.account, call_id)
        self.number = number
        self.streams: list[Stream] = []
        """Audio streams that are over: a call has several one after the other, when its media
        change."""
        self._phone = phone
        self._notes = phone.notes
        self._digits = phone.digits

    def onCallState(self, prm: Any) -> None:
        info = self.getInfo()
        seconds = info.connectDuration.sec + info.connectDuration.msec / 1000
        self._notes.append(
            ("state", self, (info.state, info.lastStatusCode, info.lastReason, seconds))
        )

    def onCallMediaState(self, prm: Any) -> None:
        self._notes.append(("media", self, ()))

    def onStreamDestroyed(self, prm: Any) -> None:
        # Its figures go with it, before the call is said to have ended.
        with suppress(Exception):
            self.streams.append(stream_of(self, prm.streamIdx))

    def onCallTransferStatus(self, prm: Any) -> None:
        self._notes.append(("transfer", self, (prm.statusCode, prm.reason, prm.finalNotify)))

    # A call that pjsua2 makes by itself needs an object of its own, too.

    def onCallTransferRequest(self, prm: Any) -> None:
        if len(self._phone.calls) >= self._phone.settings.max_calls:
            prm.statusCode = pj.PJSIP_SC_BUSY_HERE
            return
        call = PhoneCall(self._phone, next(self._phone.numbers))
        prm.newCall = call
        self._notes.append(("referred", call, (prm.dstUri,)))

    def onCallReplaced(self, prm: Any) -> None:
        call = PhoneCall(self._phone, next(self._phone.numbers), prm.newCallId)
        prm.newCall = call
        self._notes.append(("replaces", call, ()))

    def onDtmfDigit(self, prm: Any) -> None:
        self._digits.put((self.number, prm.digit, prm.method))


class PhoneAccount(pj.Account):  # type: ignore[misc]
    """The phone's account; notes how it registers, and calls that come in."""

    def __init__(self, phone: Phone) -> None:
        super().__init__()
        self._phone = phone

    def onRegState(self, prm: Any) -> None:
        self._phone.notes.append(("register", None, (prm.code, prm.reason, prm.expiration)))

    def onIncomingCall(self, prm: Any) -> None:
        # pjsua2 refuses the call with 500 unless its object exists when this returns.
        call = PhoneCall(self._phone, next(self._phone.numbers), prm.callId)
        asked: int | None = None
        with suppress(Exception):  # whatever has come
            asked = answer_after(prm.rdata.wholeMsg)
        self._phone.notes.append(("incoming", call, (asked,)))


def stream_of(call: pj.Call, index: int) -> Stream:
    """The figures of a call's audio stream. pj.Error if there is none."""
    info, stat = call.getStreamInfo(index), call.getStreamStat(index)
    rtcp = stat.rtcp
    return Stream(
        codec=f"{info.codecName}/{info.codecClockRate}",
        sent=_received(rtcp.txStat),
        received=_received(rtcp.rxStat),
        rtt_ms=rtcp.rttUsec.mean / 1000 if rtcp.rttUsec.n else None,
        buffer_ms=float(stat.jbuf.avgDelayMsec),
    )


def _received(stat: Any) -> Received:
    jitter = stat.jitterUsec
    return Received(
        packets=stat.pkt,
        bytes=stat.bytes,
        lost=stat.loss,
        discarded=stat.discard,
        jitter_ms=jitter.mean / 1000 if jitter.n else None,
        jitter_max_ms=jitter.max / 1000 if jitter.n else None,
    )
