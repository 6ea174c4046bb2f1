"""The network proxy: participants, updates both ways, registration, health, the end of a call."""

from __future__ import annotations

import gc

import pytest
from cds_fakes import FakeNet, FakeServer, Listener

from cdsplugin.data.frames import (
    Alive,
    EndOfCall,
    Hello,
    Refused,
    Register,
    Registered,
    Unregister,
    Unregistered,
    Update,
)

HOUR = 3_600_000_000


def kinds(frames: list) -> list[str]:
    return [type(frame).__name__ for _, _, frame in frames if not isinstance(frame, Alive)]


@pytest.fixture
def net() -> FakeNet:
    return FakeNet()


def pair(net: FakeNet, wrong: int = 0) -> tuple[FakeServer, FakeServer]:
    return net.server("hq"), net.server("branch", "hq", wrong=wrong)


def test_a_participant_registers_gets_everything_and_gives_its_own(net: FakeNet) -> None:
    hq, branch = pair(net)
    tms, app, remote = Listener(), Listener(), Listener()
    hq.store.register(tms, "c1", "hq")
    hq.store.register(app, "c1", "hq")
    hq.store.write(tms, "c1", "hq", {"call": {"caller": "1001"}}, ["from hq"])
    branch.store.register(remote, "c1", "hq")
    branch.store.write(remote, "c1", "branch", {"leg/branch/0": {"direction": "in"}})
    # The first contact: nothing is sent before the owner's clock is known.
    assert [type(frame) for _, _, frame in net.wires] == [Alive]
    assert kinds(net.run()) == ["Register", "Registered"]
    assert hq.values("c1") == branch.values("c1")
    assert set(hq.values("c1")) == {"call", "leg/branch/0"}
    assert remote.names() == ["call"]
    assert app.names() == ["call", "leg/branch/0"]
    call = hq.store.get("c1")
    assert hq.proxy.participants(call) == ["branch"]
    assert branch.proxy.participants(branch.store.get("c1")) == ["hq"]
    assert branch.proxy.stage("c1") == "registered"
    assert hq.proxy.stage("c1") == ""


def test_each_change_is_sent_once_and_not_to_its_author(net: FakeNet) -> None:
    hq, branch = pair(net)
    third = net.server("third", "hq")
    clients = [Listener() for _ in range(3)]
    for server, client in zip((hq, branch, third), clients, strict=True):
        server.store.register(client, "c1", "hq")
    net.run()
    branch.store.write(clients[1], "c1", "branch", {"b": 1}, ["line"])
    carried = net.run()
    assert [(a, b) for a, b, _ in carried] == [("branch", "hq"), ("hq", "third")]
    hq.store.write(clients[0], "c1", "hq", {"h": 1})
    assert [(a, b) for a, b, _ in net.run()] == [("hq", "branch"), ("hq", "third")]
    assert [c.names() for c in clients] == [["b"], ["h"], ["b", "h"]]
    assert all(s.values("c1") == {"b": 1, "h": 1} for s in (hq, branch, third))


def test_a_call_of_nobody_else_costs_no_frame(net: FakeNet) -> None:
    hq, branch = pair(net)
    client = Listener()
    hq.store.register(client, "c1", "hq")
    hq.store.write(client, "c1", "hq", {"a": 1})
    hq.store.unregister(client, "c1")
    net.advance(40)
    assert net.log == []
    assert hq.proxy.frames_out == 0
    assert branch.proxy.servers() == {}


def test_the_last_local_participant_leaves_and_the_owner_ends_the_call(net: FakeNet) -> None:
    hq, branch = pair(net)
    tms, one, two, recorder = (Listener() for _ in range(4))
    branch.store.watch(recorder)
    hq.store.register(tms, "c1", "hq")
    branch.store.register(one, "c1", "hq")
    branch.store.register(two, "c1", "hq")
    net.run()
    branch.store.unregister(one, "c1")
    assert kinds(net.run()) == []
    branch.store.write(two, "c1", "branch", {"leg": 1})
    branch.store.unregister(two, "c1")
    assert kinds(net.run()) == ["Update", "Unregister", "Unregistered"]
    assert branch.store.get("c1").settled
    assert not branch.proxy.unsettled()
    assert not hq.proxy.unsettled()
    # After that it hears no more, until the end with all entries.
    hq.store.write(tms, "c1", "hq", {"end": {"disposition": "answered"}})
    assert kinds(net.run()) == []
    hq.store.unregister(tms, "c1")
    net.advance(31)
    frames = [f for _, _, f in net.log if isinstance(f, EndOfCall)]
    assert [sorted(p.name for p in f.properties) for f in frames] == [["end", "leg"]]
    (call,) = recorder.over
    assert call.settled
    assert call.data.value("end") == {"disposition": "answered"}
    assert len(hq.store) == len(branch.store) == 0
    assert len(hq.proxy.monitor) == 0


