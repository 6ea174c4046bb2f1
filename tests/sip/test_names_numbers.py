"""Names that are not quite legal, and numbers with parameters: read as they are meant."""

from __future__ import annotations

import pytest

from softswitch.sip.header_values import parse_address, parse_party, parse_uri


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Bond, James <sip:100@h>;tag=1", "Bond, James"),
        ("Sales (EU) <sip:100@h>", "Sales (EU)"),
        ("Jürgen  Müller <sip:100@h>", "Jürgen Müller"),
        ("a@b; c <sip:100@h>", "a@b; c"),
        ("=?utf-8?Q?J=C3=BCrgen?= <sip:100@h>", "Jürgen"),
        ('"=?utf-8?B?SsO8cmdlbg==?=" <sip:100@h>', "Jürgen"),
        ("=?iso-8859-1?Q?J=FCrgen_M?= <sip:100@h>", "Jürgen M"),
        ("=?nonsense?Q?x?= <sip:100@h>", "=?nonsense?Q?x?="),
        ("=?utf-8?B?!?= <sip:100@h>", "=?utf-8?B?!?="),
        ("=?utf-8?Q?=FF?= <sip:100@h>", "=?utf-8?Q?=FF?="),
        ("John O'Neil Jr. <sip:100@h>", "John O'Neil Jr."),
    ],
)
def test_names(written: str, name: str) -> None:
    address = parse_address(written)
    assert (address.display, address.uri) == (name, "sip:100@h")
    assert parse_party(written) == (name, "100")


@pytest.mark.parametrize(
    "written",
    ['"open <sip:100@h>', "<sip:100@h> <sip:200@h>", "a > b <sip:100@h>", "Bond, James", "<>", ""],
)
def test_what_cannot_be_read_at_all(written: str) -> None:
    with pytest.raises(ValueError, match="bad address"):
        parse_address(written)


@pytest.mark.parametrize(
    ("written", "number", "params"),
    [
        ("sip:+15551234;npdi;rn=+15550000@h;user=phone", "+15551234", ";npdi;rn=+15550000"),
        ("sip:1001;phone-context=example.com@h", "1001", ";phone-context=example.com"),
        ("sip:*43;tgrp=g1;trunk-context=e.com@h", "*43", ";tgrp=g1;trunk-context=e.com"),
        ("tel:+1-201-555-0123;ext=1", "+12015550123", ";ext=1"),
        ("sip:1001@h;user=phone", "1001", ""),
        ("sip:1001%3Bx@h", "1001;x", ""),
        # RFC 4475 §3.1.1.13: of a name the semicolon is a part.
        ("sip:user;par=u@example.com", "user;par=u", ""),
        ("sip:;x@h", ";x", ""),
    ],
)
def test_numbers(written: str, number: str, params: str) -> None:
    uri = parse_uri(written)
    assert (uri.user, uri.number_params) == (number, params)


def test_a_long_name_that_leads_nowhere_costs_no_more_than_its_length() -> None:
    for text in ("a, " * 20_000, "a " * 30_000 + "<", "(" * 60_000 + "<sip:1@h"):
        with pytest.raises(ValueError, match="bad address"):
            parse_address(text)
