"""The switch registers with its carriers, and stays registered."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import CONFIG, PLAN, SDP, World
from calls.carrier import REGISTERED, Carrier
from softswitch.config import ConfigErrors
from softswitch.configuration import load_config

TWO = REGISTERED.replace(
    "trunks:",
    'trunks:\n  other: {to: "sip:10.2.0.1:5060", keepalive: 0, user: acme2, password: x, '
    "register: true}",
)


class Office:
    """A switch that is not registered yet, as its carrier was away when it began."""

    def __init__(self, folder: Path, config: str = REGISTERED) -> None:
        self.world = World(folder, config)
        self.carrier = Carrier(self.world)

    def until_tried(self) -> None:
        """Its next try."""
        self.world.run(40)

    @property
    def enrolment(self):  # type: ignore[no-untyped-def]
        return self.world.switch.enrolments.of("pstn")

    def end(self) -> None:
        self.world.switch.drain()
        self.world.run(0)
        self.world.rest()


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_registered_and_refreshed(office: Office) -> None:
    office.until_tried()
    assert office.enrolment.state == "registered"
    assert office.carrier.registered == ["<sip:acme@10.0.0.1:5060>"]
    first = office.carrier.passed[0]
    assert first.uri == "sip:10.2.0.1"
    assert first["to"] == "<sip:acme@10.2.0.1>"
    assert first["from"].startswith("<sip:acme@10.2.0.1>;tag=")
    assert first["expires"] == "600"
    office.world.run(1200)
    assert len(office.carrier.registered) in (3, 4)
    assert len(office.carrier.challenged) == 1, "the nonce is good for the next ones"
    assert len({m["call-id"] for m in office.carrier.passed}) == 1
    cseqs = [m.cseq for m in office.carrier.passed]
    assert cseqs == sorted(set(cseqs))
    office.world.switch.drain()
    office.world.run(1)
    assert office.carrier.passed[-1]["expires"] == "0"
    assert office.enrolment.state == "waits"
    office.world.rest()


def test_the_carrier_says_for_how_long(office: Office) -> None:
    office.carrier.expires = 100
    office.until_tried()
    office.world.run(150)
    assert len(office.carrier.registered) == 3
    office.end()


def test_too_brief(office: Office) -> None:
    office.carrier.answers["REGISTER"] = (423, "Min-Expires: 1800\r\n")
    office.until_tried()
    del office.carrier.answers["REGISTER"]
    office.carrier.expires = 1800
    assert office.carrier.passed[-1]["expires"] == "1800"
    office.world.run(60)
    assert office.enrolment.state == "registered"
    office.end()


def test_a_wrong_password_is_not_hammered(office: Office) -> None:
    office.carrier.secret = "another"
    office.world.run(3600)
    tries = [m for m in office.carrier.challenged if "authorization" in m]
    assert 2 <= len(tries) <= 5
    assert office.enrolment.state == "waits"
    assert office.enrolment.why.startswith("401")
    office.end()


def test_a_carrier_that_is_away(office: Office) -> None:
    """Tried again, later each time, but not much later than it is back."""
    office.world.dead.add(office.carrier.address)
    office.world.run(1000)
    asked = [m for m in office.world.wire if m.method == "REGISTER"]
    assert asked == [], "nothing arrives"
    assert office.enrolment.why
    office.world.dead.clear()
    since = office.world.now
    while office.enrolment.state != "registered":
        office.world.run(1)
        assert office.world.now < since + 400
    office.world.dead.add(office.carrier.address)
    office.world.run(590)
    assert office.enrolment.state == "registered", "it lasts until it runs out"
    office.world.run(300)
    assert office.enrolment.state != "registered"
    office.end()


def test_it_says_when_to_come_back(office: Office) -> None:
    office.carrier.answers["REGISTER"] = (503, "Retry-After: 500 (maintenance)\r\n")
    office.until_tried()
    count = len(office.carrier.passed)
    office.world.run(450)
    assert len(office.carrier.passed) == count
    del office.carrier.answers["REGISTER"]
    office.world.run(100)
    assert office.enrolment.state == "registered"
    office.end()


def test_who_calls_the_registered_number(tmp_path: Path) -> None:
    """Two accounts with one carrier are told apart by what is called."""
    plan = (
        'routes:\n  - {match: "acme", from: "trunk:pstn", dial: "1001"}\n'
        '  - {match: "acme2", from: "trunk:other", dial: "1002"}\n'
    )
    world = World(tmp_path, TWO, plan)
    carrier = Carrier(world)
    carrier.asks = set()
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    world.run(40)
    for number, phone in (("acme", alice), ("acme2", bob)):
        line = carrier.call(number)
        assert phone.line.what == ["INVITE"], number
        phone.line.reply(486)
        line.acknowledge(line.last)
    stranger = world.agent("10.7.0.1", "stranger")
    stranger.call("acme2", SDP)
    assert stranger.line.last.status == 401, "the number alone proves nothing"
    world.switch.drain()
    world.rest()


def test_another_configuration(office: Office) -> None:
    world = office.world
    office.until_tried()
    count = len(office.carrier.passed)
    world.switch.take_up(world.switch.config)
    assert len(office.carrier.passed) == count, "nothing has changed"
    (world.folder / "plan.yaml").write_text(PLAN)
    (world.folder / "switch.yaml").write_text(CONFIG)
    world.switch.take_up(load_config(world.folder / "switch.yaml"))
    world.settle()
    assert office.carrier.passed[-1]["expires"] == "0"
    assert world.switch.accounts == {}
    (world.folder / "switch.yaml").write_text(REGISTERED.replace("s3cret", "changed"))
    office.carrier.secret = "changed"
    world.switch.take_up(load_config(world.folder / "switch.yaml"))
    world.settle()
    assert office.enrolment.state == "registered"
    office.end()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("register: true", "`register` without `user`"),
        ("password: x", "`password` without `user`"),
        ("user: x", "`user` without `password`"),
        ("user: x, password: y, register: true, register_expires: 5", "30"),
    ],
)
def test_mistakes(tmp_path: Path, lines: str, says: str) -> None:
    (tmp_path / "plan.yaml").write_text("routes: []\n")
    (tmp_path / "switch.yaml").write_text(
        CONFIG.replace('backup: {to: "sip:10.3.0.1:5060"', f'backup: {{{lines}, to: "sip:10.3.0.1"')
    )
    with pytest.raises(ConfigErrors) as raised:
        load_config(tmp_path / "switch.yaml")
    assert says in str(raised.value)