def test_the_end_of_call_reaches_participants_that_are_still_there(net: FakeNet) -> None:
    hq, branch = pair(net)
    tms, client = Listener(), Listener()
    hq.store.register(tms, "c1", "hq")
    branch.store.register(client, "c1", "hq")
    net.run()
    hq.store.finalize()
    net.advance(0.1)
    assert [call.call_id for call in client.over] == ["c1"]
    assert len(branch.store) == 0
    # The call goes on at branch all the same: its data begins anew, with the owner too.
    branch.store.register(client, "c1", "hq")
    branch.store.write(client, "c1", "branch", {"leg": 2})
    net.run()
    assert hq.values("c1") == {"leg": 2}


def test_coming_back_while_leaving(net: FakeNet) -> None:
    hq, branch = pair(net)
    client = Listener()
    hq.store.register(Listener(), "c1", "hq")
    branch.store.register(client, "c1", "hq")
    net.run()
    branch.store.unregister(client, "c1")
    branch.store.register(client, "c1", "hq")
    assert kinds(net.run()) == ["Unregister", "Register", "Unregistered", "Registered"]
    assert branch.proxy.stage("c1") == "registered"
    assert hq.proxy.participants(hq.store.get("c1")) == ["branch"]
    assert not branch.store.get("c1").settled


def test_a_note_at_a_server_that_has_left_while_the_call_lingers(net: FakeNet) -> None:
    hq, branch = pair(net)
    client, app = Listener(), Listener()
    hq.store.register(client, "c1", "hq")
    hq.store.write(client, "c1", "hq", {"end": {}})
    branch.store.register(client, "c1", "hq")
    net.run()
    for server in (hq, branch):
        server.store.unregister(client, "c1")
    net.advance(10)
    hq.store.write(None, "c1", "hq", {"later": 1})
    branch.store.register(app, "c1", "hq")
    branch.store.write(app, "c1", "branch", {}, ["typed after the call"])
    net.run()
    assert [line.text for line in hq.store.get("c1").data.log_lines()] == ["typed after the call"]
    assert branch.values("c1")["later"] == 1


def test_leaving_before_the_owner_has_answered(net: FakeNet) -> None:
    hq, branch = pair(net)
    client = Listener()
    hq.store.register(Listener(), "c1", "hq")
    branch.store.register(Listener(), "c0", "hq")
    net.run()
    branch.store.register(client, "c1", "hq")
    branch.store.write(client, "c1", "branch", {"leg": 1})
    branch.store.unregister(client, "c1")
    assert kinds(net.run()) == ["Register", "Update", "Registered", "Unregister", "Unregistered"]
    assert branch.store.get("c1").settled
    assert hq.values("c1") == {"leg": 1}


def test_an_owner_that_nobody_knows_costs_the_sharing_and_not_the_call(
    net: FakeNet, caplog: pytest.LogCaptureFixture
) -> None:
    branch = net.server("branch")
    client, recorder = Listener(), Listener()
    branch.store.watch(recorder)
    for call_id in ("c1", "c2"):
        branch.store.register(client, call_id, "nobody")
        assert branch.store.write(client, call_id, "branch", {"leg": 1})
        branch.store.unregister(client, call_id)
    assert caplog.text.count("not in cds.peers") == 1
    assert not branch.proxy.unsettled()
    net.advance(61)
    assert [call.settled for call in recorder.over] == [False, False]
    assert recorder.over[0].data.value("leg") == 1
    assert net.log == []
    assert len(branch.store) == 0


def test_after_a_cut_live_calls_are_registered_again_and_merge(net: FakeNet) -> None:
    hq, branch = pair(net)
    here, there = Listener(), Listener()
    calls = [f"c{n}" for n in range(5)]
    for call_id in calls:
        hq.store.register(here, call_id, "hq")
        branch.store.register(there, call_id, "hq")
        branch.store.write(there, call_id, "branch", {"before": 1})
    net.advance(0.5, step=0.01)
    net.cut("hq", "branch")
    for call_id in calls:
        hq.store.write(here, call_id, "hq", {"h": call_id}, ["from hq"])
        branch.store.write(there, call_id, "branch", {"b": call_id})
    net.advance(20)
    assert "h" not in branch.values("c0")
    assert "branch" in branch.wanted or "hq" in branch.wanted
    net.log.clear()
    net.mend("hq", "branch")
    net.advance(0.1, step=0.005)
    for call_id in calls:
        assert hq.values(call_id) == branch.values(call_id)
        assert set(hq.values(call_id)) == {"before", "h", "b"}
    # Only what the other side lacked was sent, and each once.
    sent = [
        p.name for _, _, f in net.log if isinstance(f, Update | Registered) for p in f.properties
    ]
    assert sorted(sent) == sorted(["h", "b"] * 5)
    # Two at a time (``reregister_batch``).
    first = [type(f) for _, to, f in net.log if to == "hq" and not isinstance(f, Alive)][:3]
    assert first.count(Register) == 2


