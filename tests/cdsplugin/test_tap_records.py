"""What is known of programs that listen, in the data of calls."""

from __future__ import annotations

from cds_calls import AT, SECOND, answered_call
from cds_fakes import FakeNet

from cdsplugin.tms.tms import Tms
from softswitch.events import TapTold


def told(state: str, tap: int = 1) -> TapTold:
    facts = {"state": state, "host": "agent.example"}
    return TapTold(call_id="c1", at=AT + 5 * SECOND, switch="hq", talk=2, tap=tap, facts=facts)


def test_each_of_a_talk() -> None:
    hq = FakeNet().server("hq")
    tms = Tms(hq.store, hq.clock)
    events = answered_call("c1")
    for event in events[:-2]:
        tms.event(event)
    tms.event(told("listening"))
    tms.event(told("waiting", 2))
    tms.event(told("ended"))
    for event in events[-2:]:
        tms.event(event)
    values = hq.values("c1")
    assert values["tap/hq/2/1"] == {"state": "ended", "host": "agent.example"}
    assert values["tap/hq/2/2"] == {"state": "waiting", "host": "agent.example"}
    assert tms.live() == 0
