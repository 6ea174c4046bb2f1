"""`softswitch status` of a switch that runs, with a phone, a trunk that is away, and a call."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from softswitch.console.tables import lasting
from tests.console.running_site import Site
from tests.switch_process import PATIENCE, Running, answered


def test_a_switch_with_a_call(site: Site) -> None:
    port = site.switch.port
    call_id, _ = answered(port, site.caller, site.callee)
    told = site.told()
    assert told["switch"]["name"] == "hq"
    assert told["switch"]["site"] == "Sunnyvale"
    assert told["switch"]["listen"] == [f"udp:127.0.0.1:{port}"]
    assert told["switch"]["pid"] == site.switch.process.pid
    (call,) = told["calls"]
    assert call["state"] == "answered"
    assert call["answered_for"] >= 0
    one, two = call["legs"]
    assert (one["party"], one["direction"], one["state"]) == ("trunk:caller", "in", "talking")
    assert one["sip_call_id"] == call_id
    assert one["address"] == f"udp:127.0.0.1:{site.caller.port}"
    assert (two["party"], two["direction"], two["state"]) == ("trunk:callee", "out", "talking")
    assert told["counters"]["calls"] == 1
    assert told["totals"] == {"calls": 1, "registrations": 0}
    deadline = time.monotonic() + PATIENCE
    while (trunks := {row["name"]: row for row in site.told()["trunks"]})["away"]["up"]:
        assert time.monotonic() < deadline
    assert trunks["away"]["why"] == "does not answer"
    assert (trunks["callee"]["calls"], trunks["callee"]["max_calls"]) == (1, 7)
    # In words; without naming it, as its socket is the only one there is.
    done = site.status(config=False)
    assert done.returncode == 0, done.stderr
    for text in ("switch hq (Sunnyvale)", call["call_id"], "1 of 7", "does not answer", "calls: 1"):
        assert text in done.stdout, done.stdout


def _interruptible() -> None:
    """What runs in the background of a shell ignores SIGINT, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_sections_rows_and_watching(site: Site) -> None:
    assert site.switch.port
    assert set(site.told("--section", "counters")) == {"totals", "counters"}
    done = site.status("--section", "weather")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no section `weather`" in done.stderr
    watching = subprocess.Popen(
        [sys.executable, "-m", "softswitch.cli", "status", "--watch", "--json", str(site.config)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_interruptible,
    )
    assert watching.stdout is not None
    first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
    assert 0.9 < second["switch"]["uptime"] - first["switch"]["uptime"] < 10
    watching.send_signal(signal.SIGINT)
    assert watching.wait(PATIENCE) == 0
    watching.stdout.close()


def test_it_does_not_run(site: Site) -> None:
    assert site.switch.port
    socket = site.config.parent / "hq.sock"
    assert socket.is_socket()
    site.switch.process.terminate()
    assert site.switch.ends() == 0
    assert not socket.exists()
    done = site.status()
    assert done.returncode == 1
    assert done.stderr == f"softswitch status: not running: there is no {socket}\n"
    done = site.status(config=False)
    assert done.returncode == 2
    assert "say which CONFIG is meant" in done.stderr


def test_after_a_kill_it_is_asked_again(site: Site) -> None:
    assert site.switch.port
    site.switch.kill()
    done = site.status()
    assert done.returncode == 1
    assert "not running: nobody listens" in done.stderr
    site.switch = Running(site.config)
    assert site.switch.port
    assert site.told()["switch"]["name"] == "hq"


def test_none_is_wanted(site: Site) -> None:
    text = site.config.read_text()
    site.config.write_text(text.replace("name: hq", "name: hq, control: off"))
    done = site.status()
    assert done.returncode == 1
    assert "`switch.control` is off" in done.stderr
    site.config.write_text(text.replace("name: hq", f"name: hq, control: {'x' * 108}"))
    check = subprocess.run(
        [sys.executable, "-m", "softswitch.cli", "check", str(site.config)],
        capture_output=True,
        text=True,
    )
    assert check.returncode == 2
    assert "hq.yaml:2:" in check.stderr
    assert "a socket at most 107: expected a shorter path" in check.stderr


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (7.9, "7 s"), (189, "3:09"), (7200, "2:00:00"), (273_640, "3 d 04:00")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert lasting(seconds) == text