def test_what_was_replaced_meanwhile_does_not_come_back_to_its_author(net: FakeNet) -> None:
    hq, branch = pair(net)
    third = net.server("third", "hq")
    client = Listener()
    for server in (hq, branch, third):
        server.store.register(client, "c1", "hq")
        net.run()
    hq.store.write(client, "c1", "hq", {"account": "first"})
    net.run()
    net.cut("hq", "branch")
    third.store.write(client, "c1", "third", {"account": "second"})
    net.run()
    net.log.clear()
    net.mend("hq", "branch")
    net.advance(1)
    assert branch.values("c1") == {"account": "second"}
    assert not [f for _, to, f in net.log if to == "hq" and isinstance(f, Update)]


def test_what_is_written_while_registering_again_arrives_once(net: FakeNet) -> None:
    hq, branch = pair(net)
    here, there = Listener(), Listener()
    hq.store.register(here, "c1", "hq")
    branch.store.register(there, "c1", "hq")
    net.run()
    net.cut("hq", "branch")
    net.mend("hq", "branch")
    branch.store.write(there, "c1", "branch", {"meanwhile": 1})
    net.run()
    assert here.names() == ["meanwhile"]
    assert branch.proxy.stage("c1") == "registered"


def test_an_owner_that_lost_everything_gets_it_from_the_participant(net: FakeNet) -> None:
    hq, branch = pair(net)
    client = Listener()
    hq.store.register(client, "c1", "hq")
    hq.store.write(client, "c1", "hq", {"call": {"caller": "1001"}})
    branch.store.register(client, "c1", "hq")
    net.run()
    net.cut("hq", "branch")
    hq = net.server("hq")
    net.mend("hq", "branch")
    net.advance(1)
    assert hq.values("c1") == {"call": {"caller": "1001"}}
    branch.store.unregister(client, "c1")
    net.advance(31)
    assert len(hq.store) == 0


def test_a_participant_that_does_not_come_back_is_unregistered(net: FakeNet) -> None:
    hq, branch = pair(net)
    client = Listener()
    hq.store.register(client, "c1", "hq")
    branch.store.register(client, "c1", "hq")
    net.run()
    net.cut("hq", "branch")
    net.advance(299, step=5)
    assert hq.proxy.participants(hq.store.get("c1")) == ["branch"]
    net.advance(10, step=5)
    assert hq.proxy.participants(hq.store.get("c1")) == []
    # It comes all the same.
    net.mend("hq", "branch")
    net.advance(1)
    assert hq.proxy.participants(hq.store.get("c1")) == ["branch"]


def test_a_second_cut_begins_the_time_anew(net: FakeNet) -> None:
    hq, branch = pair(net)
    client = Listener()
    hq.store.register(client, "c1", "hq")
    branch.store.register(client, "c1", "hq")
    net.run()
    for _ in range(3):
        net.cut("hq", "branch")
        net.advance(200, step=5)
        net.mend("hq", "branch")
        net.advance(1)
    assert hq.proxy.participants(hq.store.get("c1")) == ["branch"]


def test_alive_goes_only_between_servers_that_share_live_calls(net: FakeNet) -> None:
    hq, branch = pair(net)
    client = Listener()
    hq.store.register(client, "c1", "hq")
    branch.store.register(client, "c1", "hq")
    net.advance(26)
    alive = [(a, b) for a, b, f in net.log if isinstance(f, Alive)]
    assert alive.count(("hq", "branch")) == alive.count(("branch", "hq"))
    assert 5 <= alive.count(("hq", "branch")) <= 7
    branch.store.unregister(client, "c1")
    net.run()
    net.log.clear()
    net.advance(30)
    assert [f for _, _, f in net.log if isinstance(f, Alive)] == []
    assert all(server.timers.waiting() == 0 for server in (hq,))


def test_silence_is_reported_and_so_is_the_return(net: FakeNet) -> None:
    hq, branch = pair(net)
    client = Listener()
    hq.store.register(client, "c1", "hq")
    branch.store.register(client, "c1", "hq")
    net.run()
    net.cut("hq", "branch")
    net.advance(29, step=1)
    assert branch.health == hq.health == []
    net.advance(10, step=1)
    assert branch.health == [("hq", False)]
    assert hq.health == [("branch", False)]
    assert hq.proxy.health.down() == ["branch"]
    net.mend("hq", "branch")
    net.advance(1)
    assert branch.health[1:] == [("hq", True)]
    assert hq.health[1:] == [("branch", True)]


