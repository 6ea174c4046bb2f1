"""Streams of a real media worker to a real program: what each hears, and how it ends."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from media.one_worker import SDP, Call, OneWorker
from media.program import FRAME, Program, Speaker, Talk, echo, listens, tone
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from softswitch.media.orders import (
    Ask,
    Gone,
    Here,
    Release,
    StopStream,
    Stream,
    StreamEnded,
    Streaming,
    Up,
)
from tests.signed import Authority


@pytest.fixture
def worker() -> Iterator[OneWorker]:
    """It has to be there at the end, and to have said nothing of errors."""
    worker = OneWorker()
    try:
        yield worker
        worker.order(Ask())
        worker.until(Here)
    finally:
        said = worker.close()
    assert "Traceback" not in said, said


@pytest.fixture
def speakers() -> Iterator[Callable[..., Speaker]]:
    """Callers, by the tones that they say."""
    made: list[Speaker] = []

    def speaker(hz: float = 440.0, level_db: float = -10.0) -> Speaker:
        made.append(Speaker(hz, level_db))
        return made[-1]

    yield speaker
    for one in made:
        one.close()


@pytest.fixture
def speaker(speakers: Callable[..., Speaker]) -> Speaker:
    return speakers()


def up(worker: OneWorker, speaker: Speaker, number: int = 1) -> Call:
    """A call for that port whose caller is heard."""
    call = worker.call(number, SDP.replace("40000", str(speaker.port)))
    call.send("ACK")
    worker.until(Up)
    media = next(line for line in call.body.splitlines() if line.startswith("m=audio"))
    speaker.begin(int(media.split()[1]))
    return call


def order(url: str, port: int = 1, job: int = 1, **more: object) -> Stream:
    settings = {"sid": "0199/hq/1", "call_id": "0199", "switch": "hq", **more}
    return Stream(port, job, url, **settings)  # type: ignore[arg-type]


def ended(worker: OneWorker) -> StreamEnded:
    return worker.until(StreamEnded)


# --- what is heard


def test_echo(worker: OneWorker, speaker: Speaker) -> None:
    """The caller's tone is in what the program gets, and in what the caller hears, as loud as it
    was."""
    up(worker, speaker)
    with Program(echo) as program:
        parameters = (("caller", "1001"), ("callee", "80"))
        headers = (("Authorization", "Bearer s3cret"),)
        worker.order(order(program.url, parameters=parameters, headers=headers))
        assert worker.until(Streaming) == Streaming(1, 1)
        heard = speaker.until(440)
        assert heard.level_db == pytest.approx(-10, abs=0.5)
        (talk,) = program.talks
    assert talk.headers["Authorization"] == "Bearer s3cret"
    assert talk.headers["User-Agent"] == "softswitch"
    assert "Sec-WebSocket-Extensions" not in talk.headers
    assert talk.got[0] == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert talk.got[1] == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": "0199/hq/1",
        "start": {
            "accountSid": "hq",
            "streamSid": "0199/hq/1",
            "callSid": "0199",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"caller": "1001", "callee": "80"},
        },
    }
    media = [one for one in talk.got if one["event"] == "media"]
    for number, one in enumerate(media):
        assert one["streamSid"] == "0199/hq/1"
        assert one["sequenceNumber"] == str(number + 2)
        assert one["media"]["track"] == "inbound"
        assert one["media"]["chunk"] == str(number + 1)
    stamps = [int(one["media"]["timestamp"]) for one in media]
    assert {b - a for a, b in itertools.pairwise(stamps)} == {20}


def test_what_the_program_hears(worker: OneWorker, speakers: Callable[..., Speaker]) -> None:
    levels = []
    measured = threading.Event()

    def measures(talk: Talk) -> None:
        talk.start()
        # Until pjsua2 knows how late this caller's packets are there may be gaps.
        while not levels or levels[-1].hz is None:
            levels.append(talk.hears())
        measured.set()
        talk.drain()

    up(worker, speakers(620, -20.0))
    with Program(measures) as program:
        worker.order(order(program.url))
        worker.until(Streaming)
        assert measured.wait(15)
        assert levels[-1].hz == pytest.approx(620, abs=2)
        assert levels[-1].level_db == pytest.approx(-20, abs=0.5)


def test_sixteen_bits(worker: OneWorker, speaker: Speaker) -> None:
    up(worker, speaker)
    with Program(echo) as program:
        worker.order(order(program.url, linear=True))
        assert speaker.until(440).level_db == pytest.approx(-10, abs=0.5)
        (talk,) = program.talks
    assert talk.got[1]["start"]["mediaFormat"]["encoding"] == "audio/x-l16"
    payload = next(one for one in talk.got if one["event"] == "media")["media"]["payload"]
    assert len(payload) == (2 * FRAME + 2) // 3 * 4


def test_a_mark_comes_back_when_what_was_before_it_is_heard(
    worker: OneWorker, speaker: Speaker
) -> None:
    """And at once, if there is nothing before it."""

    def says(talk: Talk) -> None:
        talk.start()
        talk.mark("at once")
        assert talk.next("mark")["mark"] == {"name": "at once"}
        talk.say(tone(800, 1.0))
        talk.mark("half")
        talk.say(tone(800, 1.0) + tone(800, 0.013))
        talk.mark("all")
        before = len(talk.got)
        assert talk.next("mark")["mark"] == {"name": "half"}
        half = len(talk.got)
        assert talk.next("mark")["mark"] == {"name": "all"}
        assert 40 <= half - before <= 120
        assert 40 <= len(talk.got) - half <= 120

    up(worker, speaker)
    with Program(says) as program:
        worker.order(order(program.url))
        assert speaker.until(800).level_db == pytest.approx(-10, abs=0.5)
        program.until_over()
        assert ended(worker).why == "closed"
    speaker.until(None)


def test_clear(worker: OneWorker, speaker: Speaker) -> None:
    """What waits is not heard any more, and its marks come back at once."""
    heard, silent = threading.Event(), threading.Event()

    def says(talk: Talk) -> None:
        talk.start()
        talk.say(tone(800, 30.0))
        talk.mark("one")
        talk.say(tone(500, 30.0))
        talk.mark("two")
        assert heard.wait(15)
        assert "mark" not in talk.events()
        talk.send("clear")
        before = time.monotonic()
        assert [talk.next("mark")["mark"]["name"] for _ in range(2)] == ["one", "two"]
        assert time.monotonic() - before < 10
        assert silent.wait(15)
        talk.say(tone(650, 30.0))
        talk.drain()

    up(worker, speaker)
    with Program(says) as program:
        worker.order(order(program.url))
        speaker.until(800)
        heard.set()
        speaker.until(None)
        silent.set()
        speaker.until(650)
        worker.order(StopStream(1))
        assert ended(worker).why == "stopped"
        speaker.until(None)
        program.until_over()


def test_keys(worker: OneWorker, speaker: Speaker) -> None:
    call = up(worker, speaker)
    with Program(listens) as program:
        worker.order(order(program.url))
        worker.until(Streaming)
        for key in b"5#":
            call.info(b"Signal=%c\r\nDuration=160\r\n" % key)
        assert worker.digits_until("#") == "5#"
        worker.order(StopStream(1))
        talk = program.until_over()
    keys = [one for one in talk.got if one["event"] == "dtmf"]
    assert [one["dtmf"] for one in keys] == [
        {"track": "inbound_track", "digit": "5"},
        {"track": "inbound_track", "digit": "#"},
    ]
    numbers = [int(one["sequenceNumber"]) for one in talk.got[1:]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_another_agreement(worker: OneWorker, speakers: Callable[..., Speaker]) -> None:
    """The caller's audio comes from elsewhere after a re-INVITE: the stream goes on with that."""
    first, second = speakers(), speakers(700)
    call = up(worker, first)
    with Program(echo) as program:
        worker.order(order(program.url))
        first.until(440)
        call.invite(SDP.replace("40000", str(second.port)).replace("o=- 1 1", "o=- 1 2"))
        call.send("ACK")
        media = next(line for line in call.body.splitlines() if line.startswith("m=audio"))
        first.close()
        second.begin(int(media.split()[1]))
        second.until(700)
        assert len(program.talks) == 1


