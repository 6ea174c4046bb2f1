"""Phones of three makes, told and asked the same way: ours (pjsua2), baresip, linphonec.

Each plays a tone of its own into its calls and answers by itself, and says what it hears while its
calls are up.
"""

from __future__ import annotations

import itertools
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from baresip_phone import Baresip
from linphone_phone import Linphone
from recordings import Recording, tone_file

from softswitch.lab.children import LabError, PhoneChild

PATIENCE = 10.0  # seconds; what is waited for takes far less, but for a machine under load
UNMEASURED = -1.0  # Hz: of what pitch cannot be said


class Handset(Protocol):
    """A phone. `hz` is what it plays."""

    number: str
    hz: int

    def call(self, number: str) -> None:
        """Place a call."""

    def dial(self, code: str) -> None:
        """Place a call that is not answered, and wait until that has been said."""

    def rings(self) -> bool:
        """Whether the newest call, which it has placed, does so."""

    def with_whom(self) -> str:
        """The number at the other end of the newest call; empty if there is none."""

    def calls(self) -> list[bool]:
        """Those that it has, oldest first: whether they are answered."""

    def answers(self, by_itself: bool) -> None:
        """Whether it does, from now on."""

    def answer(self) -> None:
        """The newest call."""

    def hold(self) -> None:
        """Hold the newest call."""

    def resume(self) -> None:
        """Take the newest call back from hold."""

    def transfer(self, number: str) -> None:
        """A blind transfer of the newest call."""

    def attended(self, asked: int, other: int) -> None:
        """Who is in the call `asked` (1: the oldest) and who is in `other` are to talk."""

    def hang_up(self) -> None:
        """The newest call."""

    def hears(self) -> float | None:
        """Which tone, in Hz, in the newest call; None for silence and for a mix; UNMEASURED for
        something."""


def _hz(recording: Recording) -> float | None:
    heard = recording.now()
    return heard.hz if heard is not None else None


def _number(uri: str) -> str:
    found = re.search(r"sip:(\d+)@", uri)
    return found[1] if found else ""


class Ours(PhoneChild):
    """`softswitch phone`."""

    def __init__(self, registrar: str, number: str, hz: int, *options: str) -> None:
        self.number, self.hz = number, hz
        account = ("--registrar", registrar, "--user", number, "--password", f"secret-{number}")
        more = ("--tone", str(hz), "--dtmf-method", "info")
        super().__init__(number, *account, *more, *(options or ("--answer",)))

    def _numbers(self) -> dict[int, bool]:
        found: dict[int, bool] = {}
        for event in list(self.events):
            if event["event"] in ("calling", "incoming"):
                found[event["call"]] = False
            elif event["event"] == "answered":
                found[event["call"]] = True
            elif event["event"] == "ended":
                found.pop(event["call"], None)
        return found

    def with_whom(self) -> str:
        for event in reversed(list(self.events)):
            if event["event"] in ("incoming", "calling") and event["call"] in self._numbers():
                return _number(event["from" if event["event"] == "incoming" else "to"])
        return ""

    def rings(self) -> bool:
        newest = [*self._numbers()][-1]
        return any(e["event"] == "ringing" and e["call"] == newest for e in list(self.events))

    def calls(self) -> list[bool]:
        return list(self._numbers().values())

    def call(self, number: str) -> None:
        self.send(f"call {number}")

    def dial(self, code: str) -> None:
        self._seen = len(self.events)
        self.call(code)
        self.expect("ended", PATIENCE, answered=False)

    def answers(self, by_itself: bool) -> None:
        self.send("auto on" if by_itself else "auto off")
        self._seen = len(self.events)
        self.send("that is all")  # no command; that is said once it has read this far
        self.expect("error", PATIENCE)

    def answer(self) -> None:
        self.send("answer")

    def hold(self) -> None:
        self.send("hold")

    def resume(self) -> None:
        # An offer that crosses one of the switch (491) it does not make again by itself.
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self._seen = len(self.events)
            self.send("unhold")
            with suppress(LabError):
                self.expect("media", 1, state="active")
                return
        raise LabError(f"{self.name} has not resumed{self.recently()}")

    def press(self, digits: str) -> None:
        """Digits within the call, by SIP INFO."""
        self.send(f"dtmf {digits}")

    def transfer(self, number: str) -> None:
        self.send(f"transfer {number}")

    def attended(self, asked: int, other: int) -> None:
        calls = list(self._numbers())
        self.send(f'{{"cmd": "attended", "call": {calls[asked - 1]}, "arg": {calls[other - 1]}}}')

    def hang_up(self) -> None:
        self.send("hangup")

    def hears(self) -> float | None:
        newest = [*self._numbers()][-1:]
        for event in reversed(list(self.events)):
            if event["event"] == "heard" and event["call"] in newest:
                return None if event["hz"] is None else float(event["hz"])
        return None


