"""Challenges in a row, beside each other, and of several realms (RFC 3261 §22.3, RFC 7616 §3.4)."""

from __future__ import annotations

import re

from softswitch.sip import Account, ClientRequest, Exchange, Response


def challenge(*values: str, status: int = 407) -> Response:
    name = "www-authenticate" if status == 401 else "proxy-authenticate"
    return Response(status, "Who Are You", {name: list(values)})


def digest(realm: str, nonce: str, more: str = "") -> str:
    return f'Digest realm="{realm}", qop="auth", algorithm=MD5, nonce="{nonce}"{more}'


def account() -> Account:
    return Account("acme", "s3cret", "", lambda: "cn")


def request(call_id: str = "c1") -> ClientRequest:
    return ClientRequest(
        "INVITE", "sip:1@x", "z9hG4bK1", "<sip:a@x>;tag=1", "<sip:1@x>", call_id, 1
    )


def test_two_calls_get_the_same_nonce() -> None:
    """Each count of a nonce is used once, however many challenges brought it."""
    ours = account()
    counts = []
    for call_id in ("c1", "c2", "c3"):
        one = request(call_id)
        assert Exchange(ours).answered(one, challenge(digest("x", "same")))
        counts += re.findall(r"nc=(\w+)", one.extra)
    assert counts == ["00000001", "00000002", "00000003"]


def test_two_proxies_one_after_the_other() -> None:
    """The second wants to see its own credentials, and the first still its."""
    one = request()
    exchange = Exchange(account())
    assert exchange.answered(one, challenge(digest("a", "n1")))
    assert exchange.answered(one, challenge(digest("b", "n2")))
    assert re.findall(r'realm="(\w)"', one.extra) == ["a", "b"]
    assert one.extra.count("Proxy-Authorization: ") == 2
    assert not exchange.answered(one, challenge(digest("b", "n3"))), "it does not believe it"


def test_proxies_beside_each_other() -> None:
    """One response brings the challenges of all of them (§16.7 step 7), each in what it prefers."""
    one = request()
    sha = digest("a", "n1").replace("MD5", "SHA-256")
    assert Exchange(account()).answered(one, challenge(sha, digest("a", "n1"), digest("b", "n2")))
    assert re.findall(r'realm="(\w)"', one.extra) == ["a", "b"]
    assert "SHA-256" in one.extra.split("\r\n")[0]


def test_a_proxy_and_who_is_behind_it() -> None:
    one = request()
    exchange = Exchange(account())
    assert exchange.answered(one, challenge(digest("a", "n1")))
    assert exchange.answered(one, challenge(digest("a", "n2"), status=401))
    assert one.extra.count("Authorization: ") == 2
    assert "\r\nAuthorization: " in one.extra
    assert one.cseq == 3


def test_realms_without_end() -> None:
    """Who names ever new ones is answered no more, and nothing of that is kept."""
    ours = account()
    for call in range(30):
        one = request(f"c{call}")
        exchange = Exchange(ours)
        for step in range(10):
            if not exchange.answered(one, challenge(digest(f"r{call}-{step}", "n"))):
                break
    assert ours.lines("INVITE", "sip:1@x").count("\r\n") <= 8
