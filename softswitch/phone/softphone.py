"""A softphone without a sound card: one pjsua2 endpoint with one account and up to four calls.

Everything runs in the thread that calls ``poll``: pjsua2 has no worker thread of its own here
(``threadCnt = 0``), so its callbacks come while ``poll`` runs, and none of them races with ours.
Only audio frames and DTMF come from the media clock's thread; they go through queues that ``poll``
empties.

Callbacks only note what happened (callbacks.py); the work is done after pjsua2 has returned.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import pjsua2 as pj

from softswitch.phone.callbacks import PhoneAccount, PhoneCall
from softswitch.phone.ear import RATE, Ear
from softswitch.phone.endpoint import account_config, own_uri, start_endpoint
from softswitch.phone.quality import quality
from softswitch.phone.settings import MOST_CALLS, PhoneError, PhoneEvent, PhoneSettings

GOODBYE_SECONDS = 2.0  # for BYE and un-REGISTER to be answered when the phone closes
DIGITS = re.compile(r"[0-9A-Da-d*#,]+")  # a comma is a pause
DIGIT_SECONDS = 0.25  # pjsua2 takes a fifth of a second for each by RFC 4733, with its pause
PAUSE_SECONDS = 2.0  # a comma


@dataclass(slots=True)
class _Line:
    """A call with what is connected to it."""

    call: PhoneCall
    ear: Ear
    incoming: bool
    answered: bool = False
    hung_up: bool = False  # by us


class Softphone:
    """The phone. ``tell`` gets every event, from within ``poll`` and the commands, in order."""

    def __init__(self, settings: PhoneSettings, tell: Callable[[PhoneEvent], None]) -> None:
        self.settings = settings
        self.notes: deque[tuple[str, PhoneCall | None, tuple[Any, ...]]] = deque()
        self.digits: SimpleQueue[tuple[int, str, int]] = SimpleQueue()
        self.numbers: Iterator[int] = itertools.count(1)
        self.account: PhoneAccount | None = None
        self.answering = settings.answering  # both may be changed; they hold for calls
        self.echo = settings.echo  # whose audio starts after that
        self.registered = False
        self.address = ""
        self._tell = tell
        self._lines: dict[int, _Line] = {}
        self._ears: list[Ear] = []  # those of no call at present
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_order = itertools.count()
        self._endpoint: Any = None
        self._tones: Any = None
        self._player: Any = None
        self._recorder: Any = None

    # -- life ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Start listening and, if there is a registrar, registering. Raises PhoneError."""
        s = self.settings
        if not 1 <= s.max_calls <= MOST_CALLS:
            raise PhoneError(f"max_calls: {s.max_calls} is not within 1 to {MOST_CALLS}")
        self._endpoint = pj.Endpoint()
        try:
            self._endpoint.libCreate()
            self.address = start_endpoint(self._endpoint, s)
            self._open_audio()
            self._open_account()
        except pj.Error as error:
            self.close()
            raise PhoneError(str(error.reason)) from None
        except PhoneError:
            self.close()
            raise

    def _open_audio(self) -> None:
        s = self.settings
        self._tones = pj.ToneGenerator()
        self._tones.createToneGenerator(RATE, 1)
        if s.tone is not None:
            self.tone(s.tone)
        if s.play is not None:
            self._player = pj.AudioMediaPlayer()
            try:
                self._player.createPlayer(str(s.play))
            except pj.Error as error:
                raise PhoneError(f"cannot play {s.play}: {error.reason}") from None
        if s.record is not None:
            self._recorder = pj.AudioMediaRecorder()
            try:
                self._recorder.createRecorder(str(s.record))
            except pj.Error as error:
                raise PhoneError(f"cannot record to {s.record}: {error.reason}") from None

    def _open_account(self) -> None:
        s = self.settings
        config = account_config(s, self.address)
        if s.registrar is not None:
            config.regConfig.registrarUri = self.uri(s.registrar)
            if s.domain is not None and s.domain != s.registrar:
                config.sipConfig.proxies.append(self.uri(s.registrar) + ";lr")
        self.account = PhoneAccount(self)
        self.account.create(config)
        me = own_uri(s, self.address)
        contact = self.uri(f"{s.user}@{self.address}")
        self._emit("ready", uri=me, contact=contact, address=f"{s.transport}:{self.address}")
        if s.registrar is not None:
            self.account.setRegistration(True)

    def poll(self, seconds: float = 0.02) -> None:
        """Handle what has come in; wait up to ``seconds`` for something to come."""
        if self._timers:
            seconds = min(seconds, max(self._timers[0][0] - time.monotonic(), 0))
        self._endpoint.libHandleEvents(round(seconds * 1000))
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()
        while self.notes:
            kind, call, args = self.notes.popleft()
            getattr(self, "_on_" + kind)(call, *args)
        with contextlib.suppress(Empty):
            while True:
                number, digit, method = self.digits.get_nowait()
                info = method == pj.PJSUA_DTMF_METHOD_SIP_INFO
                self._emit("dtmf", number, digit=digit, method="info" if info else "rfc4733")
        for number, line in list(self._lines.items()):
            self._listen(number, line)

    def close(self) -> None:
        """Hang up, unregister and free everything; takes up to ``GOODBYE_SECONDS`` twice."""
        if self._endpoint is None:
            return
        if self.account is not None:
            for number in list(self._lines):
                self.hangup(number, 480)  # Temporarily Unavailable: a caller may try another phone
            self._poll_until(lambda: not self._lines)
            if self.registered:
                with contextlib.suppress(pj.Error):
                    self.account.setRegistration(False)
                    self._poll_until(lambda: not self.registered)
        self._timers.clear()
        self._lines.clear()
        self.notes.clear()
        # pjsua2's objects unregister themselves from the bridge: before it goes.
        self._tones = self._player = self._recorder = None
        if self.account is not None:
            self.account.shutdown()
            self.account = None
        # Without the flag pjsua2 sleeps a second for the un-REGISTER that has been answered above.
        self._endpoint.libDestroy(pj.PJSUA_DESTROY_NO_NETWORK)
        self._endpoint = None

    def _poll_until(self, done: Callable[[], bool]) -> None:
        until = time.monotonic() + GOODBYE_SECONDS
        while not done() and time.monotonic() < until:
            self.poll()

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Run ``action`` from within ``poll``, ``seconds`` from now."""
        due = time.monotonic() + seconds
        heapq.heappush(self._timers, (due, next(self._timer_order), action))

    # -- commands -----------------------------------------------------------------------------

    @property
    def calls(self) -> list[int]:
        """Numbers of the calls there are, oldest first."""
        return list(self._lines)

    def uri(self, target: str) -> str:
        """The SIP URI of a number, a ``user@host`` or a URI, with the phone's transport.

        PhoneError for ``sips:`` over anything but TLS.
        """
        kind = self.settings.transport
        if target.startswith("sips:"):
            if kind != "tls":
                raise PhoneError(f"{target}: is called over TLS; this phone's transport is {kind}")
            # This build of pjsua2 has no sips: in its own Contact, and where it calls sips: it
            # hangs up on whoever has none either ("SIPS Required").
            target = "sip:" + target.removeprefix("sips:")
        if not target.startswith("sip:"):
            domain = self.settings.domain or self.settings.registrar
            if "@" in target or target in (domain, self.settings.registrar):
                target = f"sip:{target}"
            elif domain is None:
                raise PhoneError(f"{target}: a number needs a registrar; give user@host:port")
            else:
                target = f"sip:{target}@{domain}"
        if kind != "udp" and ";transport=" not in target:
            target += f";transport={kind}"
        return target

    def call(self, target: str) -> int:
        """Place a call; its number."""
        uri = self.uri(target)
        if len(self._lines) >= self.settings.max_calls:
            raise PhoneError(f"{len(self._lines)} calls are up already")
        call = PhoneCall(self, next(self.numbers))
        self._lines[call.number] = self._line(call, incoming=False)
        self._emit("calling", call.number, to=uri)
        try:
            call.makeCall(uri, pj.CallOpParam(True))
        except pj.Error as error:
            self._forget(call.number)
            raise PhoneError(f"cannot call {uri}: {error.reason}") from None
        return call.number

    def answer(self, number: int | None = None, status: int = 200) -> None:
        """Answer (or, with another status, refuse) the call; the newest that rings if not said."""
        ringing = [n for n, line in self._lines.items() if line.incoming and not line.answered]
        if number is None and not ringing:
            raise PhoneError("no call is ringing")
        line = self._of(ringing[-1] if number is None else number)
        prm = pj.CallOpParam(True)
        prm.statusCode = status
        line.hung_up = line.hung_up or status >= 300
        self._do(lambda: line.call.answer(prm))

    def hangup(self, number: int | None = None, status: int = 0) -> None:
        """End the call: BYE, CANCEL, or ``status`` (603 if not said) for one that rings here."""
        line = self._of(number)
        line.hung_up = True
        prm = pj.CallOpParam()
        prm.statusCode = status
        self._do(lambda: line.call.hangup(prm))

    def hold(self, number: int | None = None) -> None:
        line = self._of(number)
        self._do(lambda: line.call.setHold(pj.CallOpParam(True)))

    def unhold(self, number: int | None = None) -> None:
        self._reinvite(number, pj.PJSUA_CALL_UNHOLD)

    def reinvite(self, number: int | None = None) -> None:
        """Offer the same media again, as a phone does when its address changed."""
        self._reinvite(number, 0)

    def _reinvite(self, number: int | None, flag: int) -> None:
        line = self._of(number)
        prm = pj.CallOpParam(True)
        prm.opt.flag |= flag
        self._do(lambda: line.call.reinvite(prm))

    def transfer(self, target: str, number: int | None = None) -> None:
        """Ask that the other side of the call talk to ``target`` instead (REFER). A ``transfer``
        event says what comes of it; once it has worked the call is hung up."""
        line, uri = self._of(number), self.uri(target)
        self._do(lambda: line.call.xfer(uri, pj.CallOpParam(True)))

    def attended(self, number: int | None = None, other: int | None = None) -> None:
        """Ask that the other side of the call talk with the other side of call ``other`` (REFER
        with Replaces); what is not said is the newest call that is not the other one."""
        newest = list(reversed(self._lines))
        other = next((n for n in newest if n != number), None) if other is None else other
        number = next((n for n in newest if n != other), None) if number is None else number
        if number is None or other is None or number == other:
            raise PhoneError("an attended transfer takes two calls")
        line, replaced = self._of(number), self._of(other)
        self._do(lambda: line.call.xferReplaces(replaced.call, pj.CallOpParam(True)))

    def dtmf(self, digits: str, number: int | None = None) -> None:
        """Send digits: in the audio stream (RFC 4733), or by SIP INFO. A comma is a pause."""
        line = self._of(number)
        if not DIGITS.fullmatch(digits):
            raise PhoneError(f"{digits!r}: digits are 0-9, A-D, * and #, with ',' for a pause")
        first, comma, rest = digits.partition(",")
        if first:
            prm = pj.CallSendDtmfParam()
            prm.digits = first
            info = self.settings.dtmf_method == "info"
            prm.method = pj.PJSUA_DTMF_METHOD_SIP_INFO if info else pj.PJSUA_DTMF_METHOD_RFC2833
            self._do(lambda: line.call.sendDtmf(prm))
        if comma and rest:  # pjsua2 knows no pauses
            seconds = DIGIT_SECONDS * len(first) + PAUSE_SECONDS
            self.after(seconds, lambda: self._dtmf_goes_on(rest, line.call.number))

    def _dtmf_goes_on(self, digits: str, number: int) -> None:
        with contextlib.suppress(PhoneError):  # the call ended meanwhile
            self.dtmf(digits, number)

    def tone(self, hz: float) -> None:
        """Play a tone into all calls from now on; 0 for silence."""
        if hz and not 20 <= hz < RATE / 2:
            raise PhoneError(f"{hz:g} Hz: a tone is 20 to {RATE // 2 - 1} Hz, or 0 for none")
        self._tones.stop()
        if hz:
            tone = pj.ToneDesc()
            tone.freq1, tone.freq2, tone.on_msec, tone.off_msec = round(hz), 0, 1000, 0
            tones = pj.ToneDescVector()
            tones.append(tone)
            self._tones.play(tones, True)

    def _of(self, number: int | None) -> _Line:
        if not self._lines:
            raise PhoneError("there is no call")
        chosen = next(reversed(self._lines)) if number is None else number
        if chosen not in self._lines:
            raise PhoneError(f"there is no call {number}")
        return self._lines[chosen]

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
        except pj.Error as error:
            raise PhoneError(str(error.reason)) from None

    def _emit(self, kind: str, call: int | None = None, **facts: object) -> None:
        self._tell(PhoneEvent(kind, call, facts))

    # -- what pjsua2 said -----------------------------------------------------------------------

    def _on_register(self, _: None, code: int, reason: str, expiration: int) -> None:
        if code // 100 == 2 and expiration > 0:
            self.registered = True
            self._emit("registered", status=code, expires=expiration)
        elif code // 100 == 2:
            self.registered = False
            self._emit("unregistered", status=code)
        else:
            self.registered = False
            self._emit("registration_failed", status=code, reason=reason)

    def _on_incoming(self, call: PhoneCall, asked: int | None) -> None:
        how = self.answering
        busy = len(self._lines) >= self.settings.max_calls
        self._lines[call.number] = self._line(call, incoming=True)
        with contextlib.suppress(pj.Error):  # it may be over already; then its state says so
            info = call.getInfo()
            self._emit("incoming", call.number, **{"from": info.remoteUri, "to": info.localUri})
        with contextlib.suppress(PhoneError):
            if busy or how.status is not None:
                self.answer(call.number, 486 if busy or how.status is None else how.status)
                return
            self.answer(call.number, 180)
            after = asked if how.asked and asked is not None else how.after
            if after is not None:
                self.after(after, lambda: self._pick_up(call.number))

    def _on_referred(self, call: PhoneCall, target: str) -> None:
        """Somebody has transferred us: pjsua2 calls there, if it can."""
        if not call.isActive():
            return
        self._lines[call.number] = self._line(call, incoming=False)
        self._emit("calling", call.number, to=target)

    def _on_replaces(self, call: PhoneCall) -> None:
        """Somebody takes the place of whom we talked with: pjsua2 answers."""
        self._lines[call.number] = self._line(call, incoming=True)
        with contextlib.suppress(pj.Error):
            info = call.getInfo()
            self._emit("incoming", call.number, **{"from": info.remoteUri, "to": info.localUri})

    def _pick_up(self, number: int) -> None:
        with contextlib.suppress(PhoneError):  # hung up while it rang
            self.answer(number)

    def _on_state(
        self, call: PhoneCall, state: int, code: int, reason: str, seconds: float
    ) -> None:
        line = self._lines.get(call.number)
        if line is None:
            return
        if state == pj.PJSIP_INV_STATE_EARLY and not line.incoming:
            self._emit("ringing", call.number, status=code, reason=reason)
        elif state == pj.PJSIP_INV_STATE_CONFIRMED and not line.answered:
            line.answered = True
            self._emit("answered", call.number, status=200)
        elif state == pj.PJSIP_INV_STATE_DISCONNECTED:
            answered = line.answered
            by = "local" if line.hung_up else "remote"
            self._forget(call.number)
            heard = quality(call.streams)
            if heard is not None:
                self._emit("quality", call.number, **heard)
            self._emit(
                "ended",
                call.number,
                status=code,
                reason=reason,
                by=by,
                answered=answered,
                seconds=round(seconds, 3),
            )

    def _on_transfer(self, call: PhoneCall, status: int, reason: str, final: bool) -> None:
        if call.number not in self._lines:
            return
        self._emit("transfer", call.number, status=status, reason=reason, final=final)
        if final and 200 <= status < 300:
            with contextlib.suppress(PhoneError):
                self.hangup(call.number)

    def _on_media(self, call: PhoneCall) -> None:
        line = self._lines.get(call.number)
        if line is None:
            return
        try:
            self._connect(line)
        except pj.Error as error:  # the call ended meanwhile
            self._emit("error", call.number, message=str(error.reason))

    def _connect(self, line: _Line) -> None:
        info = line.call.getInfo()
        for index, media in enumerate(info.media):
            if media.type != pj.PJMEDIA_TYPE_AUDIO or media.status == pj.PJSUA_CALL_MEDIA_NONE:
                continue
            audio = line.call.getAudioMedia(index)
            sources = [self._tones] + ([self._player] if self._player else [])
            sinks = [line.ear.port] + ([self._recorder] if self._recorder else [])
            talk = media.status == pj.PJSUA_CALL_MEDIA_ACTIVE
            for source in sources + ([audio] if self.echo else []):
                source.startTransmit(audio) if talk else source.stopTransmit(audio)
            for sink in sinks:
                audio.startTransmit(sink)
            line.ear.open()
            stream = line.call.getStreamInfo(index)
            state = {
                pj.PJSUA_CALL_MEDIA_ACTIVE: "active",
                pj.PJSUA_CALL_MEDIA_LOCAL_HOLD: "local_hold",
                pj.PJSUA_CALL_MEDIA_REMOTE_HOLD: "remote_hold",
            }.get(media.status, "error")
            codec = f"{stream.codecName}/{stream.codecClockRate}"
            remote = stream.remoteRtpAddress
            self._emit("media", line.call.number, state=state, codec=codec, remote=remote)
            return

    def _listen(self, number: int, line: _Line) -> None:
        for heard in line.ear.heard():
            hz = None if heard.hz is None else round(heard.hz)
            self._emit("heard", number, hz=hz, level_db=heard.level_db, silent=heard.silent)

    # -- lines ----------------------------------------------------------------------------------

    def _line(self, call: PhoneCall, *, incoming: bool) -> _Line:
        ear = self._ears.pop() if self._ears else Ear(f"ear {call.number}")
        return _Line(call, ear, incoming)

    def _forget(self, number: int) -> None:
        line = self._lines.pop(number)
        line.ear.close()
        self._ears.append(line.ear)
