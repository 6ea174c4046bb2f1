"""``softswitch phone`` against itself: two processes, real SIP, real audio, measured."""

from __future__ import annotations

import json
import math
import signal
import socket
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from softswitch.lab.children import LabError, PhoneChild
from softswitch.phone.tones import Listener, listen, samples_of, sine

StartPhone = Callable[..., PhoneChild]
PHONE = [sys.executable, "-m", "softswitch.phone"]


def connect(alice: PhoneChild, bob: PhoneChild) -> None:
    alice.send(f"call {bob.uri}")
    alice.expect("answered")
    bob.expect("answered")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_each_hears_the_tone_of_the_other(start_phone: StartPhone, transport: str) -> None:
    bob = start_phone("bob", "--answer", "--tone", "660", "--transport", transport)
    alice = start_phone("alice", "--tone", "440", "--name", 'Alice "A"', "--transport", transport)
    connect(alice, bob)
    heard = bob.expect_tone(440)
    alice.expect_tone(660)
    assert -12 < heard["level_db"] < -6
    alice.send("hangup")
    ended = alice.expect("ended", status=200, by="local", answered=True)
    assert bob.expect("ended", by="remote", answered=True)["seconds"] == pytest.approx(
        ended["seconds"], abs=0.2
    )


def test_events_of_a_call_in_order(start_phone: StartPhone) -> None:
    bob = start_phone("bob", "--answer-after", "0.3")
    alice = start_phone("alice")
    connect(alice, bob)
    assert [e["event"] for e in alice.events if e["event"] != "heard"] == [
        "ready",
        "calling",
        "ringing",
        "media",
        "answered",
    ]
    ringing, answered = alice.events[2], alice.events[4]
    assert ringing["status"] == 180
    assert answered["at"] - ringing["at"] == pytest.approx(0.3, abs=0.2)
    assert alice.events[3]["codec"] == "PCMU/8000"
    assert bob.events[1]["from"] == "<sip:alice@127.0.0.1>"


@pytest.mark.parametrize("status", [486, 404, 603])
def test_refused_call(start_phone: StartPhone, status: int) -> None:
    bob = start_phone("bob", "--reject", str(status))
    alice = start_phone("alice")
    alice.send(f"call {bob.uri}")
    alice.expect("ended", status=status, answered=False, by="remote")
    bob.expect("ended", status=status, answered=False, by="local")


def test_more_calls_than_allowed_are_busy(start_phone: StartPhone) -> None:
    bob = start_phone("bob", "--answer", "--max-calls", "1")
    alice, carol = start_phone("alice"), start_phone("carol")
    connect(alice, bob)
    carol.send(f"call {bob.uri}")
    carol.expect("ended", status=486)
    alice.send("hangup")
    alice.expect("ended", status=200)


def test_caller_gives_up_while_it_rings(start_phone: StartPhone) -> None:
    bob = start_phone("bob", "--ring-only")
    alice = start_phone("alice")
    alice.send(f"call {bob.uri}")
    alice.expect("ringing")
    bob.expect("incoming")
    alice.send("hangup")
    alice.expect("ended", status=487, answered=False, by="local")
    bob.expect("ended", answered=False, by="remote")


def test_answered_and_refused_by_command(start_phone: StartPhone) -> None:
    bob, alice = start_phone("bob"), start_phone("alice")
    for command, status in (("answer 503", 503), ('{"cmd": "answer", "arg": 486, "call": 2}', 486)):
        alice.send(f"call {bob.uri}")
        bob.expect("incoming")
        bob.send(command)
        alice.expect("ended", status=status)
    alice.send(f"call {bob.uri}")
    bob.expect("incoming")
    bob.send("answer")
    alice.expect("answered")


@pytest.mark.parametrize("method", ["rfc4733", "info"])
def test_digits_arrive_in_order(start_phone: StartPhone, method: str) -> None:
    bob = start_phone("bob", "--answer")
    options = ("--dtmf", "159#*0", "--dtmf-method", method)
    alice = start_phone("alice", *options)
    connect(alice, bob)
    digits = [bob.expect("dtmf", method=method)["digit"] for _ in range(6)]
    assert digits == list("159#*0")


def test_a_comma_is_a_pause(start_phone: StartPhone) -> None:
    """Whatever the method: both wait at once."""
    pairs = []
    for method in ("rfc4733", "info"):
        bob = start_phone(f"bob-{method}", "--answer")
        alice = start_phone(f"alice-{method}", "--dtmf-method", method)
        connect(alice, bob)
        pairs.append((method, alice, bob))
    for _, alice, _ in pairs:
        alice.send("dtmf 12,,3,")
    for method, alice, bob in pairs:
        times = [bob.expect("dtmf", 10, digit=digit, method=method)["at"] for digit in "123"]
        assert times[2] - times[1] > 2.5  # two of them are 4 s
        alice.send("hangup")
        assert [e["event"] for e in alice.events].count("error") == 0


