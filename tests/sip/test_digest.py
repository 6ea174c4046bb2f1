"""Digest authentication: the RFCs' examples, phones as they are, replay, and strangers."""

from __future__ import annotations

import hashlib

import pytest
import sipmessage
from hypothesis import given
from hypothesis import strategies as st

from softswitch.sip.digest import (
    MAX_CREDENTIALS,
    Authenticated,
    Digest,
    MalformedCredentials,
    Outcome,
    Unauthenticated,
    WrongPassword,
    answer,
    parse_credentials,
)
from softswitch.sip.message import Request
from softswitch.sip.parser import parse

URI = "sip:1002@pbx.example.com"
PASSWORDS = {"1001": "secret", "1002": "other"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def digest(clock: Clock) -> Digest:
    return Digest("softswitch", clock, b"k" * 32, nonce_lifetime=300)


def invite(*credentials: str, uri: str = URI, method: str = "INVITE") -> Request:
    return Request(method, uri, {"authorization": list(credentials)})


def check(digest: Digest, *credentials: str, uri: str = URI) -> Outcome:
    return digest.verify(invite(*credentials, uri=uri), "authorization", PASSWORDS.get)


def good(digest: Digest, nc: int = 1, which: int = 0, challenge: str = "") -> str:
    challenge = challenge or digest.challenge()[which]
    return answer(challenge, "INVITE", URI, "1001", "secret", "c0ffee", nc)


# --- the RFCs' examples --------------------------------------------------------------------------

RFC7616 = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", '
    'algorithm={0}, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{1}", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
MUFASA_SHA256 = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
MUFASA_MD5 = "8ca523f5e9506fed4657c9700eebdbec"
RFC2617 = (
    'Digest username="Mufasa", realm="testrealm@host.com", '
    'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", qop=auth, nc=00000001, '
    'cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", '
    'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)
NO_QOP = (  # the same without qop, as RFC 2069 has it
    'Digest username="Mufasa", realm="testrealm@host.com", '
    'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", '
    'response="670fd8c2df070c60b045671b8b24ff02"'
)


@pytest.mark.parametrize(
    ("realm", "password", "value"),
    [
        ("http-auth@example.org", "Circle of Life", RFC7616.format("SHA-256", MUFASA_SHA256)),
        ("http-auth@example.org", "Circle of Life", RFC7616.format("MD5", MUFASA_MD5)),
        ("testrealm@host.com", "Circle Of Life", RFC2617),
        ("testrealm@host.com", "Circle Of Life", NO_QOP),
    ],
)
def test_rfc_examples_verify(realm: str, password: str, value: str, clock: Clock) -> None:
    digest = Digest(realm, clock, b"k" * 32, 300)
    request = invite(value, uri="/dir/index.html", method="GET")
    # The nonce is not ours, so the right response shows as "stale", a wrong one as wrong.
    assert digest.verify(request, "authorization", lambda _: password) == Unauthenticated(True)
    assert digest.verify(request, "authorization", lambda _: "x") == WrongPassword("Mufasa")


@pytest.mark.parametrize(
    ("algorithm", "response"), [("SHA-256", MUFASA_SHA256), ("MD5", MUFASA_MD5)]
)
def test_rfc7616_example_answered(algorithm: str, response: str) -> None:
    value = answer(
        'Digest realm="http-auth@example.org", qop="auth, auth-int", '
        f"algorithm={algorithm}, "
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"',
        "GET",
        "/dir/index.html",
        "Mufasa",
        "Circle of Life",
        "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert parse_credentials(value) == parse_credentials(RFC7616.format(algorithm, response))


def test_answer_without_qop_is_rfc2069() -> None:
    value = answer(
        'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"',
        "GET",
        "/dir/index.html",
        "Mufasa",
        "Circle Of Life",
        "unused",
    )
    assert parse_credentials(value) == parse_credentials(NO_QOP)


@pytest.mark.parametrize(
    "challenge",
    [
        'Basic realm="x"',
        'Digest realm="x"',
        'Digest realm="x", nonce="n", algorithm=AKAv1-MD5',
        'Digest realm="x", nonce="n", qop="auth-int"',
        "Digest realm=",
        "",
    ],
)
def test_answer_refuses_what_it_cannot_do(challenge: str) -> None:
    with pytest.raises(ValueError, match=r"digest|parameters|scheme"):
        answer(challenge, "REGISTER", "sip:x", "u", "p", "c")


# --- challenge and answer ------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1])
def test_right_password(digest: Digest, which: int) -> None:
    assert check(digest, good(digest, which=which)) == Authenticated("1001")


def test_challenges_are_sha256_then_md5_and_strictly_parsable(digest: Digest) -> None:
    first, second = (sipmessage.AuthChallenge.parse(value) for value in digest.challenge())
    assert first.parameters["algorithm"] == "SHA-256"
    assert second.parameters["algorithm"] == "MD5"
    assert first.parameters["qop"] == "auth"
    assert "stale" not in first.parameters
    assert sipmessage.AuthChallenge.parse(digest.challenge(True)[0]).parameters["stale"] == "true"


def test_answers_are_strictly_parsable(digest: Digest) -> None:
    parsed = sipmessage.AuthCredentials.parse(good(digest, nc=10))
    assert parsed.parameters is not None
    assert parsed.parameters["nc"] == "0000000a"
    assert parsed.parameters["username"] == "1001"


def test_wrong_password_and_unknown_user_look_the_same(digest: Digest) -> None:
    challenge = digest.challenge()[0]
    for user in ("1001", "9999"):
        value = answer(challenge, "INVITE", URI, user, "guess", "c")
        assert check(digest, value) == WrongPassword(user)


def test_unknown_user_cannot_answer_with_the_stand_in(clock: Clock) -> None:
    digest = Digest("softswitch", clock, b"k" * 32, 300, algorithms=("MD5",))
    nonce = parse_credentials(digest.challenge()[0])[1]["nonce"]
    ha1 = hashlib.md5(hashlib.blake2b(b"k" * 32).digest() + b"MD5").hexdigest()
    ha2 = hashlib.md5(f"INVITE:{URI}".encode()).hexdigest()
    response = hashlib.md5(f"{ha1}:{nonce}:{ha2}".encode()).hexdigest()
    value = (
        f'Digest username="9999", realm="softswitch", nonce="{nonce}", uri="{URI}", '
        f'response="{response}"'
    )
    assert check(digest, value) == WrongPassword("9999")


def test_no_credentials(digest: Digest) -> None:
    assert check(digest) == Unauthenticated(False)
    request = Request("INVITE", URI, {})
    assert digest.verify(request, "proxy-authorization", PASSWORDS.get) == Unauthenticated(False)


def test_proxy_authorization(digest: Digest) -> None:
    request = Request("INVITE", URI, {"proxy-authorization": [good(digest)]})
    assert digest.verify(request, "authorization", PASSWORDS.get) == Unauthenticated(False)
    assert digest.verify(request, "proxy-authorization", PASSWORDS.get) == Authenticated("1001")


def test_unknown_scheme_is_challenged_again(digest: Digest) -> None:
    # RFC 4475 §3.3.7, regaut01.
    request = parse(
        b"REGISTER sip:example.com SIP/2.0\r\nTo: sip:j.user@example.com\r\n"
        b"From: sip:j.user@example.com;tag=87321hj23128\r\nMax-Forwards: 8\r\n"
        b"Call-ID: regaut01.0ha0isndaksdj\r\nCSeq: 9338 REGISTER\r\n"
        b"Via: SIP/2.0/TCP 192.0.2.253;branch=z9hG4bKkdjuw\r\n"
        b"Authorization: NoOneKnowsThisScheme opaque-data=here\r\nContent-Length:0\r\n\r\n"
    )
    assert isinstance(request, Request)
    assert digest.verify(request, "authorization", PASSWORDS.get) == Unauthenticated(False)


def test_other_realms_and_algorithms_are_passed_over(digest: Digest) -> None:
    mine = good(digest)
    assert check(digest, mine.replace("softswitch", "elsewhere")) == Unauthenticated(False)
    assert check(digest, mine.replace("SHA-256", "SHA-512-256")) == Unauthenticated(False)
    others = ("Bearer abc", mine.replace("softswitch", "elsewhere"))
    assert check(digest, *others, mine) == Authenticated("1001")


def test_an_algorithm_not_offered_is_not_taken(clock: Clock) -> None:
    both = Digest("softswitch", clock, b"k" * 32, 300)
    strict = Digest("softswitch", clock, b"k" * 32, 300, algorithms=("SHA-256",))
    assert len(strict.challenge()) == 1
    assert check(strict, good(both, which=1)) == Unauthenticated(False)


def test_password_change_takes_effect(digest: Digest) -> None:
    request = invite(good(digest))
    assert digest.verify(request, "authorization", lambda _: "secret") == Authenticated("1001")
    request = invite(good(digest))
    assert digest.verify(request, "authorization", lambda _: "new") == WrongPassword("1001")


def test_credentials_are_for_one_method(digest: Digest) -> None:
    request = invite(good(digest), method="REGISTER")
    assert digest.verify(request, "authorization", PASSWORDS.get) == WrongPassword("1001")


@pytest.mark.parametrize(
    "uri",
    [
        "sip:1002@PBX.example.com",
        URI + ":5060",
        URI + ";transport=tcp",
        "sip:%31002@pbx.example.com",
    ],
)
def test_uri_may_differ_in_what_phones_get_wrong(digest: Digest, uri: str) -> None:
    value = answer(digest.challenge()[0], "INVITE", uri, "1001", "secret", "c")
    assert check(digest, value) == Authenticated("1001")


@pytest.mark.parametrize(
    "uri", ["sip:1003@pbx.example.com", "sip:1002@other.example.com", "nonsense"]
)
def test_uri_of_another_target(digest: Digest, uri: str) -> None:
    value = answer(digest.challenge()[0], "INVITE", uri, "1001", "secret", "c")
    assert isinstance(check(digest, value), MalformedCredentials)


def test_uri_of_another_target_where_any_is_taken(clock: Clock) -> None:
    """PyVoIP and SIPp's scenarios name the domain; the method and the nonce still count."""
    digest = Digest("softswitch", clock, b"k" * 32, 300, any_uri=True)
    value = answer(digest.challenge()[0], "INVITE", "sip:1001@elsewhere", "1001", "secret", "c")
    assert check(digest, value) == Authenticated("1001", other_uri="sip:1001@elsewhere")
    assert check(digest, value) == Unauthenticated(True), "the same once more"
    request = invite(value, method="REGISTER")
    assert digest.verify(request, "authorization", PASSWORDS.get) == WrongPassword("1001")
    value = answer(digest.challenge()[0], "INVITE", "sip:1001@elsewhere", "1001", "guess", "c")
    assert check(digest, value) == WrongPassword("1001")
    # What was hashed counts, not what stands there.
    value = good(digest).replace(f'uri="{URI}"', 'uri="sip:1001@elsewhere"')
    assert check(digest, value) == WrongPassword("1001")
    assert check(digest, good(digest)) == Authenticated("1001", other_uri="")


def test_later_challenges_have_greater_numbers(digest: Digest) -> None:
    outcomes = [check(digest, good(digest)) for _ in range(3)]
    outcomes.append(check(digest, good(digest, challenge=(last := digest.challenge()[0]))))
    outcomes.append(check(digest, good(digest, nc=2, challenge=last)))
    numbers = [one.nonce for one in outcomes if isinstance(one, Authenticated)]
    assert numbers == [0, 1, 2, 3, 3]


# --- phones as they are --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("algorithm=SHA-256", 'algorithm="SHA-256"'),
        ("algorithm=SHA-256", "algorithm=sha-256"),
        ("qop=auth", 'qop="auth"'),
        ("nc=00000001", 'nc="00000001"'),
        ("Digest ", "digest  "),
        ("realm=", "Realm ="),
        (", ", ","),
        (", ", " ,\t"),
        (f'uri="{URI}"', f"uri={URI}"),
        ('username="1001"', "username=1001"),
        ('username="1001"', 'username="10\\01"'),
        ("qop=auth", 'opaque="", x-extra="a, b=c", qop=auth'),
        ("Digest ", "Digest ,"),
    ],
)
def test_odd_spellings(digest: Digest, old: str, new: str) -> None:
    value = good(digest)
    assert old in value
    assert check(digest, value.replace(old, new)) == Authenticated("1001")
    assert check(digest, good(digest).replace(old, new) + " , ") == Authenticated("1001")


@pytest.mark.parametrize("domain", ["softswitch", "192.0.2.1", "office.example", ""])
def test_a_user_name_with_its_domain(digest: Digest, domain: str) -> None:
    """It is hashed as it was sent, and means the user."""
    for password, outcome in (
        ("secret", Authenticated("1001")),
        ("guess", WrongPassword("1001")),
        ("", WrongPassword("1001")),
    ):
        user = f"1001@{domain}"
        value = answer(digest.challenge()[0], "INVITE", URI, user, password, "c")
        assert check(digest, value) == outcome
        user = f"9999@{domain}"
        value = answer(digest.challenge()[0], "INVITE", URI, user, password, "c")
        assert check(digest, value) == WrongPassword("9999")
    assert not digest._ha1, "names without end are not kept"
    # Nor is it taken for the same as the bare name.
    mine = good(digest).replace('"1001"', f'"1001@{domain}"')
    assert check(digest, mine) == WrongPassword("1001")


def test_response_in_capitals(digest: Digest) -> None:
    value = good(digest)
    response = parse_credentials(value)[1]["response"]
    assert check(digest, value.replace(response, response.upper())) == Authenticated("1001")


def test_names_with_quotes_commas_and_accents(digest: Digest) -> None:
    name, password = 'J. "Ä", Jr\\', "pä:ss"
    value = answer(digest.challenge()[0], "INVITE", URI, name, password, "c")
    outcome = digest.verify(invite(value), "authorization", {name: password}.get)
    assert outcome == Authenticated(name)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Digest username",
        'Digest username="1001',
        'Digest username="1001" realm="softswitch"',
        'Digest username="1001", username="1002"',
        'Digest realm="softswitch", username="1001"',
        'Digest realm="softswitch", x="' + "a" * MAX_CREDENTIALS + '"',
    ],
)
def test_malformed(digest: Digest, value: str) -> None:
    assert isinstance(check(digest, value), MalformedCredentials)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("qop=auth", "qop=auth-int"),
        ("nc=00000001", "nc=1g"),
        ("nc=00000001", "nc=000000001"),
        ("nc=00000001, ", ""),
        ("cnonce=", "c="),
        ("response=", "r="),
    ],
)
def test_malformed_parts(digest: Digest, old: str, new: str) -> None:
    outcome = check(digest, good(digest).replace(old, new))
    assert isinstance(outcome, MalformedCredentials)
    assert outcome.reason.isprintable()


