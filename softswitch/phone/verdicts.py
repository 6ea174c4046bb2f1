"""What a call is expected to bring, and whether it has: the verdicts of ``softswitch phone``.

Pure logic: it is told what happens in a call and when (seconds of any clock that only goes
forward), and says of each expectation, once, whether it was met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

CLOSE_HZ = 8.0  # a tone is the one expected within so much, or within ...
CLOSE_PART = 0.02  # ... so much of it: whichever is more
MOST_SAID = 5  # tones named in what was found instead: the last ones


@dataclass(slots=True)
class Found:
    """What has come in one call so far. Tones and digits are those since it was answered."""

    began: float
    answered: float | None = None
    status: int | None = None
    """The final status, once there is one: 200 when it was answered."""
    why: str = ""
    """What is to be said instead of a status: why there is none, or its words."""
    sounds: list[str] = field(default_factory=list)
    tones: list[float] = field(default_factory=list)
    digits: str = ""
    silent: bool | None = None
    """What is heard now; None until there is audio."""
    loud: bool = False
    """Whether something began to sound since it was answered."""


class Expectation(Protocol):
    """One thing that is expected of a call."""

    @property
    def name(self) -> str:
        """One word: ``answered``, ``status``, ``audio``, ``dtmf`` or ``silence``."""

    @property
    def expected(self) -> str:
        """In words."""

    def fits(self, found: Found) -> bool | None:
        """Whether it is met; None while either may yet come."""

    def in_the_end(self, found: Found) -> bool:
        """Whether it is met when there is no more time, in a call that is still up."""

    def instead(self, found: Found) -> str:
        """What was found, in words."""


@dataclass(frozen=True, slots=True)
class Status:
    """How the call is answered: 200 if it is taken, else what it is refused with. ``asked`` if
    the status was asked for, and not only that it is answered."""

    status: int = 200
    asked: bool = False

    @property
    def name(self) -> str:
        return "status" if self.asked else "answered"

    @property
    def expected(self) -> str:
        return f"status {self.status}" if self.asked else "answered"

    def fits(self, found: Found) -> bool | None:
        return None if found.status is None else found.status == self.status

    def in_the_end(self, found: Found) -> bool:
        return bool(self.fits(found))

    def instead(self, found: Found) -> str:
        status = "" if found.status is None else str(found.status)
        return f"{status} {found.why}".strip() or "no answer"


@dataclass(frozen=True, slots=True)
class Tone:
    """A tone of ``hz`` is heard, louder than silence."""

    hz: float

    @property
    def name(self) -> str:
        return "audio"

    @property
    def expected(self) -> str:
        return f"a tone of {self.hz:g} Hz"

    def fits(self, found: Found) -> bool | None:
        close = max(CLOSE_HZ, CLOSE_PART * self.hz)
        return True if any(abs(hz - self.hz) <= close for hz in found.tones) else None

    def in_the_end(self, found: Found) -> bool:
        return bool(self.fits(found))

    def instead(self, found: Found) -> str:
        return ", then ".join(found.sounds[-MOST_SAID:]) or "no audio"


@dataclass(frozen=True, slots=True)
class Digits:
    """These digits come, one after the other and no other between them."""

    digits: str

    @property
    def name(self) -> str:
        return "dtmf"

    @property
    def expected(self) -> str:
        return f"digits {self.digits}"

    def fits(self, found: Found) -> bool | None:
        return True if self.digits.upper() in found.digits.upper() else None

    def in_the_end(self, found: Found) -> bool:
        return bool(self.fits(found))

    def instead(self, found: Found) -> str:
        return f"digits {found.digits}" if found.digits else "no digits"


@dataclass(frozen=True, slots=True)
class Silence:
    """There is audio, and nothing but silence in it, until there is no more time."""

    @property
    def name(self) -> str:
        return "silence"

    @property
    def expected(self) -> str:
        return "silence"

    def fits(self, found: Found) -> bool | None:
        return False if found.loud else None

    def in_the_end(self, found: Found) -> bool:
        # What sounded already when it was answered (a ringing tone) may stop a moment later.
        return found.silent is True and not found.loud

    def instead(self, found: Found) -> str:
        return ", then ".join(found.sounds[-MOST_SAID:]) or "no audio"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an expectation was met. ``seconds`` is when that was known: from the answer of the
    call, or, of the answer itself, from when the call began."""

    name: str
    met: bool
    seconds: float
    expected: str
    found: str


class Judge:
    """Judges one call. What is told it returns the verdicts that this decides, each of them once;
    ``verdicts`` are all so far. After ``over`` there is one of every expectation."""

    def __init__(self, expected: Sequence[Expectation], began: float) -> None:
        self.verdicts: list[Verdict] = []
        self._open = list(expected)
        self._found = Found(began)

    @property
    def decided(self) -> bool:
        return not self._open

    @property
    def met(self) -> bool:
        return self.decided and all(verdict.met for verdict in self.verdicts)

    @property
    def was_answered(self) -> bool:
        return self._found.answered is not None

    def answered(self, at: float) -> list[Verdict]:
        found = self._found
        found.answered, found.status, found.why = at, 200, "OK"
        found.loud = False
        # What sounds already goes on; what sounded before does not count.
        del found.sounds[:-1], found.tones[: None if found.silent else -1]
        return self._decide(at)

    def heard(self, at: float, hz: float | None, level_db: float, silent: bool) -> list[Verdict]:
        """What is heard from now on: ``hz`` is None for silence, and for sound that is no tone."""
        found = self._found
        what = "silence" if silent else "sound" if hz is None else f"a tone of {hz:g} Hz"
        found.sounds.append(what if silent else f"{what} at {level_db:g} dB")
        found.silent = silent
        if not silent:
            found.loud = True
            # One entry for each sound, so that the last says whether a tone is heard now.
            found.tones.append(0.0 if hz is None else hz)
        return self._decide(at)

    def digit(self, at: float, digit: str) -> list[Verdict]:
        self._found.digits += digit
        return self._decide(at)

    def ended(self, at: float, status: int, reason: str) -> list[Verdict]:
        """The call is over; ``status`` is what it was answered with if it was not taken."""
        if self._found.status is None:
            self._found.status, self._found.why = status, reason
        return self.over(at)

    def time_is_up(self, at: float) -> list[Verdict]:
        """There is no more time for what is expected of the call, which may go on."""
        return self._decide(at, last=True)

    def over(self, at: float, why: str = "") -> list[Verdict]:
        """Nothing more comes; ``why`` says so of a call that was never answered or placed."""
        self._found.why = why or self._found.why
        return self._decide(at, gone=True)

    def _decide(self, at: float, *, last: bool = False, gone: bool = False) -> list[Verdict]:
        found, told, still_open = self._found, [], []
        since = found.began if found.answered is None else found.answered
        for expectation in self._open:
            about_answer = isinstance(expectation, Status)
            if found.answered is None and not about_answer:
                met = False if gone else None  # nothing of it counts before the answer
            else:
                met = expectation.fits(found)
            if met is None and last:
                met = expectation.in_the_end(found)
            if met is None and gone:
                met = False
            if met is None:
                still_open.append(expectation)
                continue
            instead = expectation.instead(found)
            seconds = round(max(at - (found.began if about_answer else since), 0.0), 3)
            if found.answered is None and not about_answer:
                instead = "no answer"
            elif gone and not about_answer:
                instead += f", and the call ended after {seconds:g} s"
            told.append(Verdict(expectation.name, met, seconds, expectation.expected, instead))
        self._open = still_open
        self.verdicts += told
        return told
