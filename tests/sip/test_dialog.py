"""Dialogs (RFC 3261 §12) and the 2xx that is sent until it is acknowledged (§13.3.1.4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from softswitch.sip.dialog import Dialog, Unacknowledged, address_uris
from softswitch.sip.message import Request, Response
from softswitch.sip.parser import parse
from softswitch.sip.timers import Timers, TimerSettings


class Wire:
    remote = ("192.0.2.9", 5060)
    sent_by = "192.0.2.1:5060"
    listener = ""
    peer = ""
    reliable = False
    transport = "udp"

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        self.sent.append(data)


WIRE = Wire()


def invite(extra: str = "Contact: <sip:alice@192.0.2.9>\r\n", cseq: int = 5) -> Request:
    message = parse(
        f"INVITE sip:bob@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n"
        f'From: "Alice" <sip:alice@h>;tag=a\r\nTo: Bob <sip:bob@h>\r\nCall-ID: call\r\n'
        f"CSeq: {cseq} INVITE\r\n{extra}Content-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(message, Request)
    return message


def answer(
    status: int = 200, tag: str = "b", extra: str = "Contact: <sip:bob@192.0.2.8>\r\n"
) -> Response:
    to_tag = f";tag={tag}" if tag else ""
    message = parse(
        f"SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK2\r\n"
        f"From: <sip:alice@h>;tag=a\r\nTo: <sip:bob@h>{to_tag}\r\nCall-ID: call\r\n"
        f"CSeq: 1 INVITE\r\n{extra}Content-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(message, Response)
    return message


def caller() -> Dialog:
    return Dialog("call", "<sip:alice@h>;tag=a", "a", "<sip:bob@h>", WIRE)


RECORD = "Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\nRecord-Route: <sip:p3;lr>\r\n"


def test_the_called_side() -> None:
    dialog = Dialog.from_request(
        invite("Contact: <sip:alice@192.0.2.9>\r\n" + RECORD), "mine", WIRE
    )
    assert dialog.routes == ("sip:p1;lr", "sip:p2;lr", "sip:p3;lr")
    assert (dialog.local, dialog.remote) == (
        "Bob <sip:bob@h>;tag=mine",
        '"Alice" <sip:alice@h>;tag=a',
    )
    assert (dialog.remote_tag, dialog.remote_cseq, dialog.call_id) == ("a", 5, "call")
    bye = dialog.request("BYE", "z9hG4bKx")
    assert bye.uri == "sip:alice@192.0.2.9"
    assert bye.routes == "Route: <sip:p1;lr>\r\nRoute: <sip:p2;lr>\r\nRoute: <sip:p3;lr>\r\n"
    assert (bye.from_, bye.to, bye.call_id, bye.cseq) == (dialog.local, dialog.remote, "call", 1)
    hop = dialog.next_hop()
    assert hop is not None
    assert hop.host == "p1"


def test_the_calling_side_reverses_the_route() -> None:
    dialog = caller()
    assert dialog.follow(answer(extra="Contact: <sip:bob@192.0.2.8>\r\n" + RECORD))
    assert dialog.confirmed
    assert dialog.routes == ("sip:p3;lr", "sip:p2;lr", "sip:p1;lr")
    assert dialog.remote == "<sip:bob@h>;tag=b"
    ack = dialog.request("ACK", "z9hG4bKx", cseq=7)
    assert (ack.cseq, dialog.local_cseq) == (7, 0)
    assert ack.routes.startswith("Route: <sip:p3;lr>\r\n")


def test_a_strict_router_is_the_request_uri() -> None:
    """§12.2.1.1: the remote target then comes last among the routes."""
    dialog = caller()
    record = "Record-Route: <sip:p1;lr>, <sip:strict>\r\n"
    dialog.follow(answer(extra="Contact: <sip:bob@192.0.2.8>\r\n" + record))
    bye = dialog.request("BYE", "z9hG4bKx")
    assert bye.uri == "sip:strict"
    assert bye.routes == "Route: <sip:p1;lr>\r\nRoute: <sip:bob@192.0.2.8>\r\n"
    hop = dialog.next_hop()
    assert hop is not None
    assert hop.host == "strict"


def test_routes_that_are_no_sip_uris() -> None:
    dialog = caller()
    dialog.follow(answer(extra="Contact: <sip:bob@h>\r\nRecord-Route: <x:y>\r\n"))
    assert dialog.next_hop() is None
    assert dialog.request("BYE", "z9hG4bKx").routes == "Route: <x:y>\r\n"


def test_requests_count_up() -> None:
    dialog = caller()
    dialog.target = "sip:bob@192.0.2.8"
    requests = [dialog.request(m, "z9hG4bKx", extra="X: 1\r\n", body=b"b") for m in ("INFO", "BYE")]
    assert [r.cseq for r in requests] == [1, 2]
    assert (requests[0].routes, requests[0].extra, requests[0].body) == ("", "X: 1\r\n", b"b")
    hop = dialog.next_hop()
    assert hop is not None
    assert hop.host == "192.0.2.8"


def test_remote_requests_must_count_up() -> None:
    dialog = Dialog.from_request(invite(), "mine", WIRE)
    assert not dialog.in_order(invite(cseq=5))
    assert not dialog.in_order(invite(cseq=4))
    assert dialog.in_order(invite(cseq=9))
    assert not dialog.in_order(invite(cseq=9))
    assert dialog.remote_cseq == 9


def test_forks_before_and_after_the_answer() -> None:
    """The newest early dialog is followed until a 2xx settles it; then all others are strangers."""
    dialog = caller()
    early = "Contact: <sip:one@192.0.2.7>\r\nRecord-Route: <sip:p1;lr>\r\n"
    assert dialog.follow(answer(180, "one", early))
    assert (dialog.remote_tag, dialog.target, dialog.confirmed) == (
        "one",
        "sip:one@192.0.2.7",
        False,
    )
    assert dialog.follow(answer(183, "two", ""))
    assert dialog.remote_tag == "two"
    assert dialog.follow(answer(200, "three"))
    assert (dialog.remote_tag, dialog.target, dialog.routes) == ("three", "sip:bob@192.0.2.8", ())
    assert not dialog.follow(answer(200, "one"))
    assert dialog.follow(answer(200, "three"))
    assert dialog.remote_tag == "three"


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "Contact: *\r\n",
        "Contact: <tel:+1>\r\n",
        "Contact: <mailto:a@b>\r\n",
        "Contact: <sip:a@b>\r\nRecord-Route: p1\r\n",
    ],
)
def test_contacts_and_routes_that_make_no_dialog(extra: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Dialog.from_request(invite(extra), "mine", WIRE)
    with pytest.raises(ValueError):  # noqa: PT011
        caller().follow(answer(200, "b", extra))


def test_an_invite_has_one_contact() -> None:
    with pytest.raises(ValueError, match="one Contact"):
        Dialog.from_request(invite("Contact: <sip:a@b>, <sip:c@d>\r\n"), "mine", WIRE)


def test_target_refresh() -> None:
    """§12.2: by a request or its 2xx; what cannot be a target changes nothing."""
    dialog = Dialog.from_request(invite(), "mine", WIRE)
    dialog.refresh_target(invite("Contact: New <sip:new@192.0.2.10>;x=1\r\n"))
    assert dialog.target == "sip:new@192.0.2.10"
    for extra in ("", "Contact: *\r\n", "Contact: <tel:+1>\r\n"):
        dialog.refresh_target(answer(extra=extra))
        assert dialog.target == "sip:new@192.0.2.10"


def test_address_uris() -> None:
    assert address_uris(None) == []
    assert address_uris(["<sip:a>", '"x, y" <sip:b>;q=1, sip:c', "<sip:d>,<sip:e>"]) == [
        "sip:a",
        "sip:b",
        "sip:c",
        "sip:d",
        "sip:e",
    ]


# --- the 2xx until its ACK


class World:
    def __init__(self, t1: float = 0.5) -> None:
        self.now = 0.0
        self.timers = Timers(lambda: self.now)
        self.wire = Wire()
        self.ended = 0
        self.times: list[float] = []
        self.waiting = Unacknowledged(
            self.timers, TimerSettings(t1), self.wire, b"200", 3, self.timeout
        )

    def timeout(self) -> None:
        self.ended += 1

    def wait(self, until: float) -> None:
        while (due := self.timers.next_due()) is not None and due <= until:
            self.now = max(self.now, due)
            before = len(self.wire.sent)
            self.timers.advance()
            self.times += [self.now] * (len(self.wire.sent) - before)
        self.now = until


def test_a_2xx_is_sent_again_until_64_t1() -> None:
    world = World()
    world.wait(31.9)
    wanted = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert len(world.times) == len(wanted)
    assert all(0 <= t - w < 0.2 for t, w in zip(world.times, wanted, strict=True))
    assert set(world.wire.sent) == {b"200"}
    assert (world.ended, world.waiting.cseq) == (0, 3)
    world.wait(32.5)
    assert world.ended == 1
    assert len(world.timers) == 0
    world.waiting.stop()
    world.wait(100.0)
    assert world.ended == 1


def test_its_ack_stops_it() -> None:
    world = World()
    world.wait(5.0)
    world.waiting.stop()
    assert len(world.timers) == 0
    world.wait(100.0)
    assert len(world.wire.sent) == 3
    assert world.ended == 0
    assert world.waiting.data == b""


@pytest.mark.parametrize("t1", [0.01, 0.03])
def test_sums_that_do_not_come_out_even(t1: float) -> None:
    world = World(t1)
    world.wait(100.0)
    assert len(world.wire.sent) == 6
    assert world.ended == 1
