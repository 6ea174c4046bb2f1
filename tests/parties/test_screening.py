"""Who guesses passwords: how long an address waits, what the log says, and what is forgotten."""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path

import pytest

from softswitch.config import Log as Settings
from softswitch.log import Log
from softswitch.parties.screening import Guesses, GuessLimits

DOCS = Path(__file__).resolve().parents[2] / "docs"
EVE = "203.0.113.7"


class Site:
    """Guesses with a clock to turn; each is answered when its time has come."""

    def __init__(self, **limits: float) -> None:
        self.now = 1000.0
        self.guesses = Guesses(lambda: self.now, GuessLimits(**limits))  # type: ignore[arg-type]
        self._key = 0

    def wrong(
        self, name: str = "1001", host: str = EVE, key: int | None = None, own: bool = False
    ) -> float | None:
        self._key += 1
        key = self._key if key is None else key
        late = self.guesses.wrong("udp", host, 5060, name, "REGISTER", key, own)
        if late:
            self.now += late
            self.guesses.answered(host, key)
        return late


@pytest.fixture
def site() -> Site:
    return Site()


def test_whoever_goes_on_waits_longer_and_longer(site: Site) -> None:
    waits = [site.wrong() for _ in range(12)]
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 16, 16]
    assert site.wrong(host="203.0.113.8") == 0, "another address"


def test_settings() -> None:
    site = Site(at_once=0, delay=0.5, longest=1.5)
    assert [site.wrong() for _ in range(4)] == [0.5, 1.0, 1.5, 1.5]
    site = Site(delay=0.0)
    assert [site.wrong() for _ in range(30)] == [0.0] * 30


def test_one_answer_waits_for_an_address_and_its_copies_are_no_guesses(site: Site) -> None:
    for _ in range(5):
        site.wrong()
    guesses = site.guesses
    assert guesses.wrong("udp", EVE, 5060, "1001", "REGISTER", 7, False) == 1
    for _ in range(10):
        assert guesses.wrong("udp", EVE, 5060, "1001", "REGISTER", 7, False) is None
    assert (guesses.wrong_passwords, guesses.unanswered) == (6, 0)
    # From another port too: it is the same address.
    assert guesses.wrong("tcp", EVE, 5061, "1002", "INVITE", 8, False) is None
    assert (guesses.wrong_passwords, guesses.unanswered) == (7, 1)
    guesses.answered(EVE, 7)
    assert site.wrong() == 4


def test_what_waits_is_bounded() -> None:
    site = Site(at_once=0, waiting=2)
    wrong = site.guesses.wrong
    waits = [wrong("udp", f"192.0.2.{n}", 5060, "1001", "INVITE", n, False) for n in range(4)]
    assert waits == [1, 1, None, None]
    site.guesses.answered("192.0.2.0", 0)
    assert wrong("udp", "192.0.2.9", 5060, "1001", "INVITE", 9, False) == 1


def test_a_registered_phone_does_not_wait(site: Site) -> None:
    assert {site.wrong(own=True) for _ in range(20)} == {0.0}
    assert site.guesses.wrong_passwords == 20


def test_a_right_password_ends_it(site: Site) -> None:
    for _ in range(7):
        site.wrong()
    site.guesses.right(EVE, "1001")
    assert len(site.guesses) == 0
    assert site.wrong() == 0


def test_the_password_of_one_name_does_not_help_to_guess_that_of_another(site: Site) -> None:
    for _ in range(7):
        site.wrong("1002")
    site.guesses.right(EVE, "1001")
    site.wrong("1001")
    site.guesses.right(EVE, "1001")
    assert site.wrong("1002") == 8


def test_sources_are_forgotten(site: Site) -> None:
    for _ in range(8):
        site.wrong()
    site.now += 895  # the last one waited 4 s
    site.guesses.expire()
    assert len(site.guesses) == 1
    site.now += 1
    site.guesses.expire()
    assert len(site.guesses) == 0
    assert site.wrong() == 0
    # Also before somebody has looked.
    for _ in range(8):
        site.wrong()
    site.now += 900
    assert site.wrong() == 0