def test_hold_silences_and_unhold_brings_back(start_phone: StartPhone) -> None:
    bob = start_phone("bob", "--answer", "--tone", "660")
    alice = start_phone("alice", "--tone", "440")
    connect(alice, bob)
    bob.expect_tone(440)
    alice.expect_tone(660)
    alice.send("hold")
    alice.expect("media", state="local_hold")
    bob.expect("media", state="remote_hold")
    bob.expect("heard", silent=True)
    alice.expect("heard", silent=True)
    alice.send("unhold")
    bob.expect("media", state="active")
    bob.expect_tone(440)
    alice.expect_tone(660)
    alice.send("reinvite")
    bob.expect("media", state="active")
    alice.send("tone 880")
    bob.expect_tone(880)


def test_echo_sends_back_what_it_hears(start_phone: StartPhone) -> None:
    bob = start_phone("bob", "--answer", "--echo")
    alice = start_phone("alice", "--tone", "523")
    connect(alice, bob)
    alice.expect_tone(523)


def test_plays_one_file_and_records_another(start_phone: StartPhone, tmp_path: Path) -> None:
    played, recorded = tmp_path / "played.wav", tmp_path / "recorded.wav"
    with wave.open(str(played), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)  # another rate than the call's: it is converted
        file.writeframes(sine(990, 1.0, 16000).tobytes())
    bob = start_phone("bob", "--answer", "--record", str(recorded))
    alice = start_phone("alice", "--play", str(played))
    connect(alice, bob)
    bob.expect_tone(990)
    alice.send("hangup")
    bob.expect("ended")
    assert bob.stop() == 0
    with wave.open(str(recorded)) as file:
        assert file.getframerate() == 8000
        samples = samples_of(file.readframes(file.getnframes()))
    listener = Listener(8000)
    told = [listener.window(samples[n : n + 800].tobytes()) for n in range(0, len(samples), 800)]
    assert any(heard and heard.hz and math.isclose(heard.hz, 990, abs_tol=3) for heard in told)


def test_blind_transfer(start_phone: StartPhone) -> None:
    """Whom a phone transfers may be one of ours: without a switch it calls there itself."""
    bob = start_phone("bob", "--answer", "--tone", "660")
    carol = start_phone("carol", "--answer", "--tone", "880")
    alice = start_phone("alice", "--tone", "440")
    connect(alice, bob)
    alice.send(f"transfer {carol.uri}")
    alice.expect("transfer", status=200, final=True)
    alice.expect("ended", by="local", answered=True)
    bob.expect_tone(880)
    carol.expect_tone(660)


def test_attended_transfer(start_phone: StartPhone) -> None:
    bob = start_phone("bob", "--answer", "--tone", "660")
    carol = start_phone("carol", "--answer", "--tone", "880")
    alice = start_phone("alice", "--tone", "440")
    connect(alice, bob)
    connect(alice, carol)
    alice.send("attended")
    alice.expect("transfer", call=1, status=200, final=True)
    bob.expect_tone(880)
    carol.expect_tone(660)
    alice.until(lambda: sum(e["event"] == "ended" for e in alice.events) == 2, 5, "end of both")
    bob.send("hangup")
    carol.expect("ended", call=2, by="remote")


@pytest.mark.parametrize(("options", "why"), [(["--max-calls", "1"], 486), ([], 404)])
def test_transfer_of_which_nothing_comes(
    start_phone: StartPhone, options: list[str], why: int
) -> None:
    """Whom it is about has no room for another call; who is called refuses. They talk on."""
    bob = start_phone("bob", "--answer", "--tone", "660", *options)
    carol = start_phone("carol", "--reject", "404")
    alice = start_phone("alice", "--tone", "440")
    connect(alice, bob)
    alice.expect_tone(660)
    alice.send(f"transfer {carol.uri}")
    alice.expect("transfer", status=why, final=True)
    alice.send("tone 523")
    bob.expect_tone(523)