# --- nonces --------------------------------------------------------------------------------------


def test_two_phones_challenged_at_once_do_not_disturb_each_other(digest: Digest) -> None:
    values = [good(digest), good(digest)]
    assert [check(digest, value) for value in values] == [Authenticated("1001")] * 2


def test_replay_is_stale(digest: Digest) -> None:
    value = good(digest)
    assert check(digest, value) == Authenticated("1001")
    assert check(digest, value) == Unauthenticated(True)


def test_counts_go_on_and_may_overtake_each_other(digest: Digest) -> None:
    challenge = digest.challenge()[0]
    for nc in (1, 2, 5, 3, 70, 69, 7, 4000):
        assert check(digest, good(digest, nc, challenge=challenge)) == Authenticated("1001")
    for nc in (0, 1, 3, 6, 70, 4000, 3936):
        assert check(digest, good(digest, nc, challenge=challenge)) == Unauthenticated(True)
    assert check(digest, good(digest, 3937, challenge=challenge)) == Authenticated("1001")


def test_without_qop_a_nonce_is_good_once(digest: Digest) -> None:
    challenge = digest.challenge()[1].replace(', qop="auth"', "")
    value = good(digest, challenge=challenge)
    assert "nc=" not in value
    assert check(digest, value) == Authenticated("1001")
    assert check(digest, value) == Unauthenticated(True)


