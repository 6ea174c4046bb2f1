"""Servers that fail in the middle of calls: is there exactly one right record of each afterwards?

    python -m bench.faults [--rounds 8] [--seconds 25] [--rate 24] [--seed N] [--only N] [--keep]
    python -m bench.faults --kill hq|branch|both [--times 20] [--rate 50] [--seed N]
    python -m bench.faults --freeze 8 [--times 5] [--rate 60]

The first is faults of all kinds by a seed, with three sites and a server without a switch
(``bench.bad_days``). Within ten seconds after all is healed, or after its own end, each call of
which a caller was told anything has one right row, and each acknowledged note is in it.

With ``--kill`` there are two switches in a row with their call data servers, SIPp on either side.
At a random moment the process of the owner (``hq``), of the participant (``branch``) or both get
SIGKILL, and are started again: in every other run when the survivor has reported the silence,
otherwise within a second.
When SIPp is done the records are compared with what SIPp's caller was told, call by call:

* every call of which the caller heard anything at all, be it a ``100 Trying``, has one row at
  ``hq``, and no other server has one of it too. The row is final after both were stopped;
* it says ``answered`` if the caller heard so.

There is no allowance: what was told a moment before the kill counts as any other. A call that
began, but of which its caller was told nothing, may have a row or none.

With ``--freeze`` three switches stand in a row, and the owner's process does nothing for so many
seconds (SIGSTOP, then SIGCONT), longer than ``dead_after``, while the callees hang up: the others'
calls end meanwhile, and one of them writes their records. Within ten seconds after that each call
has one right row at ``hq``, and no other server has any.

What SIPp made of it is shown too: calls that failed at its caller or callee (a kill cuts some off),
messages that either sent again, and datagrams dropped by any socket of the network namespace. A
killed process takes the counts of its own sockets with it.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.bad_days import report
from bench.drops import dropped_here
from bench.progress import Progress, Step, Watch, load_name, unwatched
from bench.sipp import Sipp, sipp_callee, start_caller
from bench.sipp_messages import messages
from bench.sites import Site, Timing, make_sites
from bench.split import MOST
from softswitch.lab.ports import free_port

RESTARTS = 10.0
"""Seconds of a run besides its calls, about: starts, the restart, the records."""


@dataclass(slots=True)
class Told:
    """What SIPp's caller was told of its calls, by SIP Call-ID: when (seconds since 1970)."""

    invited: dict[str, float] = field(default_factory=dict)
    trying: dict[str, float] = field(default_factory=dict)
    ringing: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)

    def of(self) -> dict[str, float]:
        """Every call of which the caller was told something, and when it first was."""
        return {**self.answered, **self.ringing, **self.trying}


def told(path: Path) -> Told:
    """Read SIPp's ``-trace_msg``."""
    found = Told()
    for message in messages(path):
        if message.method != "INVITE":
            continue
        if message.sent:
            if not message.status and message.text.startswith("INVITE"):
                found.invited.setdefault(message.sip_call_id, message.at)
        elif message.status == 100:
            found.trying.setdefault(message.sip_call_id, message.at)
        elif 180 <= message.status < 190:
            found.ringing.setdefault(message.sip_call_id, message.at)
        elif message.status == 200:
            found.answered.setdefault(message.sip_call_id, message.at)
    return found


