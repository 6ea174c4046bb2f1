"""What is known of recordings, in the data of calls: it may come when the call is over already."""

from __future__ import annotations

import pytest
from cds_calls import AT, SECOND, answered_call
from cds_fakes import FakeNet, FakeServer

from cdsplugin.tms.tms import Tms
from softswitch.events import CallRestored, CallStarted, RecordingTold, SwitchStarted

KEPT = {"state": "kept", "path": "r/c1.wav", "seconds": "9.50", "sha256": "ab"}
RUNNING = {"state": "recording", "path": "r/c1.wav"}


@pytest.fixture
def hq() -> FakeServer:
    return FakeNet().server("hq")


def told(facts: dict[str, str], call_id: str = "c1", switch: str = "hq") -> RecordingTold:
    return RecordingTold(call_id=call_id, at=AT + 5 * SECOND, switch=switch, talk=1, facts=facts)


def test_while_it_is_on_and_after_its_end(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    events = answered_call("c1")
    for event in events[:-2]:
        tms.event(event)
    tms.event(told(RUNNING))
    assert hq.values("c1")["recording/hq/1"] == RUNNING
    for event in events[-2:]:
        tms.event(event)
    tms.event(told(KEPT))
    assert hq.values("c1")["recording/hq/1"] == KEPT
    assert tms.live() == 0
    assert tms.calls_of("hq") == 0


def test_in_the_turn_of_its_end(hq: FakeServer) -> None:
    soon: list = []
    tms = Tms(hq.store, hq.clock, soon.append)
    for event in [*answered_call("c1"), told(KEPT)]:
        tms.event(event)
    for what in soon:
        what()
    assert hq.values("c1")["recording/hq/1"] == KEPT
    assert hq.store.get("c1").clients == ()


def test_of_no_call_that_is_known(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    tms.event(told(KEPT, "nobody knows it"))
    assert hq.store.get("nobody knows it") is None
    assert tms.live() == 0


def test_of_the_call_of_another_switch() -> None:
    """Its server has the call, and is told."""
    net = FakeNet()
    hq, branch = net.server("hq", "branch"), net.server("branch", "hq")
    tms, there = Tms(hq.store, hq.clock), Tms(branch.store, branch.clock)
    events = answered_call("c1")
    for event in events[:-1]:
        tms.event(event)
    started = next(e for e in events if isinstance(e, CallStarted))
    there.event(
        CallStarted(
            **{
                **{name: getattr(started, name) for name in started.__struct_fields__},
                "switch": "branch",
                "site": "there",
                "origin": False,
                "owner": "hq",
            }
        )
    )
    net.run()
    there.event(told(RUNNING, switch="branch"))
    net.run()
    assert hq.values("c1")["recording/branch/1"] == RUNNING


def test_after_a_restart(hq: FakeServer) -> None:
    """What a killed process has left is made whole before its calls are told again, or after."""
    tms = Tms(hq.store, hq.clock)
    events = answered_call("c1")[:-2]
    for event in [*events, told(RUNNING)]:
        tms.event(event)
    started = next(e for e in events if isinstance(e, CallStarted))
    tms.event(
        CallRestored(
            call_id="c1", at=AT + 6 * SECOND, switch="hq", leg=started.leg, told=tuple(events)
        )
    )
    tms.event(SwitchStarted(at=AT + 6 * SECOND, switch="hq"))
    tms.event(told(KEPT))
    assert hq.values("c1")["recording/hq/1"] == KEPT
    assert tms.live() == 1