def test_who_holds(worker: OneWorker, speaker: Speaker) -> None:
    """The program is there all the while, and hears the caller again afterwards."""
    call = up(worker, speaker)
    with Program(echo) as program:
        worker.order(order(program.url))
        speaker.until(440)
        sdp = SDP.replace("40000", str(speaker.port))
        for version, way in ((2, "inactive"), (3, "sendrecv")):
            body = sdp.replace("o=- 1 1", f"o=- 1 {version}") + f"a={way}\r\n"
            call.invite(body)
            call.send("ACK")
            assert call.status == 200
            worker.all_said()
            speaker.heard.clear()
        speaker.until(440)
        assert len(program.talks) == 1


# --- how it ends


def test_the_caller_hangs_up(worker: OneWorker, speaker: Speaker) -> None:
    call = up(worker, speaker)
    with Program(listens) as program:
        worker.order(order(program.url))
        worker.until(Streaming)
        call.send("BYE")
        call.final("BYE")
        worker.until(Gone)
        talk = program.until_over()
    assert talk.got[-1]["event"] == "stop"
    assert talk.got[-1]["stop"] == {"accountSid": "hq", "callSid": "0199"}
    assert talk.code == 1000


def test_the_switch_hangs_up(worker: OneWorker, speaker: Speaker) -> None:
    up(worker, speaker)
    with Program(listens) as program:
        worker.order(order(program.url))
        worker.until(Streaming)
        worker.order(Release(1))
        talk = program.until_over()
    assert talk.got[-1]["event"] == "stop"
    assert talk.code == 1000