def test_nonce_expires(digest: Digest, clock: Clock) -> None:
    old, new = good(digest), good(digest)
    clock.now += 300
    assert check(digest, old) == Authenticated("1001")
    clock.now += 0.1
    assert check(digest, new) == Unauthenticated(True)


def test_used_nonces_are_forgotten_when_out_of_time(digest: Digest, clock: Clock) -> None:
    for _ in range(10):
        check(digest, good(digest))
    assert len(digest._used) == 10
    clock.now += 301
    digest.expire()
    assert not digest._used


def test_nonce_of_another_key_or_tampered_with(digest: Digest, clock: Clock) -> None:
    other = Digest("softswitch", clock, b"x" * 32, 300)
    assert check(digest, good(other)) == Unauthenticated(True)
    challenge = digest.challenge()[0]
    nonce = parse_credentials(challenge)[1]["nonce"]
    for bad in ("f" + nonce[1:], nonce[:-1], nonce + "0", "", "é" * 48, nonce[:24], "\x00"):
        value = good(digest, challenge=challenge.replace(nonce, bad))
        assert check(digest, value) == Unauthenticated(True)


def test_memory_of_nonces_is_bounded_and_still_refuses_replays(clock: Clock) -> None:
    digest = Digest("softswitch", clock, b"k" * 32, 300, max_nonces=10)
    late = good(digest)
    values = [good(digest) for _ in range(30)]
    assert {check(digest, value) for value in values} == {Authenticated("1001")}
    assert len(digest._used) == 10
    assert {check(digest, value) for value in values} == {Unauthenticated(True)}
    assert check(digest, late) == Unauthenticated(True)  # costs that phone one more challenge


