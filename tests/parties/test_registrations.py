"""The rows of registrations: what is written, and read by the next process."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.parties.registrar import Binding, Registrar, Settings
from softswitch.parties.registrations import REGISTRATION, Registered, decode, encode

BINDING = Binding(
    uri="sip:1001@192.0.2.7:5062;line=x",
    flow=("udp", "198.51.100.1", 40000),
    target=("udp", "198.51.100.1", 40000),
    q=0.5,
    expires_at=1300.0,
    since=1000.0,
    call_id="abc@192.0.2.7",
    cseq=7,
    instance="<urn:uuid:1>",
    reg_id="1",
    params=";+sip.instance",
    user_agent="phone/1",
)


def test_times_are_told_in_the_reader_s_clock() -> None:
    row = encode("1001", [BINDING], ahead=1_800_000_000.0)
    aor, (binding,) = decode(row, ahead=1_800_000_900.0)
    assert aor == "1001"
    assert binding == replace(BINDING, expires_at=400.0, since=100.0)


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_any_bytes_come_back(one: bytes, other: bytes) -> None:
    """Headers may hold what is no UTF-8; the parser keeps it as surrogates."""
    binding = replace(
        BINDING,
        call_id=one.decode("utf-8", "surrogateescape"),
        user_agent=other.decode("utf-8", "surrogateescape"),
    )
    assert decode(encode("1001", [binding], 0.0), 0.0) == ("1001", [binding])


def test_rows_of_calls_are_told_apart() -> None:
    assert REGISTRATION.is_one(encode("1001", [], 0.0))
    assert not REGISTRATION.is_one(msgspec.msgpack.encode([["a"], False]))


@pytest.mark.parametrize("rest", [b"", b"\x92", b"\x92\xa41001\x01", b"\xff" * 40])
def test_what_is_none_is_refused(rest: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(b"r" + rest, 0.0)


def registrar(now: float = 1000.0, **settings: int) -> Registrar:
    return Registrar(lambda: now, Settings(**settings))


def test_the_row_says_what_is_registered_when_it_is_written() -> None:
    phones = registrar()
    kept = Registered("1001", phones, lambda: 50.0, "")
    assert decode(kept.written(), 50.0) == ("1001", [])
    phones.restore("1001", [BINDING])
    assert decode(kept.written(), 50.0) == ("1001", [BINDING])


def test_restored_is_what_holds_still() -> None:
    phones = registrar()
    over = replace(BINDING, expires_at=1000.0)
    by_tcp = replace(BINDING, target=("tcp", "198.51.100.1", 40000))
    assert phones.restore("1001", [over, by_tcp]) == []
    assert len(phones) == 0
    assert phones.restore("1001", [over, BINDING, by_tcp]) == [BINDING]
    assert phones.contacts("1001") == [BINDING]
    assert len(phones) == 1
    assert phones.expire(1299.0) == 1300.0
    assert phones.expire(1300.0) is None
    assert len(phones) == 0


def test_no_more_are_restored_than_there_is_room_for() -> None:
    phones = registrar(max_registrations=3)
    two = [BINDING, replace(BINDING, uri="sip:1001@192.0.2.8")]
    assert phones.restore("1001", two) == two
    assert phones.restore("1002", two) == two[:1]
    assert phones.restore("1003", two) == []
    assert len(phones) == 3


def test_none_lasts_longer_than_it_could_have_got() -> None:
    """The row was written by a clock that was years ahead of the one that it is read by."""
    phones = registrar(max_expires=7200)
    years = 1e9
    late = replace(BINDING, expires_at=1300.0 + years, since=1000.0 + years)
    assert phones.restore("1001", [late]) == [replace(BINDING, expires_at=8200.0, since=1000.0)]