def test_one_takes_the_place_of_another(worker: OneWorker, speaker: Speaker) -> None:
    up(worker, speaker)
    with Program(listens) as first, Program(echo) as second:
        worker.order(order(first.url))
        worker.until(Streaming)
        worker.order(order(second.url, job=2))
        assert ended(worker) == StreamEnded(1, 1, "stopped", "", pytest.approx(0, abs=10))
        assert worker.until(Streaming) == Streaming(1, 2)
        speaker.until(440)
        assert first.until_over().code == 1000


CODES = [
    (1000, "", "closed", ""),
    (None, "", "closed", ""),
    (1001, "", "lost", "it closed with 1001"),
    (1011, "no model", "lost", "it closed with 1011: no model"),
    (4000, "bell\a", "lost", "it closed with 4000"),
]


@pytest.mark.parametrize(("code", "reason", "why", "error"), CODES)
def test_it_closes(
    worker: OneWorker, speaker: Speaker, code: int | None, reason: str, why: str, error: str
) -> None:
    """By a code, or without one."""

    def closes(talk: Talk) -> None:
        talk.start()
        talk.hears(3)
        if code is None:
            with talk.connection.protocol_mutex:
                talk.connection.protocol.send_close()
                for data in talk.connection.protocol.data_to_send():
                    talk.connection.socket.sendall(data)
            talk.drain()
        else:
            talk.connection.close(code, reason)

    up(worker, speaker)
    with Program(closes) as program:
        worker.order(order(program.url))
        said = ended(worker)
        assert (said.why, said.error) == (why, error)
        assert said.seconds > 0


def test_its_last_words_are_heard(worker: OneWorker, speaker: Speaker) -> None:
    """It says all that it has to say, and closes at once."""

    def says(talk: Talk) -> None:
        talk.start()
        talk.say(tone(800, 1.5))

    up(worker, speaker)
    with Program(says) as program:
        worker.order(order(program.url))
        worker.until(Streaming)
        program.until_over()
        speaker.until(800)
        said = ended(worker)
        assert said.why == "closed"
        assert said.seconds > 1.0
        speaker.until(None)


def test_its_last_words_are_cut_by_who_hangs_up(worker: OneWorker, speaker: Speaker) -> None:
    def says(talk: Talk) -> None:
        talk.start()
        talk.say(tone(800, 60.0))

    call = up(worker, speaker)
    with Program(says) as program:
        worker.order(order(program.url))
        program.until_over()
        speaker.until(800)
        call.send("BYE")
        call.final("BYE")
        worker.until(Gone)


def test_it_vanishes(worker: OneWorker, speaker: Speaker) -> None:
    def vanishes(talk: Talk) -> None:
        talk.start()
        talk.hears(3)
        talk.connection.socket.shutdown(socket.SHUT_RDWR)

    up(worker, speaker)
    with Program(vanishes) as program:
        worker.order(order(program.url))
        said = ended(worker)
        assert (said.why, said.error) == ("lost", "the connection is gone")


