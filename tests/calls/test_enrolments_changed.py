"""Registrations with carriers, when what they are made of changes meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import CONFIG, PLAN
from calls.carrier import REGISTERED, Carrier
from calls.test_enrolments import Office
from softswitch.configuration import load_config


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def reload(office: Office, config: str, plan: str = PLAN) -> None:
    folder = office.world.folder
    (folder / "plan.yaml").write_text(plan)
    (folder / "switch.yaml").write_text(config)
    office.world.switch.take_up(load_config(folder / "switch.yaml"))
    office.world.settle()


def without_pstn(config: str) -> str:
    lines = [line for line in config.splitlines() if not line.strip().startswith("pstn:")]
    return "\n".join(lines) + "\n"


NO_TRUNK = 'routes:\n  - {match: "1XXX", from: any, dial: extension, timeout: 20}\n'


def test_the_trunk_is_gone(office: Office) -> None:
    """It is told where it was, though nothing else is known of it any more."""
    office.until_tried()
    assert office.enrolment.state == "registered"
    reload(office, without_pstn(REGISTERED), NO_TRUNK)
    assert office.carrier.passed[-1]["expires"] == "0"
    assert office.enrolment is None
    count = len(office.carrier.inbox)
    office.world.run(2000)
    assert len(office.carrier.inbox) == count
    office.end()


def test_the_trunk_is_elsewhere(office: Office) -> None:
    """Not registered any more where it was, but where it is."""
    office.until_tried()
    moved = Carrier(office.world, ("10.2.0.7", 5060))
    reload(office, REGISTERED.replace('"sip:10.2.0.1:5060", from', '"sip:10.2.0.7:5060", from'))
    assert office.carrier.passed[-1]["expires"] == "0"
    assert [m["expires"] for m in moved.passed] == ["600"]
    office.end()


def test_the_same_registration_on_other_terms(office: Office) -> None:
    """What ends the one before would end the new one as well, if it came after it."""
    office.until_tried()
    count = len(office.carrier.passed)
    reload(office, REGISTERED.replace("register: true", "register: true, register_expires: 900"))
    assert [m["expires"] for m in office.carrier.passed[count:]] == ["900"]
    assert office.enrolment.state == "registered"
    office.end()


def test_an_address_is_found_while_it_waits(office: Office) -> None:
    """It is asked once, and what it waited for is over."""
    world, carrier = office.world, office.carrier
    carrier.answers["REGISTER"] = (503, "")
    office.until_tried()
    del carrier.answers["REGISTER"]
    count = len(carrier.passed)
    world.switch.enrolments.found("pstn")
    world.settle()
    world.run(200)
    assert len(carrier.passed) == count + 1
    assert office.enrolment.state == "registered"
    office.end()


def test_whoever_turns_out_to_be_a_trunk_is_banned_no_more(office: Office) -> None:
    bans, trunks = office.world.switch.bans, office.world.switch.trunks
    bans.add("192.0.2.77", 3600)
    trunks.set_addresses("pstn", [("192.0.2.77", 5060)])
    assert not bans.banned
    with pytest.raises(ValueError, match="a trunk's"):
        bans.add("192.0.2.77", 3600)


def test_an_address_is_found_after_a_refusal(office: Office) -> None:
    """A new address is no new password: the carrier would lock it out."""
    world, carrier = office.world, office.carrier
    carrier.secret = "another"
    office.until_tried()
    count = len(carrier.challenged)
    for _ in range(20):
        world.switch.enrolments.found("pstn")
        world.run(5)
    assert len(carrier.challenged) == count
    office.end()


def test_stopped_while_it_waits(office: Office) -> None:
    """Nothing of it is left that would ask."""
    world, carrier = office.world, office.carrier
    carrier.answers["REGISTER"] = (503, "")
    office.until_tried()
    world.switch.enrolments.found("pstn")
    world.settle()
    del carrier.answers["REGISTER"]
    reload(office, CONFIG)
    count = len(carrier.inbox)
    world.run(2000)
    assert len(carrier.inbox) == count
    office.end()


def test_it_runs_out_before_it_is_tried_again(office: Office) -> None:
    """Whoever looks sees how it is, not how it was."""
    world, carrier = office.world, office.carrier
    office.until_tried()
    carrier.answers["REGISTER"] = (503, "Retry-After: 3000\r\n")
    world.run(1200)
    assert office.enrolment.state == "waits"
    office.end()


def several(tmp_path: Path) -> tuple[Office, Carrier]:
    """Its carrier has two addresses; the first is dead."""
    office = Office(
        tmp_path, REGISTERED.replace('"sip:10.2.0.1:5060", from', '"sip:x.example", from')
    )
    other = Carrier(office.world, ("10.2.0.2", 5060))
    office.world.dead.add(office.carrier.address)
    office.world.switch.trunks.set_addresses("pstn", (office.carrier.address, other.address))
    office.world.settle()
    return office, other


def test_one_of_its_addresses_is_dead(tmp_path: Path) -> None:
    """The next one is asked as soon as that is known (RFC 3263 §4.3), and not the first again."""
    office, other = several(tmp_path)
    office.world.run(45)
    assert office.enrolment.state == "registered"
    assert len(other.registered) == 1
    office.world.switch.drain()
    office.world.run(1)
    assert other.passed[-1]["expires"] == "0", "where it is registered"
    office.world.rest()


def test_all_of_its_addresses_refuse(tmp_path: Path) -> None:
    """Each is asked once, then there is a pause."""
    office, other = several(tmp_path)
    world = office.world
    world.dead.clear()
    for one in (office.carrier, other):
        one.answers["REGISTER"] = (503, "")
    world.run(45)
    asked = len(office.carrier.passed) + len(other.passed)
    assert 2 <= asked <= 8
    assert office.enrolment.state == "waits"
    for one in (office.carrier, other):
        del one.answers["REGISTER"]
    world.run(400)
    assert office.enrolment.state == "registered"
    office.end()