@pytest.mark.parametrize("refused", [False, True])
def test_one_shot_transfer(start_phone: StartPhone, refused: bool) -> None:
    bob = start_phone("bob", "--answer", "--tone", "660")
    carol = start_phone("carol", *(["--reject", "486"] if refused else ["--answer"]))
    alice = subprocess.run(
        [*PHONE, "--no-register", "--call", bob.uri, "--transfer", carol.uri],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    said = "call 1: transfer: 486 Busy Here" if refused else "call 1: transfer: 200 OK"
    assert said in alice.stdout.splitlines()
    assert alice.returncode == (1 if refused else 0)
    if not refused:
        carol.expect_tone(660)


def test_mistakes_in_commands_are_said_and_cost_nothing(start_phone: StartPhone) -> None:
    alice = start_phone("alice")
    for command, part in (
        ("sing", "not a command"),
        ("call", "of what"),
        ("call 2001", "needs a registrar"),
        ("hangup", "no call"),
        ("answer", "no call is ringing"),
        ("tone loud", "not a number"),
        ("transfer", "of what"),
        ("transfer 2001", "no call"),
        ("attended", "takes two calls"),
        ("tone 9000", "9000 Hz"),
        ('{"cmd": 1}', '{"cmd": VERB'),
        ('{"cmd"', "not JSON"),
        ("dtmf '1", "No closing quotation"),
        ("a b c", "too many words"),
        ("x" * 5000, "at most 4096"),
    ):
        alice.send(command)
        assert part in alice.expect("error")["message"]
    alice.send("quit")
    alice.until(lambda: alice.status == 0, 5, "end")


def test_one_shot_call_in_words(start_phone: StartPhone) -> None:
    bob = start_phone("bob", "--answer", "--tone", "700")
    alice = subprocess.run(
        [*PHONE, "--no-register", "--call", bob.uri, "--duration", "1.5"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (alice.returncode, alice.stderr) == (0, "")
    lines = alice.stdout.splitlines()
    assert "call 1: answered" in lines
    assert any(
        line.startswith(("call 1: heard a tone of 700", "call 1: heard a tone of 699"))
        for line in lines
    )
    assert lines[-1].startswith("call 1: ended: 200 OK (local, 1.")


def test_one_shot_call_refused_is_status_1(start_phone: StartPhone) -> None:
    bob = start_phone("bob", "--reject", "486")
    alice = subprocess.run(
        [*PHONE, "--no-register", "--json", "--call", bob.uri],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert alice.returncode == 1
    assert json.loads(alice.stdout.splitlines()[-1])["status"] == 486


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_hangs_up(start_phone: StartPhone, number: signal.Signals) -> None:
    bob = start_phone("bob", "--answer")
    alice = start_phone("alice")
    connect(alice, bob)
    alice.signal(number)
    bob.expect("ended", by="remote", answered=True)
    alice.until(lambda: alice.status == 0, 5, "end")


def test_end_of_input_hangs_up_and_ends(start_phone: StartPhone) -> None:
    bob = start_phone("bob", "--answer")
    alice = start_phone("alice")
    connect(alice, bob)
    alice.close_input()
    bob.expect("ended", by="remote", answered=True)
    alice.until(lambda: alice.status == 0, 5, "end")


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ([], 2, "give --registrar"),
        (["--no-register", "--answer", "--reject", "486"], 2, "exclude one another"),
        (["--no-register", "--listen", "127.0.0.1:x"], 2, "not HOST:PORT"),
        (
            ["--no-register", "--codec", "MP3/8000"],
            1,
            "codec MP3/8000 is not one of G722/16000, GSM",
        ),
        (["--no-register", "--play", "/nowhere.wav"], 1, "cannot play /nowhere.wav"),
        (["--no-register", "--record", "/nowhere/x.wav"], 1, "cannot record to /nowhere/x.wav"),
    ],
)
def test_wrong_options(options: list[str], status: int, said: str) -> None:
    run = subprocess.run(
        [*PHONE, *options], capture_output=True, text=True, timeout=20, check=False
    )
    assert run.returncode == status
    assert said in run.stderr
    assert run.stdout == ""


def test_port_in_use_is_one_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        run = subprocess.run(
            [*PHONE, "--no-register", "--listen", address],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert run.returncode == 1
    assert run.stderr == (
        f"softswitch phone: cannot listen on udp:{address}: Address already in use\n"
    )


def test_registrar_that_does_not_answer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        registrar = f"127.0.0.1:{free.getsockname()[1]}"
        run = subprocess.run(
            [*PHONE, "--registrar", registrar, "--user", "1", "--transport", "tcp", "--call", "2"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert run.returncode == 1
    assert "registration failed: 503" in run.stdout


def test_what_is_not_heard_is_an_error(start_phone: StartPhone) -> None:
    bob = start_phone("bob", "--answer", "--tone", "660")
    alice = start_phone("alice", "--tone", "440")
    connect(alice, bob)
    with pytest.raises(LabError, match="phone bob did not hear 500 Hz"):
        bob.expect_tone(500, seconds=1.5)
    assert listen(sine(500, 0.1, 8000), 8000).hz == 500