# --- who cannot be had


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def test_nobody_is_there(worker: OneWorker, speaker: Speaker) -> None:
    up(worker, speaker)
    worker.order(order(f"ws://127.0.0.1:{free_port()}/"))
    assert ended(worker) == StreamEnded(1, 1, "unreachable", "Connection refused")
    worker.order(order("ws://nobody.invalid/", job=2))
    said = ended(worker)
    assert (said.job, said.why) == (2, "unreachable")
    assert said.error
    with Program(echo) as program:
        worker.order(order(program.url, job=3))
        speaker.until(440)


@pytest.mark.parametrize("status", [302, 403, 404, 500])
def test_it_refuses(worker: OneWorker, speaker: Speaker, status: int) -> None:
    """A redirection is not followed."""

    def answer(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(status, "no\n")
        response.headers["Location"] = "ws://127.0.0.1:1/"
        return response

    up(worker, speaker)
    with Program(echo, process_request=answer) as program:
        worker.order(order(program.url))
        assert ended(worker) == StreamEnded(1, 1, "refused", f"it answers {status}")


class Raw:
    """A server that says these bytes, whatever it is asked; without any it says nothing."""

    def __init__(self, says: bytes, stays: bool = True) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.port: int = self._server.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}/"
        self._says, self._stays = says, stays
        self.there: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._server.accept()
                self.there.append(one)
                one.recv(1000)
                one.sendall(self._says)
                if not self._stays:
                    one.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for one in self.there:
            one.close()
        self._thread.join()


@pytest.mark.parametrize(
    "says",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: AAAA\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"",
    ],
)
def test_it_is_no_websocket(worker: OneWorker, speaker: Speaker, says: bytes) -> None:
    up(worker, speaker)
    with Raw(says, stays=False) as program:
        worker.order(order(program.url))
        said = ended(worker)
        assert said.why == "refused", said
        assert said.error
        assert said.error.isprintable()


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 101 Switch"])
def test_it_does_not_answer_in_time(worker: OneWorker, speaker: Speaker, says: bytes) -> None:
    up(worker, speaker)
    with Raw(says) as program:
        worker.order(order(program.url, connect=0.5))
        assert ended(worker) == StreamEnded(1, 1, "late", "it was not there within 0.5 s")


def test_it_is_stopped_before_it_is_there(worker: OneWorker, speaker: Speaker) -> None:
    up(worker, speaker)
    with Raw(b"") as program:
        worker.order(order(program.url))
        worker.order(StopStream(1))
        assert ended(worker) == StreamEnded(1, 1, "stopped")


def test_a_port_that_there_is_not(worker: OneWorker) -> None:
    worker.order(order("ws://127.0.0.1:1/", port=7))
    worker.order(StopStream(7))
    assert ended(worker) == StreamEnded(7, 1, "stopped", "no such port")


# --- TLS