@dataclass(frozen=True, slots=True)
class Kill:
    """What was killed, and what was seen of it. Times in seconds."""

    names: tuple[str, ...]
    owner_died: float | None = None
    """Since 1970; None if the owner was not killed."""
    back: float = 0.0
    """From its start until a restarted server answers, the slower one."""
    live: int = 0
    """Calls that the owner had when it answered again."""
    noticed: float | None = None
    """From the kill until the survivor reported the silence, if that was waited for."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What both SIPps saw, in sum, and the datagrams that were dropped meanwhile."""

    failed: int = 0
    retransmissions: int = 0
    dropped: int = 0

    def __add__(self, other: Trouble) -> Trouble:
        return Trouble(
            self.failed + other.failed,
            self.retransmissions + other.retransmissions,
            self.dropped + other.dropped,
        )

    def __str__(self) -> str:
        return (
            f"SIPp: {self.failed} calls failed, {self.retransmissions} messages sent again,"
            f" {self.dropped} datagrams dropped"
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run. The sets are of SIP Call-IDs, of callIDs where they say so."""

    told: Told
    recorded: dict[str, list[str]]
    """The dispositions recorded for each SIP Call-ID, one for each row."""
    both: set[str]
    """callIDs with a row at both servers."""
    elsewhere: int
    """Rows at ``branch``."""
    unfinished: int
    kill: Kill
    trouble: Trouble | None = None
    """None if it was not looked at."""

    def missing(self) -> set[str]:
        """Calls of which the caller was told, that are not recorded and should be."""
        return self.told.of().keys() - self.recorded.keys()

    def unlike(self) -> set[str]:
        """Calls that the caller heard answered, whose record does not say so and should."""
        return {
            sip
            for sip in self.told.answered
            if sip in self.recorded and self.recorded[sip] != ["answered"]
        }

    def doubled(self) -> set[str]:
        """Calls recorded more than once."""
        return {sip for sip, rows in self.recorded.items() if len(rows) > 1}

    def wrong(self) -> bool:
        """Whether anything is not as it must be after the end of all."""
        return bool(
            self.missing() or self.unlike() or self.doubled() or self.both or self.unfinished
        )

    def lost(self) -> list[float]:
        """How long before the owner's death (seconds) the caller was told what was lost then."""
        died = self.kill.owner_died
        if died is None:
            return []
        told = self.told.of()
        ages = [died - at for sip, at in told.items() if sip not in self.recorded]
        ages += [
            died - at
            for sip, at in self.told.answered.items()
            if sip in self.recorded and self.recorded[sip] != ["answered"]
        ]
        return sorted(age for age in ages if age > -5)

    def __str__(self) -> str:
        kill = self.kill
        noticed = "" if kill.noticed is None else f", noticed after {kill.noticed:.2f} s"
        live = "" if kill.owner_died is None else f" with {kill.live} live calls"
        lost = ", ".join(f"{age * 1000:.0f}" for age in self.lost())
        return (
            f"{len(self.told.of())} begun, {len(self.told.answered)} answered,"
            f" {len(self.recorded)} records: missing {len(self.missing())},"
            f" unlike {len(self.unlike())}, doubled {len(self.doubled())},"
            f" at both {len(self.both)}, not final {self.unfinished}; back in {kill.back:.2f} s"
            f"{live}{noticed}"
            + (f"; {self.trouble}" if self.trouble else "")
            + (f"; lost, told {lost} ms before the kill" if lost else "")
        )


@contextmanager
def load(
    directory: Path,
    hq: Site,
    caller_port: int,
    *,
    calls: int,
    rate: float,
    hold_ms: int = 700,
    scenario: str | Path = "uac-answered",
) -> Iterator[Sipp]:
    """SIPp's caller, placing calls while the block runs."""
    with hq.inside():
        caller = start_caller(
            scenario,
            hq.address,
            calls=calls,
            rate=rate,
            hold_ms=hold_ms,
            port=caller_port,
            timeout=60,
            args=("-trace_msg", "-message_file", str(_messages(directory)), "-max_retrans", "4"),
        )
    try:
        yield caller
    finally:
        caller.stop(0.2)


def run(
    directory: Path,
    kill: tuple[str, ...],
    rng: random.Random,
    *,
    rate: float = 50,
    seconds: float = 4,
    timing: Timing | None = None,
    notice: bool = False,
    watch: Watch = unwatched,
) -> Outcome:
    """One run: load, SIGKILL at a random moment, restart, wait for the records.

    With ``notice`` the restart waits until the survivor has reported the other's silence.
    """
    timing = timing or Timing()
    caller_port = free_port()
    dropped = dropped_here()
    watch("starts", None)
    with sipp_callee("uas-answered", hold_ms=50, timeout=90, grace=1) as callee:
        hq, branch = make_sites(directory, caller_port, callee.port, timing)
        sites = {site.name: site for site in (hq, branch)}
        try:
            launched(branch, hq)
            calls = int(rate * seconds)
            with load(directory, hq, caller_port, calls=calls, rate=rate) as sipp:
                watch("calls", None)
                wait_while(lambda: _sipp_silent(directory), 5)
                time.sleep(rng.uniform(0.7, seconds - 1.0))
                watch("killed", None)
                seen = _kill(sites, kill, rng, timing, notice)
                watch("back, calls end", None)
                # A call whose other side has died may leave SIPp waiting for ever.
                wait_while(lambda: sipp.process.poll() is None, seconds + 2)
            watch("waits for the records", None)
            wait_for(lambda: outcome(directory, hq, branch, seen), timing)
        finally:
            # Calls may go on, though SIPp knows nothing of them any more: now they end. The owner
            # goes last, to have everybody's last words.
            branch.stop()
            hq.stop()
    counts = (sipp.counts(), callee.counted)
    trouble = Trouble(
        sum(count.failed for count in counts),
        sum(count.retransmissions for count in counts),
        dropped_here() - dropped,
    )
    return replace(outcome(directory, hq, branch, seen), trouble=trouble)


FREEZING = Timing(alive_interval=0.2, dead_after=1.0, reregister_within=60.0, linger=0.4, t1=0.03)
"""``t1``: a BYE that is not answered is given up after 64 of them, and the call with it."""


@dataclass(frozen=True, slots=True)
class Thawed:
    """What there was when the owner went on, or ``within`` seconds later if it was not right
    sooner."""

    placed: int
    elsewhere: int
    """Rows that others had written when the owner went on."""
    took: float
    """Seconds from then until all was right; ``within`` if it was not."""
    right: int
    """Final rows at the owner, written by it, of answered calls with the legs of all switches."""
    doubled: int
    """Rows at other servers."""


def freeze(
    directory: Path,
    seconds: float,
    *,
    rate: float = 60,
    timing: Timing = FREEZING,
    within: float = 10.0,
) -> Thawed:
    """One run: a second of calls; the owner is frozen for so long, and they end meanwhile."""
    caller_port = free_port()
    calls = int(rate)
    with sipp_callee("uas-hangs-up", hold_ms=1500, timeout=90, grace=1) as callee:
        names = ("hq", "branch", "depot")
        sites = make_sites(directory, caller_port, callee.port, timing, names)
        owner, *others = sites
        try:
            launched(*sites)
            scenario = "uac-callee-hangs-up"
            with load(directory, owner, caller_port, calls=calls, rate=rate, scenario=scenario):
                wait_while(lambda: min(site.live() for site in sites) < calls, 5)
                owner.freeze()
                time.sleep(seconds)
                elsewhere = _rows(others)
                owner.go_on()
                began = time.monotonic()
                wait_while(lambda: _right(owner) < calls or _rows(others) > 0, within)
                took = time.monotonic() - began
                return Thawed(calls, elsewhere, took, _right(owner), _rows(others))
        finally:
            for site in reversed(sites):
                site.stop()


def _rows(sites: Sequence[Site]) -> int:
    return sum(site.query("SELECT count(*) FROM cdrs")[0][0] for site in sites)


def _right(owner: Site) -> int:
    count: int = owner.query(
        "SELECT count(*) FROM cdrs WHERE final AND written_by = owner AND disposition = 'answered'"
        " AND hangup_by = 'callee' AND billsec > 0 AND (SELECT count(*) FROM cdr_legs"
        " WHERE call_id = cdrs.call_id AND ended_at IS NOT NULL) = 6"
    )[0][0]
    return count


def _kill(
    sites: dict[str, Site], names: tuple[str, ...], rng: random.Random, timing: Timing, notice: bool
) -> Kill:
    died = {name: sites[name].kill() for name in names}
    noticed = None
    survivors = [site for name, site in sites.items() if name not in names]
    if notice and survivors:
        (survivor,) = survivors
        wait_while(lambda: not survivor.servers_down(), timing.dead_after + 3)
        noticed = time.time() - min(died.values())
    else:
        time.sleep(rng.uniform(0.0, 1.0))
    began = time.monotonic()
    launched(*(sites[name] for name in names))
    back = time.monotonic() - began
    live = sites["hq"].live() if "hq" in names else 0
    return Kill(names, died.get("hq"), back, live, noticed)


def launched(*sites: Site) -> None:
    """Start them at once, and return when the API of each answers."""
    for site in sites:
        site.launch()
    for site in sites:
        site.ready()


def wait_while(busy: Callable[[], bool], timeout: float) -> bool:
    """Return when it is not busy any more (true), or after `timeout` seconds (false)."""
    deadline = time.monotonic() + timeout
    while busy():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def wait_for(look: Callable[[], Outcome], timing: Timing) -> Outcome:
    """Look until all is right, or nothing has changed for as long as the settings take to act."""
    patience = max(timing.reregister_within, timing.dead_after) + timing.linger
    before: tuple[int, int, int] | None = None
    since = time.monotonic()
    while True:
        found = look()
        now = (len(found.recorded), found.unfinished, found.elsewhere)
        if now != before:
            before, since = now, time.monotonic()
        if not found.wrong() or time.monotonic() - since > patience:
            return found
        time.sleep(0.1)


def outcome(directory: Path, hq: Site, branch: Site, kill: Kill) -> Outcome:
    """What SIPp's caller was told so far, and the records as they are now."""
    recorded: dict[str, list[str]] = {}
    for disposition, sip in hq.query(
        "SELECT c.disposition, l.sip_call_id FROM cdrs c JOIN cdr_legs l USING (call_id)"
        " WHERE l.switch = 'hq' AND l.leg = 0"
    ):
        recorded.setdefault(sip, []).append(disposition)
    at_hq = {row[0] for row in hq.query("SELECT call_id FROM cdrs")}
    at_branch = {row[0] for row in branch.query("SELECT call_id FROM cdrs")}
    return Outcome(
        told(_messages(directory)),
        recorded,
        at_hq & at_branch,
        len(at_branch),
        hq.query("SELECT count(*) FROM cdrs WHERE NOT final")[0][0],
        kill,
    )


def _messages(directory: Path) -> Path:
    return directory / "messages.log"


def _sipp_silent(directory: Path) -> bool:
    messages = _messages(directory)
    return not messages.exists() or not messages.stat().st_size


def main() -> None:
    """The command; its exit status is 1 if any run was wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=8, help="of all kinds of faults")
    parser.add_argument("--only", type=int, default=None, help="this one of the rounds")
    parser.add_argument("--kill", choices=("hq", "branch", "both"), default=None)
    parser.add_argument("--freeze", type=float, default=None, help="the owner, so many seconds")
    parser.add_argument("--times", type=int, default=None, help="runs of --kill and --freeze")
    parser.add_argument("--rate", type=float, default=None, help=f"calls a second, {MOST} at most")
    parser.add_argument("--seconds", type=float, default=None, help="of calls in each run")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", action="store_true", help="the folders of the rounds")
    args = parser.parse_args()
    # Told to stop, it stops what it has started too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if args.freeze is not None:
        sys.exit(_freeze(args.freeze, args.times or 5, args.rate or 60))
    if args.rate is not None and args.rate > MOST:
        parser.error(f"--rate: one SIPp places the calls, {MOST} a second at most")
    seed = args.seed if args.seed is not None else random.randrange(1 << 30)
    if args.kill is not None:
        kill = ("hq", "branch") if args.kill == "both" else (args.kill,)
        sys.exit(_killed(kill, args.times or 20, args.rate or 50, args.seconds or 4, seed))
    rate = 8.0 if args.rate is None else args.rate / 3
    seconds = args.seconds or 25
    sys.exit(not report.main(args.rounds, seconds, rate, seed, args.only, args.keep))


def _killed(kill: tuple[str, ...], times: int, rate: float, seconds: float, seed: int) -> int:
    step = Step(
        load_name(f"kill {' and '.join(kill)}", int(rate * seconds), rate), seconds + RESTARTS
    )
    progress = Progress([step] * times)
    wrong = calls = 0
    trouble = Trouble()
    lost: list[float] = []
    back: list[float] = []
    noticed: list[float] = []
    for number in range(times):
        with tempfile.TemporaryDirectory() as name, progress.step() as watch:
            found = run(
                Path(name),
                kill,
                random.Random(seed + number),
                rate=rate,
                seconds=seconds,
                notice=number % 2 == 1,
                watch=watch,
            )
        print(f"seed {seed + number}: {found}", flush=True)
        wrong += found.wrong()
        trouble += found.trouble or Trouble()
        calls += len(found.told.answered)
        lost += found.lost()
        back.append(found.kill.back)
        if found.kill.noticed is not None:
            noticed.append(found.kill.noticed)
    print(
        f"{times} runs, {calls} answered calls, {wrong} runs wrong; back in {_range(back)} s;"
        f" {trouble}"
    )
    if noticed:
        print(f"the survivor reported it after {_range(noticed)} s")
    if lost:
        print(f"lost {len(lost)}, told at most {max(lost) * 1000:.0f} ms before the kill")
    return int(wrong > 0)


def _freeze(seconds: float, times: int, rate: float) -> int:
    wrong = 0
    for _ in range(times):
        with tempfile.TemporaryDirectory() as name:
            found = freeze(Path(name), seconds, rate=rate)
        print(found, flush=True)
        wrong += found.right < found.placed or found.doubled > 0
    print(f"{times} runs, {wrong} wrong")
    return int(wrong > 0)


def _range(values: list[float]) -> str:
    return f"{min(values, default=0):.2f} to {max(values, default=0):.2f}"


if __name__ == "__main__":
    main()