def test_memory_of_passwords_is_bounded(clock: Clock) -> None:
    digest = Digest("softswitch", clock, b"k" * 32, 300, max_cached=5)
    for n in range(20):
        value = answer(digest.challenge()[0], "INVITE", URI, str(n), "p", "c")
        outcome = digest.verify(invite(value), "authorization", lambda _: "p")
        assert outcome == Authenticated(str(n))
    assert len(digest._ha1) <= 5


@pytest.mark.parametrize(
    ("realm", "key", "algorithms"),
    [
        ('a"b', b"k" * 16, ("MD5",)),
        ("a\nb", b"k" * 16, ("MD5",)),
        ("a", b"k" * 15, ("MD5",)),
        ("a", b"k" * 16, ("SHA-1",)),
        ("a", b"k" * 16, ()),
    ],
)
def test_bad_settings(realm: str, key: bytes, algorithms: tuple[str, ...], clock: Clock) -> None:
    with pytest.raises(ValueError, match=r"realm|key|algorithms"):
        Digest(realm, clock, key, 300, algorithms=algorithms)


# --- properties ----------------------------------------------------------------------------------

_text = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)


@given(user=_text, password=_text, cnonce=st.text("abcdef0123456789", min_size=1, max_size=32))
def test_any_user_who_knows_the_password_gets_in(user: str, password: str, cnonce: str) -> None:
    digest = Digest("softswitch", Clock(), b"k" * 32, 300)
    for challenge in digest.challenge(), digest.challenge():
        for number, one in enumerate(challenge, 1):
            value = answer(one, "INVITE", URI, user, password, cnonce, number)
            outcome = digest.verify(invite(value), "authorization", {user: password}.get)
            assert outcome == Authenticated(user)


@given(st.text(max_size=200) | st.text('Digest unam="\\,=:;.a1 ', max_size=200))
def test_no_text_raises_or_gets_in(text: str) -> None:
    digest = Digest("softswitch", Clock(), b"k" * 32, 300)
    for value in (text, "Digest " + text):
        assert not isinstance(check(digest, value), Authenticated)


@given(st.data())
def test_a_changed_character_never_gets_in_as_another(data: st.DataObject) -> None:
    digest = Digest("softswitch", Clock(), b"k" * 32, 300)
    value = good(digest)
    at = data.draw(st.integers(0, len(value) - 1))
    value = value[:at] + data.draw(st.characters(exclude_categories=["Cs"])) + value[at + 1 :]
    outcome = check(digest, value)
    assert not isinstance(outcome, Authenticated) or outcome.username == "1001"


@given(
    st.dictionaries(
        st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8), _text, max_size=12
    )
)
def test_parameters_survive_writing_and_parsing(params: dict[str, str]) -> None:
    text = ", ".join(
        '{}="{}"'.format(name, value.replace("\\", "\\\\").replace('"', '\\"'))
        for name, value in params.items()
    )
    assert parse_credentials("Digest " + text) == ("digest", params)