def server(authority: Authority) -> ssl.SSLContext:
    """Of localhost, signed by that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost"))
    return context


def test_tls(worker: OneWorker, speaker: Speaker, tmp_path: Path) -> None:
    """The certificate has to be right, by the authorities that are said."""
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    up(worker, speaker)
    with Program(echo, tls=server(ours)) as program:
        worker.order(order(program.url, ca=str(ours.path)))
        assert speaker.until(440).level_db == pytest.approx(-10, abs=0.5)
        worker.order(StopStream(1))
        assert ended(worker).why == "stopped"
        for job, ca in ((2, ""), (3, str(others.path))):
            worker.order(order(program.url, job=job, ca=ca))
            said = ended(worker)
            assert said.why == "tls"
            assert said.error.startswith("its certificate is not right: ")
        url = program.url.replace("localhost", "127.0.0.1")
        worker.order(order(url, job=4, ca=str(ours.path)))
        said = ended(worker)
        assert said.why == "tls"
        assert "127.0.0.1" in said.error
        worker.order(order(program.url, job=5, ca=str(tmp_path / "nothing.pem")))
        said = ended(worker)
        assert said.why == "tls"
        assert "nothing.pem" in said.error


def test_tls_where_there_is_none(worker: OneWorker, speaker: Speaker) -> None:
    up(worker, speaker)
    with Program(echo) as program:
        worker.order(order(program.url.replace("ws:", "wss:")))
        assert ended(worker).why == "tls"


# --- what programs send


GARBAGE = [
    "this is no JSON",
    "[]",
    "7",
    '{"event": 7}',
    '{"event": "media"}',
    '{"event": "media", "media": {}}',
    '{"event": "media", "media": {"payload": "no base 64"}}',
    '{"event": "media", "media": {"payload": 12}}',
    '{"event": "mark"}',
    '{"event": "mark", "mark": {"name": null}}',
    json.dumps({"event": "mark", "mark": {"name": "x" * 257}}),
    "[" * 100_000,
    b'{"event": "clear"}',
    "x" * 2_000_000,
]


@pytest.mark.parametrize("what", GARBAGE, ids=lambda what: repr(what)[:30])
def test_garbage(worker: OneWorker, speaker: Speaker, what: str | bytes) -> None:
    """It is closed with a code that says so, and the caller goes on."""

    def sends(talk: Talk) -> None:
        talk.start()
        talk.connection.send(what)
        talk.drain()

    up(worker, speaker)
    with Program(sends) as program:
        worker.order(order(program.url))
        said = ended(worker)
        assert said.why == "garbage"
        assert said.error
        talk = program.until_over()
        assert talk.code in (1003, 1007, 1009)


def test_half_a_sample(worker: OneWorker, speaker: Speaker) -> None:
    def sends(talk: Talk) -> None:
        talk.start()
        talk.say(b"\0\0\0")
        talk.drain()

    up(worker, speaker)
    with Program(sends) as program:
        worker.order(order(program.url, linear=True))
        assert ended(worker).why == "garbage"


def test_what_is_passed_over(worker: OneWorker, speaker: Speaker) -> None:
    """What others may have to say to each other."""

    def sends(talk: Talk) -> None:
        talk.start()
        for one in ("{}", '{"label": "rtvi-ai", "type": "bot-ready"}', '{"event": "hello"}'):
            talk.connection.send(one)
        talk.connection.send(list('{"event": "mark", "mark": {"name": "parts"}}'))
        assert talk.next("mark")["mark"]["name"] == "parts"
        talk.say(b"")
        talk.mark("nothing")
        assert talk.next("mark")["mark"]["name"] == "nothing"
        talk.connection.ping().wait(5)

    up(worker, speaker)
    with Program(sends) as program:
        worker.order(order(program.url))
        program.until_over()
        assert ended(worker).why == "closed"


def test_a_flood_of_audio(worker: OneWorker, speaker: Speaker) -> None:
    """As much as may wait is taken, and no more."""

    def says(talk: Talk) -> None:
        talk.start()
        talk.say(tone(800, 2.0))
        while True:
            talk.say(tone(800, 0.02))

    up(worker, speaker)
    with Program(says) as program:
        worker.order(order(program.url, buffer=5.0))
        said = ended(worker)
        assert (said.why, said.error) == ("flood", "more than 5 s of audio wait to be heard")
        talk = program.until_over()
        assert talk.code == 1008
        assert talk.reason == "more than 5 s of audio wait to be heard"
    speaker.until(None)


def test_a_flood_of_marks(worker: OneWorker, speaker: Speaker) -> None:
    def says(talk: Talk) -> None:
        talk.start()
        talk.say(tone(800, 60.0))
        while True:
            talk.mark("x")

    up(worker, speaker)
    with Program(says) as program:
        worker.order(order(program.url))
        assert ended(worker).why == "flood"


def test_a_flood_costs_the_neighbours_nothing(
    worker: OneWorker, speakers: Callable[..., Speaker]
) -> None:
    """Who sends without end what costs work is read as fast as may be, and no faster."""
    over = threading.Event()
    one, other = speakers(440), speakers(550)

    def sends(talk: Talk) -> None:
        talk.start()
        many = ['{"event": "clear"}'] * 1000
        while not over.is_set():
            for text in many:
                talk.connection.send(text)

    up(worker, one)
    up(worker, other, 2)
    with Program(sends) as flood, Program(echo) as program:
        worker.order(order(flood.url))
        worker.order(order(program.url, port=2))
        other.until(550)
        other.heard.clear()
        while len(other.heard) < 100:
            time.sleep(0.05)
        frames = list(other.heard)[:100]
        over.set()
        flood.until_over()
    silent = sum(set(frame) <= {0xFF, 0x7F, 0xFE, 0x7E} for frame in frames)
    assert silent <= 25, silent


# --- programs that do not read


def test_it_does_not_answer_pings(worker: OneWorker, speaker: Speaker) -> None:
    """Who does not read does not answer either."""
    over = threading.Event()

    def sleeps(talk: Talk) -> None:
        talk.start()
        over.wait(15)

    up(worker, speaker)
    with Program(sleeps, max_queue=1) as program:
        worker.order(order(program.url, ping=1.0))
        said = ended(worker)
        over.set()
    assert (said.why, said.error) == ("slow", "it does not answer a ping within 1 s")


def test_it_does_not_read(worker: OneWorker, speaker: Speaker) -> None:
    """No more than `backlog` waits for it, besides what the system keeps."""
    up(worker, speaker)
    over = threading.Event()

    def sleeps(talk: Talk) -> None:
        talk.start()
        over.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with Program(sleeps, sock=listener, max_queue=1) as program:
            worker.order(order(program.url, ping=0.0, backlog=1.0))
            said = worker.until(StreamEnded, 40)
            over.set()
    assert (said.why, said.error) == ("slow", "it has not taken 1 s of what was to be sent")
    assert said.seconds < 30


# --- what is left


def test_nothing_is_left(worker: OneWorker, speaker: Speaker, tmp_path: Path) -> None:
    """After many streams, however they ended: as many threads, files and sockets as after a few."""
    authority = Authority(tmp_path, "ours")
    up(worker, speaker)

    def goes(talk: Talk) -> None:
        talk.start()
        talk.say(tone(500, 0.1))

    job = 0
    counts = []
    with (
        Program(echo) as plain,
        Program(echo, tls=server(authority)) as secret,
        Program(goes) as going,
        Raw(b"") as silent,
    ):
        for _ in range(6):
            for url in (plain.url, secret.url):
                job += 1
                worker.order(order(url, job=job, ca=str(authority.path)))
                worker.until(Streaming)
                worker.order(StopStream(1))
                assert ended(worker).job == job
            job += 1
            worker.order(order(going.url, job=job))
            assert ended(worker).why == "closed"
            job += 1
            worker.order(order(silent.url, job=job, connect=0.2))
            assert ended(worker).why == "late"
            job += 1
            worker.order(order(f"ws://127.0.0.1:{free_port()}/", job=job))
            assert ended(worker).why == "unreachable"
            counts.append(settled(worker.pid))
    assert counts[-1] <= counts[0], counts


def settled(pid: int) -> tuple[int, int]:
    """Threads and descriptors of a process, once they are as few as they were."""
    end = time.monotonic() + 5
    least = (999, 999)
    while time.monotonic() < end:
        now = len(os.listdir(f"/proc/{pid}/task")), len(os.listdir(f"/proc/{pid}/fd"))
        if now >= least:
            return least
        least = now
        time.sleep(1.2)
    return least


def test_the_worker_is_killed(speaker: Speaker) -> None:
    """The program sees that nobody is there any more."""
    worker = OneWorker()
    try:
        up(worker, speaker)
        with Program(listens) as program:
            worker.order(order(program.url))
            worker.until(Streaming)
            os.kill(worker.pid, signal.SIGKILL)
            talk = program.until_over()
        assert talk.code == 1006
        assert "stop" not in talk.events()
    finally:
        worker.close()


def test_many_at_once(worker: OneWorker, speakers: Callable[..., Speaker]) -> None:
    """Each hears its own program, which hears it."""
    callers = [speakers(400 + 60 * number) for number in range(worker.size)]
    with Program(echo) as program:
        for number, one in enumerate(callers, 1):
            up(worker, one, number)
            worker.order(order(program.url, port=number, sid=f"call/{number}"))
        for number, one in enumerate(callers):
            one.until(400 + 60 * number)
        assert len(program.talks) == worker.size
