"""What the switch orders a media worker to do, and what a worker tells: one message each.

They go over a socket pair that keeps messages apart (SOCK_SEQPACKET), as msgpack. A worker has
**ports**: each is one call that the switch places to it, which is answered at once. Whatever is
played at a port takes the place of what was played before; a **job** is the number by which its end
is told.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

LONGEST: Final = 65536
"""Bytes of a message."""
LOOPBACK: Final = "127.0.0.1"
"""Where workers call each other: as any address that audio is sent to."""


class File(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A WAV file, by its absolute path."""

    path: str


class Tone(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Two frequencies at once (Hz; 0: only the first), on and off for so many milliseconds, so
    many times (0: without end)."""

    first: int
    second: int = 0
    on: int = 1000
    off: int = 0
    times: int = 1
    level: float = -14.0
    """In dB below the loudest sine."""


Sound: TypeAlias = File | Tone


class Prepare(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """There will be calls whose audio is sent to ``address``, at UDP ports from ``first`` to
    ``last`` (0: any). None may come before that is ``Prepared``."""

    address: str
    first: int = 0
    last: int = 0


class Expect(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A call to ``sip:KEY@ADDRESS`` will come: it is that port."""

    port: int
    key: str


class Play(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Play these one after the other; again and again if ``loop``. Without any: silence."""

    port: int
    job: int
    sounds: tuple[Sound, ...] = ()
    loop: bool = False


class Echo(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Whoever is there hears itself, or does not any more."""

    port: int
    on: bool = True


class Press(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Whoever is there is told of a key (RFC 4733), if it takes that."""

    port: int
    digit: str


class Record(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Write what comes from there into a new WAV file (16 bits, mono) by that path, until so many
    ``seconds`` are full, or nothing was to be heard for ``silence`` seconds (0: whatever is), or
    the port or the recording is over. ``steady``: where nothing comes, silence is written."""

    port: int
    job: int
    path: str
    seconds: float
    silence: float = 0.0
    steady: bool = False


class PauseRecording(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What comes from there is not written for a while (``on``), or is again. Silence is, if that
    recording is steady."""

    port: int
    on: bool = True


class CallOut(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From a port that was expected: call that URI of another worker, instead of being called."""

    port: int
    uri: str


class Join(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """All ports of this worker that are in the same ``room`` hear each other (empty: in none any
    more), as far as they ``speak``. ``watch``: tell when something is to be heard from there."""

    port: int
    room: str
    speaks: bool = True
    watch: bool = False


class StopRecording(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """That is enough."""

    port: int


class Stream(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Connect who is there with a program, by a WebSocket to that ``url`` (ws or wss): it gets what
    comes from there, and is heard. `softswitch.media.audio_stream` has the messages.

    ``sid`` names the stream, ``switch`` and ``call_id`` the call; ``parameters`` are told the
    program, ``headers`` go with the request. ``linear``: 16 bits instead of μ-law. ``ca``: a file
    of authorities (empty: the system's). It has to be there within ``connect`` seconds, and to
    answer a ping each ``ping`` seconds within as many (0: none). At most ``buffer`` seconds of what
    it says wait to be heard, and ``backlog`` seconds of what it hears to be sent; its messages have
    ``message`` bytes at most."""

    port: int
    job: int
    url: str
    sid: str
    call_id: str
    switch: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    linear: bool = False
    ca: str = ""
    connect: float = 5.0
    ping: float = 10.0
    buffer: float = 120.0
    backlog: float = 5.0
    message: int = 1_048_576


class StopStream(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """That is enough: the program is told so."""

    port: int


class Tap(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Connect a program that hears and is not heard: who is at the port ``inbound`` is one track of
    its stream, who is at ``outbound`` another (0: there is none). It is told of by the port of the
    ``stream``, and is over with one of the two. ``paused``: it hears silence."""

    port: int
    stream: Stream
    inbound: int
    outbound: int
    paused: bool = False


class PauseTap(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A program of that port hears silence for a while (``on``), or what is said again."""

    port: int
    job: int
    on: bool = True


class StopTap(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """That is enough: the program is told so."""

    port: int
    job: int


class Ask(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Is it still at work? It says ``Here``."""


class Release(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Nobody waits for that port any more, whether its call came or not. There is room for another
    one when it is ``Gone``."""

    port: int


Order: TypeAlias = (
    Prepare
    | Expect
    | CallOut
    | Join
    | Play
    | Echo
    | Press
    | Record
    | PauseRecording
    | StopRecording
    | Stream
    | StopStream
    | Tap
    | PauseTap
    | StopTap
    | Ask
    | Release
)


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The worker takes calls at that UDP port of 127.0.0.1: so many at a time."""

    pid: int
    sip: int
    ports: int


class Prepared(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Calls for that address may come; ``error``: they may not, and why."""

    address: str
    error: str = ""


class Here(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """It is still at work."""


class Up(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The call is there and acknowledged, and can be heard."""

    port: int


class Digit(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A key was pressed there: one of ``0-9A-D*#``."""

    port: int
    digit: str


class Speaking(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Something is to be heard from there, or nothing any more: of ports that are watched. Who is
    muted is told of as well."""

    port: int
    on: bool


class Played(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A job is at its end. ``error``: it could not be played, and why."""

    port: int
    job: int
    error: str = ""


class Recorded(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A recording is at its end, and its file is whole: so many ``seconds``, of which the last
    ``silent`` were silence. ``why``: ``stopped``, ``full``, ``silence``, ``gone`` (who was there
    has left); ``error``: there is none, and why."""

    port: int
    job: int
    seconds: float
    silent: float
    why: str
    error: str = ""


class Streaming(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The program is there, and hears who is there."""

    port: int
    job: int


class StreamEnded(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A stream is at its end, after so many ``seconds`` from when it was there. ``why``:

    ===============  ===============================================================
    ``stopped``      it was ordered, or who was there has left
    ``closed``       the program has closed, and what it had said is heard
    ``unreachable``  there is no connection
    ``tls``          its certificate is not right, or there is no agreement
    ``refused``      it has answered something else than a WebSocket
    ``late``         it was not there in time
    ``garbage``      it has sent what is no message of a program
    ``flood``        more than ``buffer`` seconds of what it says would have to wait
    ``slow``         it does not read, or does not answer pings
    ``lost``         the connection is gone, or was closed with another code than 1000
    ===============  ===============================================================

    ``error`` says it in words."""

    port: int
    job: int
    why: str
    error: str = ""
    seconds: float = 0.0


class Gone(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The call of a port is over, or will not be: there is room for another one."""

    port: int


Said: TypeAlias = (
    Ready
    | Prepared
    | Here
    | Up
    | Digit
    | Speaking
    | Played
    | Recorded
    | Streaming
    | StreamEnded
    | Gone
)


_ENCODER: Final = msgspec.msgpack.Encoder()
_ORDERS: Final = msgspec.msgpack.Decoder(Order)
_SAID: Final = msgspec.msgpack.Decoder(Said)
_GARBAGE: Final = (UnicodeDecodeError, RecursionError)
"""What msgspec raises besides of texts that are none, and of what is nested too deep."""


def encode(message: Order | Said) -> bytes:
    """It as one message."""
    return _ENCODER.encode(message)


def order_of(data: bytes) -> Order:
    """What was ordered. Raises msgspec.MsgspecError if it is none."""
    try:
        found: Order = _ORDERS.decode(data)
    except _GARBAGE as error:
        raise msgspec.DecodeError(str(error)) from None
    return found


def said_of(data: bytes) -> Said:
    """What was told. Raises msgspec.MsgspecError if it is nothing that a worker tells."""
    try:
        found: Said = _SAID.decode(data)
    except _GARBAGE as error:
        raise msgspec.DecodeError(str(error)) from None
    return found
