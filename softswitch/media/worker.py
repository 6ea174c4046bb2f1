"""A media worker: a process that runs pjsua2 on loopback, answers the switch's calls, and plays,
repeats and listens as it is told (`softswitch.media.orders`).

Everything but audio runs in the thread that calls `Worker.run`: pjsua2 has no thread of its own for
signalling (``threadCnt = 0``). What comes from its media threads (digits, ends of files) goes
through a queue. A callback must never raise: the exception would pass through C++.

The worker ends when its socket does: nothing is left behind when the switch is gone, however.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final

import pjsua2 as pj

from softswitch.media.orders import (
    LONGEST,
    LOOPBACK,
    Ask,
    CallOut,
    Digit,
    Echo,
    Expect,
    File,
    Gone,
    Here,
    Join,
    PauseRecording,
    PauseTap,
    Play,
    Played,
    Prepare,
    Prepared,
    Press,
    Ready,
    Record,
    Recorded,
    Said,
    Speaking,
    StopRecording,
    StopStream,
    StopTap,
    Stream,
    StreamEnded,
    Tap,
    Tone,
    Up,
    encode,
    order_of,
)
from softswitch.media.streams import Streams

log = logging.getLogger(__name__)

RATE: Final = 8000
"""Hz, of the bridge."""
WORKS: Final = 0.01
"""Seconds between looks at the orders while there are calls: what an order waits at most."""
RESTS: Final = 0.1
"""The same while there are none. A call is noticed at once, and the orders before it with it."""
SETTLES: Final = 1.0
"""Seconds that a player is kept after its end: a media thread may still be at it."""
CODECS: Final = ("PCMU", "PCMA", "G722", "GSM", "iLBC", "speex")
QUIET: Final = 8
"""What pjsua2 calls the level of a tone of -40 dB (-30 dB: 16, -50 dB: 3): quieter is silence.
The level of what comes in is its "tx level"."""
LISTENS: Final = 0.1
"""Seconds between looks at a recording, or at who speaks."""
SPEAKS: Final = 2
"""Looks in a row at which something must be heard of somebody who begins to speak."""
PAUSES: Final = 0.8
"""Seconds of silence after which somebody does not speak any more: between words there is less."""
CLOSES: Final = 0.5
"""Seconds that a file may take until it is closed; 0.02 is usual."""
WHEEL: Final = 4
"""Calls that the published wheels of pjsua2 allow in one process (PJSUA_MAX_CALLS)."""
EVEN: Final = 50
"""Of so many samples a second, or a multiple, can what is played be: of a part of a sample in one
of its frames pjsua2 dies."""
LEAVES: Final = 0.25
"""Seconds until a call is taken for gone that the worker has hung up: its BYE is answered then."""
KEYS: Final = frozenset("0123456789ABCD*#")
"""What callers may press."""
LONGEST_TONE: Final = 30_000
"""Milliseconds that pjsua2 is told at most for a tone or a pause (a short int); longer ones it
repeats."""
_NOT_HERE: Final = b"SIP/2.0 481 Call/Transaction Does Not Exist\r\n"
_KEPT_LINES: Final = re.compile(rb"(?im)^(?:via|from|to|call-id|cseq):[^\r]*")
"""Of a request, in its response (RFC 3261 §8.2.6.2)."""
_KEY: Final = re.compile(r"sip:([0-9A-Za-z._-]+)@")


class _Player(pj.AudioMediaPlayer):  # type: ignore[misc]
    """One file; notes its end."""

    def __init__(self, notes: SimpleQueue[tuple[str, Any, Any]], port: _Port, job: int) -> None:
        super().__init__()
        self._notes = notes
        self._port = port
        self._job = job

    def onEof2(self) -> None:
        self._notes.put(("eof", self._port, self._job))


class _Call(pj.Call):  # type: ignore[misc]
    """The call of a port; notes what pjsua2 says of it."""

    def __init__(self, account: Any, call_id: int, worker: Worker) -> None:
        super().__init__(account, call_id)
        self.port: _Port | None = None
        self._worker = worker

    def onCallState(self, prm: Any) -> None:
        with contextlib.suppress(pj.Error):
            self._worker.happened.append(("state", self, self.getInfo().state))

    def onCallMediaState(self, prm: Any) -> None:
        self._worker.happened.append(("media", self, None))

    def onDtmfDigit(self, prm: Any) -> None:
        # By INFO anything may come: what is no key is no text either, perhaps.
        if prm.digit in KEYS:
            self._worker.notes.put(("digit", self.port, prm.digit))


class _Account(pj.Account):  # type: ignore[misc]
    """One for each address that is to stand in descriptions."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def onIncomingCall(self, prm: Any) -> None:
        # pjsua2 refuses the call with 500 unless its object exists when this returns.
        self._worker.happened.append(("came", _Call(self, prm.callId, self._worker), None))


