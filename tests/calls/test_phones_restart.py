"""Registrations that outlive the process: phones can be called as before after it was killed."""

from __future__ import annotations

import pytest

from calls.call_world import CONFIG, Agent, World


def rings(world: World, number: str, *phones: Agent) -> None:
    """A call to an extension rings these phones of it, and is given up."""
    heard = [len(phone.lines) for phone in phones]
    a = world.agent("10.1.0.1", "alice").call(number)
    world.run(0.01)
    assert [len(phone.lines) for phone in phones] == [before + 1 for before in heard]
    a.cancel()
    for phone in phones:
        phone.line.reply(180)
        phone.line.reply(200, to="CANCEL")
        phone.line.reply(487)
    a.acknowledge(a.last)
    world.run(40)


def unreachable(world: World, number: str) -> None:
    a = world.agent("10.1.0.1", "alice").call(number)
    assert a.last.what == "480 INVITE"
    a.acknowledge(a.last)
    world.run(40)


def test_phones_are_still_registered(journalled: World) -> None:
    world = journalled
    desk, mobile = world.phone("1001", "10.9.0.1"), world.phone("1001", "10.9.0.2")
    other = world.phone("1002", "10.9.0.3")
    world.kill()
    world.run(600)
    world.start()
    assert len(world.switch.registrar) == 3
    rings(world, "1001", desk, mobile)
    rings(world, "1002", other)
    desk.register()  # once more: the same binding
    assert len(world.switch.registrar) == 3
    world.restart()
    rings(world, "1001", desk, mobile)


def test_the_phone_hears_of_its_registration_once_that_is_written(journalled: World) -> None:
    world = journalled
    phone = Agent(world, ("10.9.0.1", 5060), "1001", "a")
    outbox = world.outboxes["10.0.0.1", 5060]
    store, asked = outbox.store, []
    phone.register()
    world.switch.registrar.expire(world.now + 10_000)
    world.run(2)
    assert world.rows.rows == {}
    outbox.store = asked.append
    assert phone.register().status == 401, "nothing since the challenge"
    assert len(world.switch.registrar) == 1
    assert (world.rows.rows, len(outbox)) == ({}, 1)
    while asked:
        store(asked.pop(0))
    world.settle()
    assert phone.inbox[-1].status == 200
    assert len(world.rows.rows) == 1


def test_a_registration_lasts_no_longer_for_a_restart(journalled: World) -> None:
    world = journalled
    world.phone("1001", "10.9.0.1")
    world.run(1800)
    world.restart(1790)
    assert len(world.switch.registrar) == 1
    world.restart(20)
    assert len(world.switch.registrar) == 0
    unreachable(world, "1001")
    assert world.rows.rows == {}


def test_a_refresh_counts(journalled: World) -> None:
    world = journalled
    phone = world.phone("1001", "10.9.0.1")
    world.run(3000)
    phone.register()
    world.restart(3000)
    rings(world, "1001", phone)


def test_who_unregistered_stays_so(journalled: World) -> None:
    world = journalled
    phone = world.phone("1001", "10.9.0.1")
    phone.register(f"<sip:1001@{phone.host_port}>;expires=0")
    world.kill()  # at once: the row that says so is on disk
    assert len(world.rows.rows) == 1
    world.start()
    unreachable(world, "1001")
    assert world.rows.rows == {}


def test_an_extension_that_is_no_more_is_forgotten(journalled: World) -> None:
    world = journalled
    world.phone("1001", "10.9.0.1")
    phone = world.phone("1002", "10.9.0.2")
    world.kill()
    world.start(
        CONFIG.replace('  "1001": {name: Alice, password: a}\n', ""),
        'routes: [{match: "1XXX", from: any, dial: extension, timeout: 20}]',
    )
    assert len(world.switch.registrar) == 1
    rings(world, "1002", phone)
    assert len(world.rows.rows) == 1


def test_registrations_are_written_again_with_a_new_file(journalled: World) -> None:
    world = journalled
    phones = [world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")]
    world.rows.crowded = True
    phones[0].register()
    phones[0].register()  # the next commit fills it
    world.run(1)
    assert world.rows.begun is None, "finished"
    world.restart()
    assert len(world.switch.registrar) == 2


def test_without_a_journal_nothing_is_kept(world: World) -> None:
    world.phone("1001", "10.9.0.1")
    assert len(world.switch.registrations) == 0


def test_removed_registered_and_removed_again(journalled: World) -> None:
    """The time of the first removal must not take away what the second has yet to write."""
    world = journalled
    phone = world.phone("1001", "10.9.0.1")
    gone = f"<sip:1001@{phone.host_port}>;expires=0"
    phone.register(gone)
    world.run(0.5)
    phone.register()
    outbox = world.outboxes["10.0.0.1", 5060]
    store, asked = outbox.store, []
    world.run(0.4)
    outbox.store = asked.append
    phone.register(gone)
    world.run(0.3)
    assert len(world.switch.registrations) == 1
    while asked:
        store(asked.pop(0))
    world.settle()
    assert phone.inbox[-1].status == 200
    world.kill()
    world.start()
    unreachable(world, "1001")


def test_a_clock_that_is_put_right_changes_no_registration(journalled: World) -> None:
    """Phones register before the machine knows what time it is."""
    world = journalled
    world.utc_ahead = -10 * 365 * 86400.0
    world.kill()
    world.start()
    phone = world.phone("1001", "10.9.0.1")
    world.run(100)
    world.utc_ahead = 0.0
    world.switch.registrations.expire()
    world.run(0.1)
    world.kill()
    world.run(3000)
    world.start()
    rings(world, "1001", phone)
    world.restart(600)
    unreachable(world, "1001")


def test_rows_that_cannot_be_read_cost_nobody_else_anything(
    journalled: World, caplog: pytest.LogCaptureFixture
) -> None:
    world = journalled
    phone = world.phone("1001", "10.9.0.1")
    world.kill()
    (row,) = world.rows.rows
    world.rows.rows[row + 1] = b"r\xff"
    world.rows.rows[row + 2] = b"rubbish"
    world.rows.rows[row + 3] = world.rows.rows[row]  # no extension has two
    world.start()
    rings(world, "1001", phone)
    assert list(world.rows.rows) == [row]
    assert sum("of the journal cannot be read" in r.getMessage() for r in caplog.records) == 2
