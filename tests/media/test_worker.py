"""A media worker by itself: what it tells, and when; nothing that comes from callers ends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from media.one_worker import SDP, OneWorker

from softswitch.media.orders import (
    Ask,
    Echo,
    Expect,
    File,
    Gone,
    Here,
    Play,
    Played,
    Record,
    Recorded,
    Release,
    StopRecording,
    Tone,
    Up,
)


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


def test_it_is_up_when_it_is_acknowledged(worker: OneWorker) -> None:
    """The switch acknowledges when it knows that the two talk: an application that goes on at once
    would find nobody before."""
    call = worker.call(1)
    assert call.status == 200
    assert not [one for one in worker.all_said() if isinstance(one, Up)]
    call.send("ACK")
    assert worker.until(Up) == Up(1)


def test_who_makes_no_offer(worker: OneWorker) -> None:
    """Its answer comes with the ACK."""
    call = worker.call(1, "")
    assert "m=audio" in call.body
    assert not [one for one in worker.all_said() if isinstance(one, Up)]
    call.send("ACK", SDP.encode(), "application/sdp")
    assert worker.until(Up) == Up(1)


KEYS = [
    (b"Signal=5\r\nDuration=160\r\n", "5"),
    (b"Signal=*\r\nDuration=160\r\n", "*"),
    (b"Signal=#\r\n", "#"),
    (b"Signal=D\r\n", "D"),
    (b"Signal=\xff\r\nDuration=160\r\n", ""),
    (b"Signal=\xc3\xa9\r\n", ""),
    (b"Signal=x\r\n", ""),
    (b"Signal= \r\n", ""),
    (b"", ""),
    (b"Signal=9\r\n", "9"),
]
"""Those that end a process with pjsua2, such as "Signal=", do not come: see `calls.codes`."""


def test_keys_by_info(worker: OneWorker) -> None:
    """What is no key is none, whatever it is."""
    call = worker.up(1)
    for body, digit in KEYS:
        call.info(body)
        call.info(b"Signal=0\r\n")
        assert worker.digits_until("0") == f"{digit}0", body


@pytest.mark.parametrize("tone", [Tone(440, on=45_000), Tone(440, on=100, off=60_000, times=2)])
def test_long_tones(worker: OneWorker, tone: Tone) -> None:
    """Longer than pjsua2 has numbers for. They are played like others, and end like others."""
    worker.up(1)
    worker.order(Play(1, 1, (tone,)))
    worker.all_said()
    worker.order(Play(1, 2, (Tone(880, on=50),)))
    assert worker.until(Played) == Played(1, 2)


def test_there_is_room_again_when_it_is_told(worker: OneWorker) -> None:
    """Of a worker that is full: pjsua2 refuses another call until the BYE of one is answered, by
    whomever it was sent. Only then is the port gone."""
    calls = [worker.up(number) for number in range(1, worker.size + 1)]
    worker.order(Release(1))
    bye = calls[0].get("BYE", "BYE")
    assert not [one for one in worker.said if isinstance(one, Gone)]
    calls[0].answer(bye)
    assert worker.until(Gone) == Gone(1)
    worker.up(90)
    calls[1].send("BYE")
    assert worker.until(Gone) == Gone(2)
    worker.up(91)
    assert worker.call(92).status == 486, "it is full"
    worker.order(Release(92))
    assert worker.until(Gone) == Gone(92)


def test_a_port_whose_call_never_came(worker: OneWorker) -> None:
    """It is gone as soon as it is released, and a call that comes then finds nobody."""
    worker.order(Expect(1, "key1"))
    worker.order(Release(1))
    assert worker.until(Gone) == Gone(1)
    worker.order(Release(1))
    worker.order(Play(1, 1, (Tone(440),)))
    assert worker.until(Played).error
    call = worker.call(2)
    call.number = 1
    call.tag = ""
    call.invite(SDP)
    assert call.status == 404


def test_who_hangs_up(worker: OneWorker) -> None:
    call = worker.up(1)
    worker.order(Play(1, 1, (Tone(440, on=1000, times=0),)))
    call.send("BYE")
    call.final("BYE")
    assert worker.until(Gone) == Gone(1)
    worker.order(Echo(1))
    worker.order(StopRecording(1))
    worker.order(Release(1))
    worker.all_said()
    assert worker.said.count(Gone(1)) == 1


def test_one_after_the_other(worker: OneWorker, tmp_path: Path) -> None:
    """Several sounds are one job, each heard once; what cannot be played is told and passed over;
    what takes the place of something tells its own end alone."""
    from softswitch.dialplan.sounds import OWN

    digit = File(str(OWN / "en" / "digit-1.wav"))
    nothing = File(str(tmp_path / "nothing.wav"))
    worker.up(1)
    worker.order(Play(1, 1, (digit, Tone(440, on=50), digit)))
    assert worker.until(Played) == Played(1, 1)
    worker.order(Play(1, 2, (nothing, Tone(440, on=50))))
    played = worker.until(Played)
    assert played.job == 2
    assert "nothing.wav" in played.error
    worker.order(Play(1, 3, (nothing,), loop=True))
    assert worker.until(Played).job == 3
    worker.order(Play(1, 4, (Tone(440, on=1000, times=0),)))
    worker.order(Play(1, 5))
    assert worker.until(Played) == Played(1, 5)


def test_what_is_recorded(worker: OneWorker, tmp_path: Path) -> None:
    """A file that is there already is left as it is; who hangs up ends a recording, and only then
    is gone."""
    call = worker.up(1)
    there = tmp_path / "there.wav"
    there.write_bytes(b"something")
    worker.order(Record(1, 1, str(there), 5.0))
    assert worker.until(Recorded).error
    assert there.read_bytes() == b"something"
    worker.order(Record(1, 2, str(tmp_path / "new.wav"), 5.0))
    worker.all_said()
    call.send("BYE")
    recorded = worker.until(Recorded)
    assert (recorded.job, recorded.why, recorded.error) == (2, "gone", "")
    assert worker.until(Gone) == Gone(1)


def test_whatever_file_is_taken_can_be_played(worker: OneWorker, tmp_path: Path) -> None:
    """What `check_wav` takes pjsua2 plays; what it does not take ends no process, if it was
    written there later."""
    from dialplan.test_sounds import wav

    from softswitch.dialplan.sounds import NoSound, check_wav

    files = {
        "pcm": wav(samples=800),
        "a-law": wav(6, bits=8, samples=800),
        "mu-law": wav(7, bits=8, samples=800),
        "cut": wav(samples=8000)[:-14000],
        "mu-law-cut": wav(7, bits=8, samples=8000)[:-7200],
        "list": wav(samples=800, before=b"LIST\4\0\0\0abcd"),
        **{str(rate): wav(rate=rate, samples=rate // 10) for rate in (8050, 22050, 44100, 48000)},
    }
    worker.up(1)
    for job, (name, content) in enumerate(files.items(), 1):
        path = tmp_path / f"{name}.wav"
        path.write_bytes(content)
        assert check_wav(path) < 0.2, name
        worker.order(Play(1, job, (File(str(path)),)))
        assert worker.until(Played) == Played(1, job), name
    for job, rate in enumerate((8001, 11025, 47999), 50):
        path = tmp_path / f"{rate}.wav"
        path.write_bytes(wav(rate=rate))
        with pytest.raises(NoSound):
            check_wav(path)
        worker.order(Play(1, job, (File(str(path)),)))
        played = worker.until(Played)
        assert str(rate) in played.error


HOSTILE = {
    "no-audio": SDP.replace("m=audio 40000 RTP/AVP 0 101", "m=video 40000 RTP/AVP 31"),
    "port-0": SDP.replace("40000", "0"),
    "no-such-address": SDP.replace("c=IN IP4 127.0.0.1", "c=IN IP4 nowhere.invalid"),
    "address-0": SDP.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0"),
    "no-codec": SDP.replace("RTP/AVP 0 101", "RTP/AVP 77"),
    "clock-0": SDP.replace("RTP/AVP 0 101", "RTP/AVP 96 101") + "a=rtpmap:96 PCMU/0\r\n",
    "ptime-0": SDP + "a=ptime:0\r\n",
    "ptime-huge": SDP + "a=ptime:99999\r\n",
    "maxptime": SDP + "a=ptime:1\r\na=maxptime:1\r\n",
    "savp": SDP.replace("RTP/AVP", "RTP/SAVP"),
    "many-codecs": SDP.replace("RTP/AVP 0", "RTP/AVP " + " ".join(map(str, range(128)))),
    "many-media": SDP + "m=audio 40002 RTP/AVP 0\r\n" * 40,
    "no-sdp": "this is no description",
    "truncated": SDP[:60],
    "event-fmtp": SDP + "a=fmtp:101 0-999999999999\r\n",
    "crypto": SDP.replace("RTP/AVP", "RTP/SAVP")
    + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n",
    "rtcp": SDP + "a=rtcp:99999 IN IP4 127.0.0.1\r\na=rtcp-mux\r\n",
    "ice": SDP + "a=ice-ufrag:x\r\na=ice-pwd:y\r\na=candidate:1 1 UDP 1 127.0.0.1 1 typ host\r\n",
    "six": SDP.replace("IN IP4 127.0.0.1", "IN IP6 ::1"),
}


def test_hostile_descriptions(worker: OneWorker) -> None:
    """Each is answered or refused, and the next caller is served."""
    for number, (name, body) in enumerate(HOSTILE.items(), 1):
        call = worker.call(number, body)
        assert call.status, name
        if call.status == 200:
            call.send("ACK")
            worker.order(Play(number, 1, (Tone(440, on=20),)))
            call.send("BYE")
            call.final("BYE")
            worker.until(Gone)
        else:
            worker.order(Release(number))
            worker.until(Gone)
        worker.all_said()
    worker.up(500)
