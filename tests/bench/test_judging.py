"""Bad days: what is planned, what SIPp saw, and what of the records is called wrong."""

from __future__ import annotations

import socket
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from bench.bad_days.desk import Note
from bench.bad_days.plan import KINDS, plans
from bench.bad_days.relay import relays
from bench.bad_days.sites import SERVERS, way
from bench.bad_days.truth import Fault, Heard, Records, heard, judge
from softswitch.lab.ports import HOST, free_port

T = 1_800_000_000.0


def test_the_same_seed_has_the_same_faults() -> None:
    planned = plans(5, 12, 25.0, KINDS)
    assert planned == plans(5, 12, 25.0, KINDS) != plans(6, 12, 25.0, KINDS)
    first = [fault.kind for faults in planned for fault in faults if not fault.beside]
    assert set(first[: len(KINDS)]) == set(KINDS), "all come before one comes again"
    for faults in planned:
        for before, fault in pairwise(faults):
            assert set(fault.servers) <= set(SERVERS)
            assert not fault.beside or fault.servers[0] not in before.servers


def test_the_way_of_a_call() -> None:
    assert way("hq", "3001") == ["hq", "branch", "depot"]
    assert way("depot", "1001") == ["depot", "branch", "hq"]
    assert way("branch", "2001") == ["branch"]
    assert way("branch", "1001") == ["branch", "hq"]


def message(second: int, way: str, text: str, cseq: str) -> str:
    return (
        f"----------------------------------------------- 2027-01-15 08:00:{second:02d}.000000\n"
        f"UDP message {way} [300] bytes:\n\n{text}\n"
        f'From: "SIPp" <sip:100001@127.0.0.1:5061>;tag=1\nCall-ID: a@x\nCSeq: 1 {cseq}\n\n'
    )


def test_what_sipp_saw(tmp_path: Path) -> None:
    trace = tmp_path / "messages.log"
    trace.write_text(
        message(0, "sent", "INVITE sip:2001@127.0.0.1:5060 SIP/2.0", "INVITE")
        + message(1, "received", "SIP/2.0 100 Trying", "INVITE")
        + message(2, "received", "SIP/2.0 200 OK", "INVITE")
        + message(5, "sent", "BYE sip:2001@127.0.0.1:5060 SIP/2.0", "BYE")
        + message(6, "sent", "BYE sip:2001@127.0.0.1:5060 SIP/2.0", "BYE")
        + message(7, "received", "SIP/2.0 200 OK", "BYE")
    )
    (call,) = heard(trace, "hq").values()
    began = call.invited
    assert (call.caller, call.dialled, call.ended, call.refused) == ("100001", "2001", True, None)
    times = (call.told, call.answered, call.hung_up, call.over)
    assert times == (began + 1, began + 2, began + 5, began + 7)


ROW = {
    "call_id": "c1", "owner": "hq", "written_by": "hq", "switch": "hq", "site": "site of hq",
    "caller": "100001", "dialled": "2001", "caller_party": "trunk:phones-hq",
    "disposition": "answered", "answered_party": "trunk:carrier-branch", "answered_number": "2001",
    "answered_switch": "branch", "answered_site": "site of branch",
    "outgoing_trunk": "carrier-branch", "billsec": 3.0, "duration": 4.0, "final": 1,
}  # fmt: skip
CALL = Heard("100001", "hq", "2001", T, T, T + 1, None, T + 4, T + 4, True)
NOTES = [Note("c1", "a note", None, "desk", T), Note("c1", "a value", "note-3", "desk", T)]


def found(*rows: tuple[str, dict[str, object]]) -> Records:
    records = Records()
    records.rows["100001"] = records.by_call_id["c1"] = list(rows)
    for place, _ in rows:
        records.legs[place, "c1"] = [(s, n) for s in ("hq", "branch") for n in (0, 1)]
        talk = ("hq", "trunk:phones-hq", "trunk:carrier-branch", "2001")
        records.talks[place, "c1"] = [talk]
        records.logs.add((place, "c1", "a note"))
        records.properties.add((place, "c1", "note-3", "a value"))
    return records


def wrong(records: Records, *faults: Fault) -> list[str]:
    return judge([CALL], records, NOTES, faults).get("100001", [])


def test_a_right_row() -> None:
    assert wrong(found(("hq", ROW))) == []
    before = {**ROW, "final": 0, "billsec": None}
    assert wrong(found(("hq", ROW), ("hq/moved-01.db", before))) == []
    caretakers = {**ROW, "written_by": "branch"}
    assert wrong(found(("hq", ROW), ("branch/moved-01.db", caretakers))) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"final": 0}, "final 0"),
        ({"answered_party": "trunk:branch"}, "answered_party"),
        ({"billsec": -1.0}, "billsec -1"),
        ({"billsec": 4.5, "duration": 5.0}, "billsec 4.50, not from"),
        ({"written_by": "branch"}, "written_by"),
    ],
)
def test_a_wrong_row(change: dict[str, object], said: str) -> None:
    assert any(text.startswith(said) for text in wrong(found(("hq", {**ROW, **change}))))


def test_a_length_may_differ_by_what_a_fault_held_up() -> None:
    long = found(("hq", {**ROW, "billsec": 12.0, "duration": 13.0}))
    assert wrong(long)
    assert not wrong(long, Fault(T + 3, T + 8))
    assert wrong(long, Fault(T - 30, T - 20))


def test_two_rows_none_and_lost_notes() -> None:
    assert wrong(found(("hq", ROW), ("branch", ROW))) == ["2 rows: hq, branch"]
    assert wrong(Records()) == ["no row"]
    records = found(("hq", ROW))
    records.logs.clear()
    assert wrong(records)[0].startswith("lacks `a note`")
    records = found(("hq", ROW))
    records.properties.clear()
    assert wrong(records)[0].startswith("lacks `a value`")


def test_a_link_is_cut_and_heals() -> None:
    with socket.create_server((HOST, 0)) as far, relays() as links:
        port = free_port()
        links.add("hq", "branch", port, far.getsockname()[1])
        links.add("branch", "hq", free_port(), port)
        near = socket.create_connection((HOST, port), timeout=5)
        other, _ = far.accept()
        other.settimeout(5)
        near.sendall(b"one")
        assert other.recv(10) == b"one"
        links.cut("branch", "hq", silent=True)
        near.sendall(b"two")
        other.settimeout(0.2)
        with pytest.raises(TimeoutError):
            other.recv(10)
        links.heal("hq", "branch")
        other.settimeout(5)
        assert other.recv(10) == b"two", "what waited comes when it is healed"
        links.cut("hq", "branch", silent=False)
        assert near.recv(10) == b"", "both ends see it"
        near.close()
        other.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "relays"]
