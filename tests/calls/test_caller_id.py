"""Who is shown as the caller, to phones, to our switches and to carriers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.calls.caller_id import asserted, shown
from softswitch.calls.core import Caller
from softswitch.config import CallerId, NumberForm, Shape, Trunk, compile_pattern
from softswitch.config.addresses import TrunkAddress
from softswitch.configuration import load_config
from softswitch.dialplan import Source

ALICE = Caller("1001", "Alice at the desk")
PHONE = Source("extension", "1001")
BRANCH = Source("trunk", "branch", True)
PSTN = Source("trunk", "pstn")
OUTSIDE = Caller("+4915112345", "Bob")
OFFICE = "+493012345600"

BARE = Trunk("carrier", TrunkAddress("192.0.2.1", 5060, "udp"))


def carrier(
    number: str = "",
    name: str | None = None,
    anonymous: bool | None = None,
    forms: tuple[NumberForm, ...] = (),
) -> Trunk:
    return replace(BARE, caller_id=CallerId(number, name, anonymous, forms))


def form(match: str, strip: int = 0, prepend: str = "") -> NumberForm:
    return NumberForm(compile_pattern(match), Shape(strip, prepend))


def test_phones_and_our_switches_see_who_calls() -> None:
    outside = CallerId(OFFICE, "Acme", True)
    assert shown(ALICE, PHONE, own=outside) == ALICE
    assert shown(OUTSIDE, PSTN) == OUTSIDE


@pytest.mark.parametrize(
    ("own", "trunk", "seen"),
    [
        (None, BARE, Caller("1001", "")),
        (None, carrier(), Caller("1001", "")),
        (None, carrier(OFFICE, "Acme"), Caller(OFFICE, "Acme")),
        (CallerId("+493012345611"), BARE, Caller("+493012345611", "")),
        (CallerId("+493012345611"), carrier(OFFICE, "Acme"), Caller("+493012345611", "Acme")),
        (CallerId(name="Alice"), carrier(OFFICE, "Acme"), Caller(OFFICE, "Alice")),
        (CallerId(name=""), carrier(OFFICE, "Acme"), Caller(OFFICE, "")),
        (CallerId(name="{name}, {number}"), BARE, Caller("1001", "Alice at the desk, 1001")),
        (None, carrier(name="{name}"), Caller("1001", "Alice at the desk")),
        (CallerId(anonymous=True), carrier(OFFICE), Caller(OFFICE, "", True)),
        (None, carrier(OFFICE, anonymous=True), Caller(OFFICE, "", True)),
        (CallerId(anonymous=False), carrier(OFFICE, anonymous=True), Caller(OFFICE, "")),
        (
            CallerId("030123"),
            carrier(forms=(form("0Z.", 1, "+49"),)),
            Caller("+4930123", ""),
        ),
        (None, carrier(forms=(form("1XXX", 0, "+49301234"),)), Caller("+493012341001", "")),
        (None, carrier(forms=(form("2XXX", 0, "+49301234"),)), Caller("1001", "")),
    ],
)
def test_a_phone_as_a_carrier_sees_it(own: CallerId | None, trunk: Trunk, seen: Caller) -> None:
    assert shown(ALICE, PHONE, None, own, trunk) == seen


def test_a_phone_of_another_switch_of_ours_is_a_phone() -> None:
    there = carrier(OFFICE, "Acme")
    assert shown(Caller("2001", "Nina"), BRANCH, carrier=there) == Caller(OFFICE, "Acme")
    assert shown(OUTSIDE, BRANCH, carrier=there) == OUTSIDE


def test_who_called_from_outside_is_shown_in_the_form_that_the_carrier_wants() -> None:
    there = carrier(OFFICE, "Acme", forms=(form("00.", 2, "+"), form("0Z.", 1, "+49")))
    assert shown(Caller("015112345", "Bob"), PSTN, carrier=there) == Caller("+4915112345", "Bob")
    assert shown(Caller("0033123", ""), PSTN, carrier=there) == Caller("+33123", "")
    # Nothing left of it: as it was.
    gone = carrier(forms=(form("0.", 9),))
    assert shown(Caller("015", ""), PSTN, carrier=gone) == Caller("015", "")


def test_what_a_route_says_goes_before_all() -> None:
    route, own = CallerId("800", "Sales: {name}"), CallerId("+493012345611", "Alice", True)
    there = carrier(OFFICE, "Acme")
    assert shown(OUTSIDE, PSTN, route) == Caller("800", "Sales: Bob")
    assert shown(ALICE, PHONE, route, own, there) == Caller("800", "Sales: Alice at the desk", True)
    seen = shown(ALICE, PHONE, CallerId(anonymous=False), own, there)
    assert seen == Caller("+493012345611", "Alice")
    assert shown(ALICE, PHONE, CallerId(anonymous=True)) == replace(ALICE, private=True)


def test_whoever_asked_to_be_private_stays_so() -> None:
    private = replace(ALICE, private=True)
    said = CallerId(anonymous=False)
    assert shown(private, PHONE, said).private
    assert shown(private, PHONE, said, said, carrier(OFFICE, anonymous=False)).private


def test_a_name_is_filled_in_once() -> None:
    odd = Caller("7", "{number}{name}")
    assert shown(odd, PSTN, CallerId(name="<{name}> {number}")).name == "<{number}{name}> 7"


def test_who_is_trusted_is_told_who_calls() -> None:
    name = '"Bob" <sip:+4915112345@192.0.2.9:5070>'
    assert asserted(OUTSIDE, "192.0.2.9:5070") == f"P-Asserted-Identity: {name}\r\n"
    private = replace(OUTSIDE, private=True)
    assert asserted(private, "192.0.2.9:5070") == (
        f"P-Asserted-Identity: {name}\r\nPrivacy: id\r\n"
    )
    # Nothing is asserted of nobody.
    for number in ("", "anonymous", "Anonymous"):
        assert asserted(Caller(number, "", True), "192.0.2.9") == "Privacy: id\r\n"
        assert asserted(Caller(number, "x"), "192.0.2.9") == ""


@pytest.mark.parametrize(
    ("caller", "number", "seen"),
    [
        ("1001", "0891234567", Caller("+493012340", "Acme")),
        ("1002", "0891234567", Caller("+493012341002", "Ben of Acme")),
        ("1003", "0891234567", Caller("+493012340", "Acme", True)),
        ("1003", "110", Caller("+493012340", "Acme")),
    ],
)
def test_what_the_page_says_that_a_carrier_sees(
    tmp_path: Path, caller: str, number: str, seen: Caller
) -> None:
    page = (Path(__file__).parents[2] / "docs/caller-id.md").read_text()
    for text, name in re.findall(r"^```yaml\n(# (\S+)\n.*?)^```", page, re.M | re.S):
        (tmp_path / name).write_text(text)
    config = load_config(tmp_path / "caller.yaml")
    source, phone = Source("extension", caller), config.extensions[caller]
    route = config.dialplan.route(number, source)
    assert route is not None
    called = config.trunks["carrier"]
    found = shown(Caller(caller, phone.name), source, route.caller, phone.caller_id, called)
    assert found == seen
    shop = config.dialplan.route("+493012345", Source("trunk", "carrier"))
    assert shop is not None
    bob = Caller("015112345", "Bob")
    assert shown(bob, Source("trunk", "carrier"), shop.caller).name == "Shop: Bob"
    back = shown(bob, Source("trunk", "carrier"), None, None, called)
    assert back == Caller("+4915112345", "Bob")


maybe = st.none() | st.booleans()
said = st.builds(
    CallerId,
    st.sampled_from(["", "+4930", "800"]),
    st.none() | st.sampled_from(["", "Acme"]),
    maybe,
)


@given(
    route=st.none() | said,
    own=st.none() | said,
    there=st.none() | said,
    private=st.booleans(),
    source=st.sampled_from([PHONE, BRANCH]),
)
def test_a_carrier_never_sees_what_is_not_meant_for_it(
    route: CallerId | None,
    own: CallerId | None,
    there: CallerId | None,
    private: bool,
    source: Source,
) -> None:
    trunk = replace(BARE, caller_id=there)
    seen = shown(replace(ALICE, private=private), source, route, own, trunk)
    said = [one for one in (route, own, there) if one is not None]
    assert seen.name in {"", *(one.name for one in said)}
    if any(one.number for one in said):
        assert seen.number != ALICE.number
    assert seen.private >= private