class _Port:
    """A port: its call, what is played there, and what else is connected."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.call: _Call | None = None
        self.audio: Any = None
        self.up = False
        self.echo = False
        self.sounds: tuple[File | Tone, ...] = ()
        self.error = ""  # why one of them could not be played
        self.loop = False
        self.job = 0
        self.next = 0
        self.current: Any = None  # the player or generator of what is heard now
        self.recording: _Recording | None = None
        self.room = ""
        self.other = 0  # the UDP port of the worker that it has called
        self.speaks = True
        self.watched: _Watched | None = None


class _Watched:
    """Whether somebody speaks."""

    def __init__(self) -> None:
        self.on = False
        self.times = 0  # looks in a row at which something was heard
        self.heard = 0.0  # when something was heard last
        self.looks = 0.0


class _Recording:
    """A recording that is under way."""

    def __init__(self, order: Record, recorder: Any) -> None:
        now = time.monotonic()
        self.job = order.job
        self.path = order.path
        self.recorder = recorder
        self.began = now
        self.heard = now  # when something was to be heard last
        self.looks = now
        self.until = now + order.seconds
        self.silence = order.silence
        self.paused = False


class Worker:
    """The process. `orders` is its end of the socket pair."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self.happened: deque[tuple[str, _Call, Any]] = deque()
        self.notes: SimpleQueue[tuple[str, Any, Any]] = SimpleQueue()
        self._ports: dict[int, _Port] = {}
        self._keys: dict[str, tuple[_Port, str]] = {}
        self._accounts: dict[str, _Account] = {}
        self._settling: deque[tuple[float, Any]] = deque()
        self._leaving: deque[tuple[float, int]] = deque()  # ports whose BYE is under way
        self._answering: list[tuple[float, socket.socket]] = []  # for workers that have died
        self._ends_at: list[tuple[float, _Port, int]] = []  # of tones
        self._streams = Streams()
        self._endpoint: Any = None
        self._quiet: Any = None
        self._sounding = False
        self._six = False
        self._over = False

    def run(self) -> None:
        """Until the switch is gone."""
        self._open()
        self._orders.setblocking(False)
        while not self._over:
            wait = WORKS if self._ports else RESTS
            self._endpoint.libHandleEvents(round(wait * 1000))
            self._renew()
            self._obey()
            self._notice()
        self._streams.close()

    # --- pjsua2

    def _open(self) -> None:
        self._endpoint = endpoint = pj.Endpoint()
        endpoint.libCreate()
        config = pj.EpConfig()
        config.uaConfig.threadCnt = 0
        config.uaConfig.maxCalls = most = most_calls()
        self._six = _tries(_six)
        config.uaConfig.userAgent = "softswitch media"
        config.logConfig.level = config.logConfig.consoleLevel = 0
        config.medConfig.clockRate = config.medConfig.sndClockRate = RATE
        config.medConfig.noVad = True
        config.medConfig.ecTailLen = 0
        endpoint.libInit(config)
        self._prefer(endpoint)
        endpoint.audDevManager().setNoDev()
        transport = pj.TransportConfig()
        transport.boundAddress, transport.port = "127.0.0.1", 0
        number = endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
        endpoint.libStart()
        at = int(endpoint.transportGetInfo(number).localName.rpartition(":")[2])
        self._say(Ready(os.getpid(), at, most))

    def _prefer(self, endpoint: Any) -> None:
        """What is offered first, where the other side leaves it to us: what costs least."""
        known = [codec.codecId for codec in endpoint.codecEnum2()]
        for codec in known:
            if codec.startswith("L16"):
                endpoint.codecSetPriority(codec, 0)
        for rank, name in enumerate(CODECS):
            for codec in known:
                if codec.startswith(f"{name}/"):
                    endpoint.codecSetPriority(codec, 250 - rank)

    def _prepare(self, order: Prepare) -> None:
        """pjsua2 chooses an account by the address in the INVITE's To, before we hear of it."""
        error = ""
        if ":" in order.address and not self._six:
            error = "this pjsua2 was built without IPv6"
        elif order.address not in self._accounts:
            try:
                self._account(order.address, order.first, order.last)
            except pj.Error as failure:
                error = str(failure.reason)
        self._say(Prepared(order.address, error))

    def _account(self, address: str, first: int, last: int) -> None:
        config = pj.AccountConfig()
        six = ":" in address
        config.idUri = f"sip:media@[{address}]" if six else f"sip:media@{address}"
        config.regConfig.registerOnAdd = False
        transport = config.mediaConfig.transportConfig
        transport.port, transport.portRange = first, last - first
        transport.publicAddress = address
        config.mediaConfig.ipv6Use = (
            pj.PJSUA_IPV6_ENABLED_USE_IPV6_ONLY if six else pj.PJSUA_IPV6_DISABLED
        )
        account = _Account(self)
        account.create(config)
        self._accounts[address] = account

    def _clock(self) -> None:
        """The bridge works while there is somebody to be heard; after a stream it goes on, see
        `bridge_port`."""
        wanted = bool(self._ports) or self._streams.made
        if wanted != self._sounding:
            self._sounding = wanted
            manager = self._endpoint.audDevManager()
            manager.setNullDev() if wanted else manager.setNoDev()

    # --- orders

    def _obey(self) -> None:
        while True:
            try:
                data = self._orders.recv(LONGEST)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._over = True
                return
            order = order_of(data)
            if isinstance(order, Prepare):
                self._prepare(order)
                continue
            if isinstance(order, Ask):
                self._say(Here())
                continue
            port = self._ports.get(order.port)
            if isinstance(order, Expect):
                self._expect(order)
            elif port is None:
                if isinstance(order, Play):
                    self._say(Played(order.port, order.job, "no such port"))
                elif isinstance(order, Record):
                    self._say(Recorded(order.port, order.job, 0.0, 0.0, "gone", "no such port"))
                elif isinstance(order, Stream):
                    self._say(StreamEnded(order.port, order.job, "stopped", "no such port"))
                elif isinstance(order, Tap):
                    job = order.stream.job
                    self._say(StreamEnded(order.port, job, "stopped", "no such port"))
            elif isinstance(order, Play):
                self._stop(port)
                port.sounds, port.loop, port.job, port.next = (
                    order.sounds,
                    order.loop,
                    order.job,
                    0,
                )
                port.error = ""
                if port.up:
                    self._go_on(port)
            elif isinstance(order, Record):
                self._record(port, order)
            elif isinstance(order, PauseRecording):
                self._pause(port, order.on)
            elif isinstance(order, StopRecording):
                self._recorded(port, "stopped")
            elif isinstance(order, Stream):
                self._stream(port, order)
            elif isinstance(order, StopStream):
                self._streams.stop(port.number, port.audio)
            elif isinstance(order, Tap):
                self._tap(order)
            elif isinstance(order, PauseTap):
                self._streams.pause_tap(order.port, order.job, order.on)
            elif isinstance(order, StopTap):
                self._streams.stop_tap(order.port, order.job, self._audio)
            elif isinstance(order, Echo):
                port.echo = order.on
                self._echo(port)
            elif isinstance(order, Press):
                if port.call is not None and order.digit in KEYS:
                    with contextlib.suppress(pj.Error):
                        port.call.dialDtmf(order.digit)
            elif isinstance(order, Join):
                self._join(port, order)
            elif isinstance(order, CallOut):
                self._call(port, order.uri)
            else:
                self._release(port)

    def _expect(self, order: Expect) -> None:
        port = self._ports[order.port] = _Port(order.port)
        self._keys[order.key] = port, order.key
        self._clock()

    def _release(self, port: _Port) -> None:
        self._stop(port)
        self._recorded(port, "stopped")
        self._streams.leaves(port.number, self._audio)
        call = port.call
        self._forget(port)
        if call is None:
            self._say(Gone(port.number))
            return
        # Until its BYE is answered pjsua2 has no room for another call, but says at once that it is
        # over.
        call.port = None
        self._leaving.append((time.monotonic() + LEAVES, port.number))
        if port.other:
            self._answer_for(port.other)
        with contextlib.suppress(pj.Error):
            call.hangup(pj.CallOpParam())

    def _call(self, port: _Port, uri: str) -> None:
        for key, (one, _) in list(self._keys.items()):
            if one is port:
                del self._keys[key]
        try:
            account = self._accounts[LOOPBACK]
            port.call = call = _Call(account, pj.PJSUA_INVALID_ID, self)
            call.port = port
            port.other = int(uri.rpartition(":")[2])
            call.makeCall(uri, pj.CallOpParam(True))
        except (KeyError, ValueError, pj.Error):
            # As if the other one had refused.
            if port.call is not None:
                port.call.port = None
            self._forget(port)
            self._say(Gone(port.number))

    def _answer_for(self, other: int) -> None:
        """If the worker at that UDP port has died nobody answers our BYE, and its call would be in
        the way of another one for half a minute."""
        stand_in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            stand_in.bind((LOOPBACK, other))
        except OSError:
            stand_in.close()  # somebody is there
            return
        stand_in.setblocking(False)
        self._answering.append((time.monotonic() + SETTLES, stand_in))

    def _answer(self, stand_in: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, source = stand_in.recvfrom(LONGEST)
                if not data.startswith((b"SIP/", b"ACK ")):
                    kept = b"\r\n".join(_KEPT_LINES.findall(data))
                    stand_in.sendto(_NOT_HERE + kept + b"\r\nContent-Length: 0\r\n\r\n", source)

    def _forget(self, port: _Port) -> None:
        self._ports.pop(port.number, None)
        port.room = ""
        for key, (one, _) in list(self._keys.items()):
            if one is port:
                del self._keys[key]
        if not self._ports:
            self._clock()

    # --- what is heard at a port

    def _go_on(self, port: _Port) -> None:
        """Play what comes next; at the end of a job tell it."""
        failed = 0
        while True:
            if port.next >= len(port.sounds):
                if not port.loop or not port.sounds or failed >= len(port.sounds):
                    if port.job:
                        self._say(Played(port.number, port.job, port.error))
                        port.job = 0
                    return
                port.next = 0
            sound = port.sounds[port.next]
            port.next += 1
            try:
                if isinstance(sound, File):
                    player = _Player(self.notes, port, port.job)
                    player.createPlayer(sound.path, pj.PJMEDIA_FILE_NO_LOOP)
                    rate = player.getPortInfo().format.clockRate
                    if rate % EVEN:
                        # It was looked at when the dialplan was read, but has been written since.
                        raise ValueError(f"{rate} samples a second")
                    player.startTransmit(port.audio)
                    port.current = player
                else:
                    port.current = self._tone(port, sound)
                return
            except (pj.Error, ValueError) as error:
                # The rest is heard all the same.
                failed += 1
                where = sound.path if isinstance(sound, File) else "tone"
                port.error = port.error or f"{where}: {getattr(error, 'reason', error)}"

    def _tone(self, port: _Port, tone: Tone) -> Any:
        generator = pj.ToneGenerator()
        generator.createToneGenerator(RATE, 1)
        one = pj.ToneDesc()
        one.freq1, one.freq2 = tone.first, tone.second
        one.on_msec, one.off_msec = min(tone.on, LONGEST_TONE), min(tone.off, LONGEST_TONE)
        one.volume = round(32767 * 10 ** (tone.level / 20))
        tones = pj.ToneDescVector()
        tones.append(one)
        generator.play(tones, tone.times != 1 or tone.on > LONGEST_TONE)
        generator.startTransmit(port.audio)
        if tone.times:
            until = time.monotonic() + tone.times * (tone.on + tone.off) / 1000
            self._ends_at.append((until, port, port.job))
        return generator

    def _stop(self, port: _Port) -> None:
        current, port.current = port.current, None
        port.sounds = ()
        if current is not None:
            with contextlib.suppress(pj.Error):
                if port.audio is not None:
                    current.stopTransmit(port.audio)
            self._settling.append((time.monotonic() + SETTLES, current))

    def _ended(self, port: _Port, job: int) -> None:
        """The sound that is heard there is at its end."""
        if port.job != job or port.current is None or self._ports.get(port.number) is not port:
            return
        current, port.current = port.current, None
        with contextlib.suppress(pj.Error):
            current.stopTransmit(port.audio)
        self._settling.append((time.monotonic() + SETTLES, current))
        self._go_on(port)

    def _echo(self, port: _Port) -> None:
        if port.audio is None:
            return
        with contextlib.suppress(pj.Error):
            if port.echo:
                port.audio.startTransmit(port.audio)
            else:
                port.audio.stopTransmit(port.audio)

    def _join(self, port: _Port, order: Join) -> None:
        if port.room and order.room != port.room:
            for other in self._others(port):
                self._connect(port, other, False)
                self._connect(other, port, False)
        port.room, port.speaks = order.room, order.speaks
        if not order.watch:
            port.watched = None
        elif port.watched is None:
            port.watched = _Watched()
        self._mix(port)

    def _others(self, port: _Port) -> list[_Port]:
        return [one for one in self._ports.values() if one.room == port.room and one is not port]

    def _mix(self, port: _Port) -> None:
        """It hears the others of its room, and they hear it."""
        if not port.room:
            return
        for other in self._others(port):
            self._connect(port, other, port.speaks)
            self._connect(other, port, other.speaks)

    def _connect(self, port: _Port, other: _Port, on: bool) -> None:
        if port.audio is None or other.audio is None:
            return
        with contextlib.suppress(pj.Error):
            if on:
                port.audio.startTransmit(other.audio)
            else:
                port.audio.stopTransmit(other.audio)

    def _watch(self, port: _Port, now: float) -> None:
        watched = port.watched
        if watched is None or watched.looks > now or port.audio is None:
            return
        watched.looks = now + LISTENS
        with contextlib.suppress(pj.Error):
            if port.audio.getTxLevel() >= QUIET:
                watched.times += 1
                watched.heard = now
            else:
                watched.times = 0
        if watched.on:
            if now - watched.heard >= PAUSES:
                watched.on = False
                self._say(Speaking(port.number, False))
        elif watched.times >= SPEAKS:
            watched.on = True
            self._say(Speaking(port.number, True))

    def _stream(self, port: _Port, order: Stream) -> None:
        try:
            self._streams.begin(order, port.audio)
        except pj.Error as error:
            self._streams.stop(port.number, port.audio)
            log.error("no stream: %s", error.reason)

    def _tap(self, order: Tap) -> None:
        try:
            self._streams.tap(order, self._audio)
        except pj.Error as error:
            self._streams.stop_tap(order.port, order.stream.job, self._audio)
            log.error("no tap: %s", error.reason)

    # --- what is recorded

    def _record(self, port: _Port, order: Record) -> None:
        self._recorded(port, "stopped")
        try:
            if port.audio is None:
                raise OSError("nobody is there")
            # pjsua2 would write over what is there already.
            os.close(os.open(order.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
            recorder = pj.AudioMediaRecorder()
            recorder.createRecorder(order.path)
            if order.steady:
                self._silence().startTransmit(recorder)
            port.audio.startTransmit(recorder)
        except (OSError, pj.Error) as error:
            why = str(getattr(error, "reason", error))
            self._say(Recorded(port.number, order.job, 0.0, 0.0, "stopped", why))
            return
        port.recording = _Recording(order, recorder)

    def _silence(self) -> Any:
        """What is always to be heard."""
        if self._quiet is None:
            self._quiet = pj.ToneGenerator()
            self._quiet.createToneGenerator(RATE, 1)
        return self._quiet

    def _pause(self, port: _Port, on: bool) -> None:
        recording = port.recording
        if recording is None:
            return
        recording.paused = on
        if port.audio is None:
            return
        with contextlib.suppress(pj.Error):
            if on:
                port.audio.stopTransmit(recording.recorder)
            else:
                port.audio.startTransmit(recording.recorder)

    def _recorded(self, port: _Port, why: str) -> None:
        """The recording of a port, if there is one, is at its end."""
        recording, port.recording = port.recording, None
        if recording is None:
            return
        now = time.monotonic()
        with contextlib.suppress(pj.Error):
            if port.audio is not None:
                port.audio.stopTransmit(recording.recorder)
        seconds, silent = now - recording.began, now - recording.heard
        recording.recorder = None
        # With it the file is closed, by the bridge at its next beat: until then it is not whole.
        until = time.monotonic() + CLOSES
        while not _is_whole(recording.path) and time.monotonic() < until:
            time.sleep(0.002)
        self._say(Recorded(port.number, recording.job, seconds, silent, why))

    def _listen(self, port: _Port, now: float) -> None:
        recording = port.recording
        if recording is None or recording.looks > now:
            return
        recording.looks = now + LISTENS
        with contextlib.suppress(pj.Error):
            # The bridge's names: what the port transmits to it is what the caller says.
            if port.audio is not None and port.audio.getTxLevel() >= QUIET:
                recording.heard = now
        if now >= recording.until:
            self._recorded(port, "full")
        elif recording.silence and now - recording.heard >= recording.silence:
            self._recorded(port, "silence")

    # --- what happens

    def _renew(self) -> None:
        """Before orders: whoever has a new agreement, or has hung up, is at another slot of the
        bridge, or at none. Who is parted from a slot that is gone is heard by nobody any more, not
        even by its recording."""
        for one in list(self.happened):
            kind, call, what = one
            if call.port is None:
                continue
            if kind == "media":
                self.happened.remove(one)
                self._media(call)
            elif what == pj.PJSIP_INV_STATE_DISCONNECTED:
                call.port.audio, call.port.up = None, False

    def _notice(self) -> None:
        while self.happened:
            kind, call, what = self.happened.popleft()
            if kind == "came":
                self._came(call)
            elif kind == "media" or what == pj.PJSIP_INV_STATE_CONFIRMED:
                self._media(call)
            elif what == pj.PJSIP_INV_STATE_DISCONNECTED:
                port, call.port = call.port, None
                if port is not None:
                    self._stop(port)
                    self._recorded(port, "gone")
                    port.call = port.audio = None
                    self._streams.leaves(port.number, self._audio)
                    self._forget(port)
                    self._say(Gone(port.number))
        with contextlib.suppress(Empty):
            while True:
                kind, port, what = self.notes.get_nowait()
                if kind == "eof":
                    self._ended(port, what)
                elif port is not None:
                    self._streams.pressed(port.number, what)
                    self._say(Digit(port.number, what))
        for said in self._streams.told(self._audio):
            self._say(said)
        now = time.monotonic()
        for one in list(self._ports.values()):
            self._listen(one, now)
            self._watch(one, now)
        due = [one for one in self._ends_at if one[0] <= now]
        if due:
            self._ends_at = [one for one in self._ends_at if one[0] > now]
            for _, port, job in due:
                self._ended(port, job)
        while self._settling and self._settling[0][0] <= now:
            self._settling.popleft()
        for until, stand_in in list(self._answering):
            self._answer(stand_in)
            if until <= now:
                stand_in.close()
                self._answering.remove((until, stand_in))
        while self._leaving and self._leaving[0][0] <= now:
            self._say(Gone(self._leaving.popleft()[1]))

    def _audio(self, number: int) -> Any:
        """Who is at a port; None: nobody."""
        port = self._ports.get(number)
        return None if port is None else port.audio

    def _came(self, call: _Call) -> None:
        self._obey()  # what was ordered before the call came
        answer = pj.CallOpParam(True)
        with contextlib.suppress(pj.Error):
            found = _KEY.search(call.getInfo().localUri)
            known = self._keys.pop(found[1], None) if found is not None else None
            if known is None:
                answer.statusCode = pj.PJSIP_SC_NOT_FOUND
            else:
                port = known[0]
                port.call, call.port = call, port
                answer.statusCode = pj.PJSIP_SC_OK
            call.answer(answer)

    def _media(self, call: _Call) -> None:
        port = call.port
        if port is None:
            return
        with contextlib.suppress(pj.Error):
            info = call.getInfo()  # what is read of it goes with it
            for index, media in enumerate(info.media):
                if media.type != pj.PJMEDIA_TYPE_AUDIO:
                    continue
                if media.status not in (
                    pj.PJSUA_CALL_MEDIA_ACTIVE,
                    pj.PJSUA_CALL_MEDIA_REMOTE_HOLD,
                ):
                    continue
                # A new agreement makes a new slot of the bridge: all is connected again.
                port.audio = call.getAudioMedia(index)
                self._echo(port)
                self._mix(port)
                self._streams.connect(port.number, port.audio)
                if port.recording is not None and not port.recording.paused:
                    port.audio.startTransmit(port.recording.recorder)
                if port.current is not None:
                    port.current.startTransmit(port.audio)
                if not port.up and info.state == pj.PJSIP_INV_STATE_CONFIRMED:
                    # Before the ACK the switch does not know yet that the two talk.
                    port.up = True
                    self._say(Up(port.number))
                    self._go_on(port)
                return

    def _say(self, said: Said) -> None:
        try:
            self._orders.send(encode(said))
        except BlockingIOError:
            # The switch does not read: what it would be told is late anyway.
            select.select([], [self._orders], [], 5.0)
            with contextlib.suppress(OSError):
                self._orders.send(encode(said))
        except OSError:
            self._over = True


def _is_whole(path: str) -> bool:
    """Whether a recording has the head that it gets at its end."""
    try:
        with open(path, "rb") as file:
            head = file.read(44)
    except OSError:
        return True  # nobody will close it
    riff, data = head[4:8], head[40:44]
    nothing = b"\0\0\0\0"
    return riff != nothing and (data != nothing or riff == (36).to_bytes(4, "little"))


def most_calls(wanted: int = 256) -> int:
    """How many calls this pjsua2 allows a process. It has no way to ask but to try, and a try that
    fails ends the process: each is made in a child."""
    most = WHEEL
    while most < wanted and _allows(most * 2):
        most *= 2
    return most


_KEPT: Final[list[Any]] = []


def _allows(calls: int) -> bool:
    return _tries(lambda: _has_call(calls - 1, calls))


def _has_call(number: int, calls: int) -> None:
    _library(calls)
    pj.Call(pj.Account(), number)


def _six() -> None:
    """IPv6: an account that has it."""
    _library(WHEEL)
    _has_account(pj.PJSUA_IPV6_ENABLED_USE_IPV6_ONLY)


def _has_account(six: int) -> None:
    transport = pj.TransportConfig()
    transport.boundAddress = "127.0.0.1"
    _KEPT[0].transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    config = pj.AccountConfig()
    config.idUri = "sip:media@127.0.0.1"
    config.regConfig.registerOnAdd = False
    config.mediaConfig.ipv6Use = six
    pj.Account().create(config)


def _library(calls: int) -> None:
    """For as long as this process, which is a try, lasts."""
    endpoint = pj.Endpoint()
    _KEPT.append(endpoint)
    endpoint.libCreate()
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0
    config.uaConfig.maxCalls = calls
    endpoint.libInit(config)


def _tries(what: Callable[[], None]) -> bool:
    """Whether that can be done: pjsua2 says so by ending the process, which is a child of ours."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        what()
        os._exit(0)
    finally:
        os._exit(1)