def test_memory_is_bounded() -> None:
    site = Site(sources=3)
    for n in range(3):
        for _ in range(6):
            site.wrong(host=f"192.0.2.{n}")
    site.wrong(host="192.0.2.0")  # the oldest is now .1
    site.wrong(host="192.0.2.99")
    assert len(site.guesses) == 3
    assert site.wrong(host="192.0.2.0") == 4
    assert site.wrong(host="192.0.2.1") == 0
    for n in range(2000):
        site.wrong(host=f"2001:db8:{n:x}::1")
    assert len(site.guesses) == 3
    assert len(site.guesses._unsaid) <= 3


def test_what_one_host_can_have_of_ipv6_is_one_source(site: Site) -> None:
    waits = [site.wrong(host=f"2001:db8::{n:x}") for n in range(6)]
    assert waits[-1] == 1


def test_the_line(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """At most one a second about an address, and none of the guesses is missing in the end."""
    for _ in range(4):
        site.wrong()
    assert caplog.messages == [
        "wrong password from 203.0.113.7 port 5060 over udp, 1 times: REGISTER as '1001'"
    ]
    site.guesses.expire()
    assert len(caplog.messages) == 1
    site.now += 1
    site.guesses.expire()
    assert caplog.messages[1:] == [
        "wrong password from 203.0.113.7 port 5060 over udp, 3 times: REGISTER as '1001'"
    ]
    site.now += 5
    site.guesses.expire()
    assert len(caplog.messages) == 2


def test_all_addresses_together_have_so_many_lines(caplog: pytest.LogCaptureFixture) -> None:
    site = Site(sources=50)
    for n in range(1000):
        site.wrong(host=f"198.51.{n % 200}.{n // 200}")
    assert len(caplog.messages) == 100


def test_names_do_not_reach_the_log_as_they_are(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.wrong("\x1b[2J\r\nx" + "9" * 5000)
    (line,) = caplog.messages
    assert line.isprintable()
    assert len(line) < 200


def failregex() -> re.Pattern[str]:
    """The filter of docs/hardening.md, with fail2ban's <HOST> as a group."""
    text = (DOCS / "hardening.md").read_text()
    (line,) = re.findall(r"^failregex = (.+)$", text, re.M)
    return re.compile(line.replace("<HOST>", r"(?P<host>[0-9A-Fa-f:.]+)"))


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What stands in the log of `softswitch run`; fail2ban takes the date away."""
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Settings(file=Path(folder) / "x.log", lines_per_second=1))
        log.open()
        for record in caplog.records:
            logging.getLogger(record.name).handle(record)
        log.close()
        return (Path(folder) / "x.log").read_text().splitlines()


@pytest.mark.parametrize("host", [EVE, "2001:db8::7"])
def test_the_documented_filter_reads_the_line(
    site: Site, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    forged = "wrong password from 192.0.2.1 port 1 over udp, 1 times: REGISTER as 'x'"
    for name in ("1001", forged, "a\nWARNING guesses: " + forged):
        site.wrong(name, host=host)
        site.now += 2
    lines = logged(caplog)
    assert len(lines) == 3
    for line in lines:
        bare = re.sub(r"^[\d-]+ [\d:.]+", "", line)
        for text in (line, bare):
            found = failregex().search(text)
            assert found is not None, text
            assert found["host"] == host


def test_the_documented_filter_reads_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """What strangers write into other lines bans nobody."""
    line = "WARNING guesses: wrong password from 192.0.2.1 port 1 over udp, 1 times: "
    logging.getLogger("softswitch.calls.refusals").warning("a call of %s to %r is refused", 1, line)
    logging.getLogger("softswitch.parties.registrar").warning("%s", line)
    for text in logged(caplog):
        assert failregex().search(text) is None