def test_a_half_open_connection_is_dropped_after_the_silence(net: FakeNet) -> None:
    hq, branch = pair(net)
    client = Listener()
    hq.store.register(client, "c1", "hq")
    branch.store.register(client, "c1", "hq")
    net.run()
    carry, net.carry = net.carry, lambda *_: None  # nothing arrives, nobody is told
    net.advance(40, step=1)
    assert net.connected == set()
    net.carry = carry
    hq.store.write(client, "c1", "hq", {"h": 1})
    net.mend("hq", "branch")
    net.advance(1)
    assert branch.values("c1") == {"h": 1}


def test_stamps_follow_the_owners_clock(net: FakeNet) -> None:
    hq, branch = pair(net, wrong=-5 * HOUR)
    client = Listener()
    hq.store.register(client, "c1", "hq")
    branch.store.register(client, "c1", "hq")
    net.run()
    branch.store.write(client, "c1", "branch", {"b": 1})
    stamp = branch.store.get("c1").data.properties["b"].stamp
    assert abs(stamp - hq.timers.now_us()) < 1000
    net.advance(10)
    # ``Alive`` tells hq of branch's clock too.
    ahead = hq.clock.time_base("branch") - hq.clock.own()
    assert abs(ahead + 5 * HOUR) < 1000


def test_only_the_owner_takes_registrations(net: FakeNet, caplog: pytest.LogCaptureFixture) -> None:
    hq, branch = pair(net)
    client = Listener()
    net.dial("branch", "hq")
    hq.store.register(client, "c1", "third")
    branch.store.register(client, "c1", "hq")  # branch was told wrongly
    carried = net.run()
    assert [type(f) for _, _, f in carried if isinstance(f, Refused)] == [Refused]
    assert "goes on unshared" in caplog.text
    assert branch.store.write(client, "c1", "branch", {"b": 1})
    assert kinds(net.run()) == []
    branch.store.unregister(client, "c1")
    net.advance(61)
    assert len(branch.store) == 0


def test_the_owner_takes_no_more_calls_of_others_than_allowed(net: FakeNet) -> None:
    hq, branch = pair(net)
    hq.proxy._max_remote_calls = 1
    client = Listener()
    for call_id in ("c1", "c2"):
        branch.store.register(client, call_id, "hq")
    net.run()
    assert hq.store.get("c1") is not None
    assert hq.store.get("c2") is None


def test_frames_that_make_no_sense_here_do_no_harm(net: FakeNet) -> None:
    hq, _branch = pair(net)
    client = Listener()
    net.dial("branch", "hq")
    hq.store.register(client, "c1", "hq")
    for frame in (
        Update("none", [], []),
        Registered("none", 1, 1, {}, [], []),
        Registered("c1", 1, 1, {}, [], []),
        Refused("none", "why"),
        Unregister("none"),
        Unregister("c1"),
        Unregistered("none"),
        EndOfCall("none", [], []),
        EndOfCall("c1", [], []),
        Hello("cds", 1, "branch", "x"),
    ):
        hq.proxy.received("branch", frame)
    net.run()
    assert hq.store.get("c1") is not None
    assert not hq.proxy.unsettled()


def test_stopped_it_holds_nothing(net: FakeNet) -> None:
    hq, branch = pair(net)
    client = Listener()
    hq.store.register(client, "c1", "hq")
    branch.store.register(client, "c1", "hq")
    net.run()
    net.cut("hq", "branch")
    for server in (hq, branch):
        server.store.finalize()
        server.proxy.stop()
        assert server.timers.waiting() == 0
        assert server.proxy.servers() == {}


def test_shared_calls_that_are_over_leave_no_garbage(net: FakeNet) -> None:
    hq, branch = pair(net)
    client, other = Listener(), Listener()
    hq.store.register(client, "first", "hq")
    branch.store.register(other, "first", "hq")
    net.run()
    gc.collect()
    gc.disable()
    try:
        for n in range(50):
            hq.store.register(client, f"c{n}", "hq")
            branch.store.register(other, f"c{n}", "hq")
            hq.store.write(client, f"c{n}", "hq", {"a": {"x": 1}})
            branch.store.write(other, f"c{n}", "branch", {"b": {"x": 1}}, ["l"])
            net.run()
            branch.store.unregister(other, f"c{n}")
            hq.store.unregister(client, f"c{n}")
        net.advance(70)
        net.log.clear()
        assert len(hq.store) == len(branch.store) == 1
        assert len(hq.proxy.monitor) == 1
        assert gc.collect() == 0
    finally:
        gc.enable()