class BaresipHandset(Baresip):
    """baresip. It knows no attended transfer."""

    def __init__(self, folder: Path, registrar: str, number: str, hz: int) -> None:
        self.number, self.hz = number, hz
        wav = tone_file(folder.with_suffix(".wav"), hz)
        super().__init__(folder, registrar, number, f"secret-{number}", wav, auto=True)
        self._heard = Recording(folder, "*-dec.wav")

    def call(self, number: str) -> None:
        self.ask("dial", number)

    def dial(self, code: str) -> None:
        self.call(code)
        self.expect("CALL_CLOSED", PATIENCE)

    def with_whom(self) -> str:
        return _number(self.ask("listcalls").rpartition("[line")[2])

    def rings(self) -> bool:
        return "RINGING" in self.ask("listcalls")

    def calls(self) -> list[bool]:
        lines = re.findall(r"\[line \d+.*", self.ask("listcalls"))
        return ["ESTABLISHED" in line or "HOLD" in line.upper() for line in lines]

    def answers(self, by_itself: bool) -> None:
        self.ask("answermode", "auto" if by_itself else "manual")

    def answer(self) -> None:
        self.ask("accept")

    def hold(self) -> None:
        self.ask("hold")

    def resume(self) -> None:
        self.ask("resume")

    def transfer(self, number: str) -> None:
        self.ask("transfer", number)

    def attended(self, asked: int, other: int) -> None:
        raise NotImplementedError

    def hang_up(self) -> None:
        self.ask("hangup")

    def hears(self) -> float | None:
        media = self._media()
        if "sndfile <" in media[0]:
            return _hz(self._heard)
        # It was on hold, and records no more: this is what has come from the network since.
        time.sleep(0.2)
        return UNMEASURED if self._media()[1] != media[1] else None

    def _media(self) -> tuple[str, int]:
        """How what is heard is processed, and the number of the last packet of it."""
        said = self.ask("audio_debug")
        pipeline = re.search(r"audio rx pipeline:.*", said)
        packets = re.search(r"seq_put=(\d+)", said)
        return pipeline[0] if pipeline else "", int(packets[1]) if packets else 0


class LinphoneHandset(Linphone):
    """linphonec. It numbers its calls, and never gives a number twice."""

    def __init__(self, folder: Path, registrar: str, number: str, hz: int) -> None:
        self.number, self.hz = number, hz
        wav = tone_file(folder.with_suffix(".wav"), hz)
        self._answers = True
        self._marks = itertools.count()
        super().__init__(folder, registrar, number, f"secret-{number}", wav)
        self.send(f"record {folder / 'heard.wav'}")
        self._heard = Recording(folder, "heard.wav")

    def on_output(self, line: str) -> None:
        """Its own auto-answer leaves a second call ringing."""
        super().on_output(line)
        incoming = re.search(r"new incoming call .* assigned id (\d+)", line)
        if incoming is not None and self._answers:
            self.send(f"answer {incoming[1]}")

    def _calls(self) -> list[tuple[str, str, str]]:
        """(id, state, whom with)"""
        start, mark = len(self.output), f"mark{next(self._marks)}"
        self.send("calls")
        self.send(f"help {mark}")
        self.until(
            lambda: any(mark in line for line in self.output[start:]), PATIENCE, "list of calls"
        )
        rows = [re.match(r"(\d+)\s*\|(.*)\|\s*(\w+)\s*\|", line) for line in self.output[start:]]
        return [(row[1], row[3], row[2]) for row in rows if row is not None]

    def call(self, number: str) -> None:
        self.send(f"call {number}")

    def dial(self, code: str) -> None:
        self._seen = len(self.output)
        self.call(code)
        self.expect(rf"Call \d+ .*{re.escape(code)}@.* (error|ended|declined)", PATIENCE)

    def with_whom(self) -> str:
        calls = self._calls()
        return _number(calls[-1][2]) if calls else ""

    def rings(self) -> bool:
        return self._calls()[-1][1] == "OutgoingRinging"

    def calls(self) -> list[bool]:
        answered = ("StreamsRunning", "Paused", "PausedByRemote", "Updating", "Resuming", "Pausing")
        return [state in answered for _, state, _ in self._calls() if state != "End"]

    def answers(self, by_itself: bool) -> None:
        self._answers = by_itself

    def answer(self) -> None:
        self.send(f"answer {self._calls()[-1][0]}")

    def hold(self) -> None:
        self.send("pause")

    def resume(self) -> None:
        self.send(f"resume {self._calls()[-1][0]}")

    def transfer(self, number: str) -> None:
        self.send(f"transfer {self._calls()[-1][0]} {number}")

    def attended(self, asked: int, other: int) -> None:
        calls = self._calls()
        self.send(f"transfer {calls[asked - 1][0]} --to-call {calls[other - 1][0]}")

    def hang_up(self) -> None:
        self.send(f"terminate {self._calls()[-1][0]}")

    def hears(self) -> float | None:
        return _hz(self._heard)
