"""The registrar: RFC 3261 §10.3 case by case, RFC 4475's REGISTERs, and a model of bindings."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from softswitch.parties.registrar import Binding, Flow, RegisterResult, Registrar, Settings
from softswitch.sip import delta_seconds, network_of
from softswitch.sip.header_values import parse_address
from softswitch.sip.message import Request
from softswitch.sip.parser import parse

PHONE: Flow = ("udp", "192.0.2.10", 5060)
CONTACT = "<sip:1001@192.0.2.10:5060>"


class Site:
    """A registrar with a clock to turn and a log of its events."""

    def __init__(self, **limits: int) -> None:
        self.now = 1000.0
        self.events: list[str] = []
        self.registrar = Registrar(
            lambda: self.now,
            Settings(**limits),
            wall=lambda: 784111777.0,
            registered=self._registered,
            unregistered=self._unregistered,
        )
        self._cseq = itertools.count(1)

    def _registered(self, aor: str, binding: Binding) -> None:
        assert binding in self.registrar.contacts(aor)
        self.events.append(f"+{aor} {binding.uri}")

    def _unregistered(self, aor: str, binding: Binding, why: str) -> None:
        assert binding not in self.registrar.contacts(aor)
        self.events.append(f"-{aor} {binding.uri} {why}")

    def register(
        self,
        *contacts: str,
        expires: str | None = None,
        call_id: str = "c1",
        cseq: int | None = None,
        flow: Flow = PHONE,
        aor: str = "1001",
        via: str = "192.0.2.10:5060;rport",
        to: str = "<sip:1001@pbx>",
        proof: int = -1,
        user_agent: str = "Phone 1.0",
    ) -> RegisterResult:
        lines = [
            "REGISTER sip:pbx SIP/2.0",
            f"Via: SIP/2.0/UDP {via};branch=z9hG4bK1",
            "From: <sip:1001@pbx>;tag=1",
            f"To: {to}",
            f"Call-ID: {call_id}",
            f"CSeq: {next(self._cseq) if cseq is None else cseq} REGISTER",
            f"User-Agent: {user_agent}",
            *(f"Contact: {contact}" for contact in contacts),
            *([] if expires is None else [f"Expires: {expires}"]),
        ]
        request = parse("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))
        assert isinstance(request, Request)
        assert request.defect is None
        return self.registrar.process(request, aor, flow, proof)

    def uris(self, aor: str = "1001") -> list[str]:
        return [binding.uri for binding in self.registrar.contacts(aor)]


def contacts_of(result: RegisterResult) -> list[str]:
    assert (result.status, result.reason) == (200, "OK")
    return [value for name, value in result.headers if name == "Contact"]


@pytest.fixture
def site() -> Site:
    return Site()


# --- adding, refreshing, removing ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60), (" 60 ", 60), ("60;x=1", 60), ("60 (busy)", 60), ("0", 0),
        ("0" * 30 + "5", 2**32 - 1),
        ("000060", 60), ("4294967295", 2**32 - 1), ("99999999999999999999999", 2**32 - 1),
        ("9" * 5000, 2**32 - 1), ("", None), ("-1", None),
        ("1.5", None), ("\u0663", None), ("x", None),
        (None, None),
    ],
)  # fmt: skip
def test_seconds(text: str | None, seconds: int | None) -> None:
    assert delta_seconds(text) == seconds


@pytest.mark.parametrize(
    ("supported", "params", "path", "outbound"),
    [
        ("outbound, path", ';+sip.instance="<urn:uuid:1>";reg-id=1', "", True),
        ("path", ';+sip.instance="<urn:uuid:1>";reg-id=1', "", False),
        ("outbound", ';+sip.instance="<urn:uuid:1>"', "", False),
        ("outbound", ";reg-id=1", "", False),
        ("outbound", ';+sip.instance="<urn:uuid:1>";reg-id=1', "<sip:edge;lr;ob>", True),
        ("outbound", ';+sip.instance="<urn:uuid:1>";reg-id=1', "<sip:edge;lr>", False),
        ("outbound", ';+sip.instance="<urn:uuid:1>";reg-id=1', "<sip:a;lr>, <sip:b;lr;ob>", True),
        ("outbound", ';+sip.instance="<urn:uuid:1>";reg-id=1', "<sip:a;lr;ob>, <sip:b;lr>", False),
    ],
)
def test_outbound(supported: str, params: str, path: str, outbound: bool) -> None:
    """RFC 5626 §6: said where it is done, by all who have to."""
    line = f"Path: {path}\r\n" if path else ""
    request = parse(
        f"REGISTER sip:pbx SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:1001@pbx>"
        f";tag=1\r\nTo: <sip:1001@pbx>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\nContact: <sip:a@b>"
        f"{params}\r\nSupported: {supported}\r\n{line}Max-Forwards: 70\r\n\r\n".encode()
    )
    assert isinstance(request, Request)
    result = Site().registrar.process(request, "1001", PHONE)
    assert result.status == 200
    assert (("Require", "outbound") in result.headers) is outbound


def test_a_service_route(site: Site) -> None:
    """RFC 3608: as long as it is registered."""
    site = Site(service_route=("sip:edge.example;lr", "sip:hq.example;lr"))  # type: ignore[arg-type]
    said = [value for name, value in site.register(CONTACT).headers if name == "Service-Route"]
    assert said == ["<sip:edge.example;lr>", "<sip:hq.example;lr>"]
    assert "Service-Route" not in dict(site.register(f"{CONTACT};expires=0").headers)


def test_a_path_that_is_too_long() -> None:
    site = Site(max_contact_size=100)
    request = parse(
        b"REGISTER sip:pbx SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:1001@pbx>"
        b";tag=1\r\nTo: <sip:1001@pbx>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\nContact: <sip:a@b>\r\n"
        b"Path: <sip:proxy.example;lr>\r\nMax-Forwards: 70\r\n\r\n"
    )
    assert isinstance(request, Request)
    assert site.registrar.process(request, "1001", PHONE).status == 200
    for path in ([f"<sip:{'x' * 100}.example;lr>"], ["<sip:a;lr>"] * 9, ["<sip:a;lr>," * 400]):
        request.headers["path"] = path
        assert site.registrar.process(request, "1001", PHONE).reason == "Path Too Long", path


def test_register_query_refresh_remove(site: Site) -> None:
    result = site.register(CONTACT, expires="600")
    assert contacts_of(result) == [f"{CONTACT};expires=600"]
    assert ("Date", "Sun, 06 Nov 1994 08:49:37 GMT") in result.headers
    site.now += 100.5
    assert contacts_of(site.register()) == [f"{CONTACT};expires=500"]
    assert contacts_of(site.register(CONTACT, expires="600")) == [f"{CONTACT};expires=600"]
    assert contacts_of(site.register(CONTACT, expires="0")) == []
    assert site.uris() == []
    assert len(site.registrar) == 0
    assert site.events == [
        "+1001 sip:1001@192.0.2.10:5060",
        "-1001 sip:1001@192.0.2.10:5060 removed",
    ]


def test_binding_keeps_what_the_switch_needs(site: Site) -> None:
    site.register(CONTACT + ";q=0.5", expires="600", call_id="abc", cseq=7)
    (binding,) = site.registrar.contacts("1001")
    assert binding == Binding(
        uri="sip:1001@192.0.2.10:5060",
        flow=PHONE,
        target=PHONE,
        q=0.5,
        expires_at=1600.0,
        since=1000.0,
        call_id="abc",
        cseq=7,
        instance="",
        reg_id="",
        params="",
        user_agent="Phone 1.0",
    )


def test_several_contacts_each_with_its_time(site: Site) -> None:
    result = site.register(
        "<sip:a@192.0.2.1>;expires=100, <sip:b@192.0.2.2>", "<sip:c@192.0.2.3>;q=0.3", expires="200"
    )
    assert contacts_of(result) == [
        "<sip:a@192.0.2.1>;expires=100",
        "<sip:b@192.0.2.2>;expires=200",
        "<sip:c@192.0.2.3>;expires=200;q=0.3",
    ]
    # One goes, one comes, in the same request.
    result = site.register("<sip:a@192.0.2.1>;expires=0", "<sip:d@192.0.2.4>;expires=90")
    assert [value.partition(";")[0] for value in contacts_of(result)] == [
        "<sip:b@192.0.2.2>",
        "<sip:c@192.0.2.3>",
        "<sip:d@192.0.2.4>",
    ]


@pytest.mark.parametrize(
    ("param", "header", "seconds"),
    [
        ("", None, 3600),
        ("", "600", 600),
        (";expires=120", "600", 120),
        (";expires=999999", None, 7200),
        ("", "99999999999999999999", 7200),
        # Malformed means 3600 (§10.2.1.1).
        (";expires=soon", "600", 3600),
        (";expires", "600", 3600),
        (";expires=5x", None, 3600),
        ("", "-1", 3600),
        ("", "٣", 3600),
    ],
)
def test_expires(site: Site, param: str, header: str | None, seconds: int) -> None:
    result = site.register(CONTACT + param, expires=header)
    assert contacts_of(result) == [f"{CONTACT};expires={seconds}"]


@pytest.mark.parametrize(("param", "header"), [(";expires=59", None), ("", "1")])
def test_too_brief(site: Site, param: str, header: str | None) -> None:
    result = site.register("<sip:b@192.0.2.2>", CONTACT + param, expires=header)
    assert result == RegisterResult(423, "Interval Too Brief", [("Min-Expires", "60")])
    assert site.uris() == []
    assert site.events == []


def test_q_orders_contacts_and_then_the_newest(site: Site) -> None:
    site.register("<sip:low@192.0.2.1>;q=0.1", call_id="a")
    site.register("<sip:old@192.0.2.2>", call_id="b")
    site.now += 1
    site.register("<sip:new@192.0.2.3>;q=1.0", call_id="c")
    site.now += 1
    site.register("<sip:old@192.0.2.2>", call_id="b")  # a refresh does not make it newer
    assert site.uris() == ["sip:new@192.0.2.3", "sip:old@192.0.2.2", "sip:low@192.0.2.1"]


def test_extensions_are_apart(site: Site) -> None:
    site.register(CONTACT, aor="1001")
    site.register(CONTACT, aor="1002")
    site.register("*", expires="0", aor="1001")
    assert (site.uris("1001"), len(site.uris("1002"))) == ([], 1)


# --- Contact: * ----------------------------------------------------------------------------------


def test_star_removes_all(site: Site) -> None:
    site.register("<sip:a@192.0.2.1>", call_id="a")
    site.register("<sip:b@192.0.2.2>", call_id="b")
    assert contacts_of(site.register("*", expires="0")) == []
    assert sorted(site.events)[2:] == [
        "-1001 sip:a@192.0.2.1 removed",
        "-1001 sip:b@192.0.2.2 removed",
    ]
    assert contacts_of(site.register("*", expires="0")) == []


@pytest.mark.parametrize(
    ("contacts", "expires"),
    [(["*"], None), (["*"], "1"), (["*", CONTACT], "0"), ([f"*, {CONTACT}"], "0"), (["*"], "x")],
)
def test_star_alone_and_with_expires_0(
    site: Site, contacts: list[str], expires: str | None
) -> None:
    site.register(CONTACT)
    assert site.register(*contacts, expires=expires).status == 400
    assert len(site.uris()) == 1


# --- order (§10.3 step 7) ------------------------------------------------------------------------


@pytest.mark.parametrize("late", [(CONTACT,), (CONTACT + ";expires=0",), ("*",)])
def test_overtaken_request_fails_and_changes_nothing(site: Site, late: tuple[str]) -> None:
    site.register(CONTACT, cseq=10, expires="600")
    before = site.registrar.contacts("1001")
    result = site.register(*late, cseq=9, expires="0")
    assert (result.status, result.reason) == (500, "CSeq Out Of Order")
    assert site.registrar.contacts("1001") == before


def test_a_failing_contact_undoes_the_others(site: Site) -> None:
    site.register(CONTACT, cseq=10)
    assert site.register("<sip:b@192.0.2.2>", CONTACT, cseq=9).status == 500
    assert len(site.uris()) == 1


def test_an_equal_cseq_fails_and_changes_nothing(site: Site) -> None:
    site.register(CONTACT, cseq=10, expires="600")
    site.now += 100
    for late in (CONTACT, CONTACT + ";expires=0", "*"):
        result = site.register(late, cseq=10, expires="0")
        assert (result.status, result.reason) == (500, "CSeq Out Of Order")
    assert contacts_of(site.register()) == [f"{CONTACT};expires=500"]


def test_the_same_contact_twice_in_one_request_is_one(site: Site) -> None:
    assert contacts_of(site.register(CONTACT, CONTACT, expires="600")) == [f"{CONTACT};expires=600"]
    assert contacts_of(site.register(CONTACT, CONTACT, expires="700")) == [f"{CONTACT};expires=700"]


@pytest.mark.parametrize("cseq", [1, 10])
def test_a_phone_that_was_started_anew_may_count_from_the_beginning(site: Site, cseq: int) -> None:
    """With its old Call-ID, and a challenge that is newer than its binding."""
    site.register(CONTACT, cseq=10, proof=7, expires="600")
    assert site.register(CONTACT, cseq=cseq, proof=7).status == 500
    assert site.register(CONTACT, cseq=cseq, proof=6).status == 500
    result = site.register(CONTACT, cseq=cseq, proof=8, expires="700")
    assert contacts_of(result) == [f"{CONTACT};expires=700"]
    (binding,) = site.registrar.contacts("1001")
    assert (binding.cseq, binding.proof) == (cseq, 8)
    # A challenge of before that is used once more opens nothing to what was overtaken.
    assert site.register(CONTACT, cseq=20, proof=5).status == 200
    assert site.register(CONTACT, cseq=19, proof=8).status == 500
    assert site.register(CONTACT, cseq=cseq, proof=9).status == 200
    assert site.register("*", cseq=cseq, proof=10, expires="0").status == 200
    assert site.uris() == []


def test_other_call_id_starts_anew(site: Site) -> None:
    site.register(CONTACT, call_id="a", cseq=10)
    assert contacts_of(site.register(CONTACT, call_id="b", cseq=1)) == [f"{CONTACT};expires=3600"]
    assert site.registrar.contacts("1001")[0].call_id == "b"


# --- limits --------------------------------------------------------------------------------------


def test_the_one_that_was_silent_for_longest_gives_way(caplog: pytest.LogCaptureFixture) -> None:
    site = Site(max_contacts=3)
    for n in range(3):
        assert site.register(f"<sip:{n}@192.0.2.1>").status == 200
    site.register("<sip:0@192.0.2.1>")  # a refresh: now 1 is the oldest
    assert caplog.messages == []
    assert site.register("<sip:3@192.0.2.1>").status == 200
    assert sorted(site.uris()) == ["sip:0@192.0.2.1", "sip:2@192.0.2.1", "sip:3@192.0.2.1"]
    assert site.events[-2:] == ["-1001 sip:1@192.0.2.1 displaced", "+1001 sip:3@192.0.2.1"]
    assert caplog.messages == [
        "extension 1001 is registered at more than limits.max_contacts (3): sip:1@192.0.2.1, silent"
        " for longest, gives way to udp:192.0.2.10:5060"
    ]
    assert len(site.registrar) == 3


def test_too_many_contacts_in_one_request() -> None:
    site = Site(max_contacts=3)
    old = [f"<sip:{n}@192.0.2.1>" for n in range(3)]
    site.register(*old)
    result = site.register(*(f"<sip:{n}@192.0.2.9>" for n in range(4)))
    assert (result.status, result.reason) == (403, "Too Many Contacts")
    assert len(site.uris()) == 3
    moved = [f"{contact};expires=0" for contact in old]
    assert site.register(*moved, *(f"<sip:{n}@192.0.2.9>" for n in range(3))).status == 200
    assert site.register(*(f"<sip:{n}@192.0.2.1>" for n in range(7))).status == 403
    assert site.register(*(f"<sip:{n}@192.0.2.1>;expires=0" for n in range(7))).status == 403


def test_registrar_full() -> None:
    site = Site(max_registrations=2)
    site.register(CONTACT, aor="1")
    site.register(CONTACT, aor="2")
    result = site.register(CONTACT, aor="3")
    assert result == RegisterResult(503, "Registrar Is Full", [("Retry-After", "60")])
    assert site.register(CONTACT, aor="2").status == 200
    site.register(CONTACT, aor="1", expires="0")
    assert site.register(CONTACT, aor="3").status == 200
    assert len(site.registrar) == 2


def test_limit_lowered_below_what_is_registered_spares_the_registered() -> None:
    site = Site()
    for aor in "123":
        site.register(CONTACT, aor=aor)
    site.registrar.settings = Settings(max_registrations=2)
    assert site.register(CONTACT, aor="2").status == 200
    assert site.register(CONTACT, aor="4").status == 503


def test_long_contacts() -> None:
    site = Site(max_contacts=2, max_contact_size=100)
    assert site.register("<sip:1@192.0.2.1>;x=" + "a" * 100).status == 400
    assert site.register(*["<sip:1@192.0.2.1>;x=" + "a" * 200] * 2).status == 403


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="min_expires"):
        Settings(min_expires=100, default_expires=60)


# --- bad contacts, and RFC 4475 ------------------------------------------------------------------


@pytest.mark.parametrize(
    "contact",
    [
        "",
        "<>",
        "1001",
        "<sip:1001@>",
        "<sip:1001@192.0.2.1",
        "<sip:1001@192.0.2.1:99999>",
        "<mailto:a@example.com>",
        "<tel:+15551234>",
        f"{CONTACT};q=2",
        f"{CONTACT};q=0.1234",
        f"{CONTACT};q",
        f"{CONTACT};q=high",
        f'{CONTACT};+sip.instance="<urn:x>";reg-id=0',
        f'{CONTACT};+sip.instance="<urn:x>";reg-id=x',
        f'{CONTACT};x="\x1b[31m"',
        f"{CONTACT},",
    ],
)
def test_bad_contact(site: Site, contact: str) -> None:
    assert site.register("<sip:ok@192.0.2.1>", contact).status == 400
    assert site.uris() == []


def test_regbadct(site: Site) -> None:
    # RFC 4475 §3.1.2.11: "?" without brackets.
    result = site.register("sip:user@example.com?Route=%3Csip:sip.example.com%3E")
    assert (result.status, result.reason) == (400, "Bad Contact")


def test_regescrt(site: Site) -> None:
    # §3.1.2.12: the escaped Route is part of the contact's URI and comes back with it.
    contact = "<sip:user@example.com?Route=%3Csip:sip.example.com%3E>"
    assert contacts_of(site.register(contact)) == [f"{contact};expires=3600"]
    site.register("<sip:user@example.com>")
    assert len(site.uris()) == 2


def test_cparam01_and_02(site: Site) -> None:
    # §3.3.9: without brackets the parameter is the header's; §3.3.10: within, the URI's.
    site.register("sip:+19725552222@gw1.example.net;unknownparam")
    (binding,) = site.registrar.contacts("1001")
    assert (binding.uri, binding.params) == ("sip:+19725552222@gw1.example.net", ";unknownparam")
    result = site.register("<sip:+19725552222@gw1.example.net;unknownparam>")
    assert contacts_of(result) == [
        "<sip:+19725552222@gw1.example.net;unknownparam>;expires=3600"
    ]  # the same contact by §19.1.4


def test_unksm2(site: Site) -> None:
    # §3.3.4: an address-of-record is a SIP URI.
    result = site.register("<name:John_Smith>", to="isbn:2983792873")
    assert (result.status, result.reason) == (400, "To Is No SIP URI")


def test_escnull(site: Site) -> None:
    # §3.1.1.4: %00 ends no string; these are two contacts.
    both = ["<sip:%00@host5.example.com>", "<sip:%00%00@host5.example.com>"]
    result = site.register(*both, to="sip:null-%00-null@example.com")
    assert contacts_of(result) == [f"{contact};expires=3600" for contact in both]


def test_esc02_percent_in_header_names_is_no_escape(site: Site) -> None:
    # §3.1.1.5: "C%6Fntact" is not Contact.
    request = parse(
        b"REGISTER sip:registrar.example.com SIP/2.0\r\n"
        b'To: "%Z%45" <sip:resource@example.com>\r\n'
        b'From: "%Z%45" <sip:resource@example.com>;tag=f232jadfj23\r\n'
        b"Call-ID: esc02\r\nVia: SIP/2.0/TCP host.example.com;branch=z9hG4bK209%fzsnel234\r\n"
        b"CSeq: 29344 REGISTER\r\nMax-Forwards: 70\r\n"
        b"Contact: <sip:alias1@host1.example.com>\r\nC%6Fntact: <sip:alias2@host2.example.com>\r\n"
        b"Contact: <sip:alias3@host3.example.com>\r\nl: 0\r\n\r\n"
    )
    assert isinstance(request, Request)
    assert site.registrar.process(request, "1001", ("tcp", "192.0.2.1", 4000)).status == 200
    assert site.uris() == ["sip:alias1@host1.example.com", "sip:alias3@host3.example.com"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        # §19.1.4's own examples
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp", True),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", True),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on", True),
        ("sip:alice@x.com?subject=a&priority=b", "sip:alice@x.com?priority=b&subject=a", True),
        ("sip:ALICE@AtlanTa.CoM", "sip:alice@AtlanTa.CoM", False),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", False),
        ("sip:bob@biloxi.com:6000", "sip:bob@biloxi.com:5060", False),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;newparam=6", False),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;maddr=10.0.0.1", False),
        ("sip:carol@chicago.com", "sips:carol@chicago.com", False),
        ("sip:carol@chicago.com?Subject=x", "sip:carol@chicago.com", False),
    ],
)
def test_same_contact(site: Site, one: str, other: str, same: bool) -> None:
    site.register(f"<{one}>")
    site.register(f"<{other}>")
    assert len(site.uris()) == (1 if same else 2)


# --- NAT, connections, RFC 5626 ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contact", "flow", "rport", "target"),
    [
        # behind NAT
        ("sip:1@10.0.0.5:5060", ("udp", "192.0.2.1", 61234), True, None),
        ("sip:1@10.0.0.5:5060", ("udp", "192.0.2.1", 61234), False, None),
        # the same host, another port: only rport says that it listens where it sends from
        ("sip:1@192.0.2.1:5060", ("udp", "192.0.2.1", 61234), True, None),
        ("sip:1@192.0.2.1:5066", ("udp", "192.0.2.1", 61234), False, ("udp", "192.0.2.1", 5066)),
        ("sip:1@192.0.2.1", ("udp", "192.0.2.1", 61234), False, ("udp", "192.0.2.1", 5060)),
        ("sip:1@[2001:db8::1]", ("udp", "2001:db8::1", 9), False, ("udp", "2001:db8::1", 5060)),
        ("sip:1@192.0.2.1;transport=tcp", ("udp", "192.0.2.1", 61234), False, None),
        # a connection is used again
        ("sip:1@192.0.2.1:5060", ("tcp", "192.0.2.1", 61234), False, None),
        ("sip:1@df7jal23ls0d.invalid;transport=ws", ("ws", "192.0.2.1", 61234), True, None),
    ],
)
def test_target(site: Site, contact: str, flow: Flow, rport: bool, target: Flow | None) -> None:
    via = "10.0.0.5:5060" + (";rport" if rport else "")
    site.register(f"<{contact}>", flow=flow, via=via)
    (binding,) = site.registrar.contacts("1001")
    assert (binding.flow, binding.target) == (flow, target or flow)


def test_a_phone_that_moved_is_told_of(site: Site) -> None:
    site.register(CONTACT)
    site.register(CONTACT)
    site.register(CONTACT, flow=("udp", "192.0.2.10", 7000))
    uri = "sip:1001@192.0.2.10:5060"
    assert site.events == [f"+1001 {uri}", f"-1001 {uri} replaced", f"+1001 {uri}"]


INSTANCE = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>"'


def test_instance_replaces_its_old_binding(site: Site) -> None:
    site.register(f"<sip:1@192.0.2.1:40000>;{INSTANCE}", call_id="before-reboot", cseq=50)
    result = site.register(f"<sip:1@192.0.2.1:50000>;{INSTANCE}", call_id="after", cseq=1)
    assert contacts_of(result) == [f"<sip:1@192.0.2.1:50000>;expires=3600;{INSTANCE}"]


def test_reg_ids_are_flows_of_their_own(site: Site) -> None:
    for reg_id in (1, 2, 1):
        flow = ("tcp", "192.0.2.1", 1000 + reg_id)
        site.register(f"<sip:1@192.0.2.1>;{INSTANCE};reg-id={reg_id}", flow=flow)
    assert [b.reg_id for b in site.registrar.contacts("1001")] in (["2", "1"], ["1", "2"])
    site.register(f"<sip:1@192.0.2.1>;{INSTANCE};reg-id=2;expires=0")
    assert [b.reg_id for b in site.registrar.contacts("1001")] == ["1"]


def test_instance_with_two_contacts_in_one_request(site: Site) -> None:
    two = [f"<sip:1@192.0.2.1>;{INSTANCE}", f"<sip:1@192.0.2.1:5062;transport=tcp>;{INSTANCE}"]
    assert len(contacts_of(site.register(*two))) == 2
    assert len(contacts_of(site.register(*two))) == 2


def test_two_phones_with_the_same_private_address(site: Site) -> None:
    other = INSTANCE.replace("E128", "FFFF")
    site.register(f"<sip:1@10.0.0.5>;{INSTANCE}", flow=("udp", "192.0.2.1", 1), call_id="a")
    site.register(f"<sip:1@10.0.0.5>;{other}", flow=("udp", "192.0.2.2", 1), call_id="b")
    assert {b.target[1] for b in site.registrar.contacts("1001")} == {"192.0.2.1", "192.0.2.2"}


def private(port: int, host: str = "10.0.0.5") -> str:
    return f"<sip:1001@{host}:{port}>"


def test_a_phone_without_instance_that_was_started_anew(site: Site) -> None:
    """Behind NAT, by UDP: another port, another Call-ID, another port in its Contact."""
    for n in range(14):
        flow = ("udp", "192.0.2.1", 40000 + n)
        result = site.register(private(5060 + n), flow=flow, call_id=f"c{n}", cseq=1)
        assert contacts_of(result) == [f"{private(5060 + n)};expires=3600"]
    assert site.events[-2:] == [
        "-1001 sip:1001@10.0.0.5:5072 replaced",
        "+1001 sip:1001@10.0.0.5:5073",
    ]
    # Should it keep its Call-ID, the same.
    site.register(private(6000), flow=("udp", "192.0.2.1", 50000), call_id="c13", cseq=2)
    site.register(private(6001), flow=("udp", "192.0.2.1", 50001), call_id="c13", cseq=3)
    assert site.uris() == ["sip:1001@10.0.0.5:6001"]


@pytest.mark.parametrize(
    ("contact", "flow", "user_agent"),
    [
        (private(5060, "10.0.0.6"), ("udp", "192.0.2.1", 40001), "Phone 1.0"),
        ("<sip:bob@10.0.0.5:5062>", ("udp", "192.0.2.1", 40001), "Phone 1.0"),
        (private(5062), ("udp", "192.0.2.2", 40001), "Phone 1.0"),
        (private(5062), ("tcp", "192.0.2.1", 40001), "Phone 1.0"),
        (private(5062), ("udp", "192.0.2.1", 40001), "Another 2.0"),
        # Another line of the same phone, by the same socket.
        (private(5062), ("udp", "192.0.2.1", 40000), "Phone 1.0"),
        (f"{private(5062)};{INSTANCE}", ("udp", "192.0.2.1", 40001), "Phone 1.0"),
    ],
)
def test_two_phones_are_not_taken_for_one(
    site: Site, contact: str, flow: Flow, user_agent: str
) -> None:
    site.register(private(5060), flow=("udp", "192.0.2.1", 40000), call_id="a")
    site.register(contact, flow=flow, call_id="b", user_agent=user_agent)
    assert len(site.uris()) == 2


def test_two_phones_that_look_like_one_show_it(site: Site) -> None:
    """Two of one make at one address, by the same name: who was replaced comes back."""
    one = {"flow": ("udp", "192.0.2.1", 40000), "call_id": "a"}
    other = {"flow": ("udp", "192.0.2.1", 40001), "call_id": "b"}
    site.register(private(5060), **one)
    site.register(private(5062), **other)
    assert site.uris() == ["sip:1001@10.0.0.5:5062"]
    for _ in range(3):
        site.now += 60
        site.register(private(5060), **one)
        site.register(private(5062), **other)
        assert len(site.uris()) == 2


def test_phones_that_write_the_address_of_their_nat(site: Site) -> None:
    """All of them do, so that tells nothing: both stay."""
    for n in (1, 2):
        port = 40000 + n
        site.register(
            f"<sip:1001@192.0.2.1:{port}>", flow=("udp", "192.0.2.1", port), call_id=f"{n}"
        )
    assert len(site.uris()) == 2
    # The same phone has its Call-ID.
    site.register(
        "<sip:1001@192.0.2.1:40009>", flow=("udp", "192.0.2.1", 40009), call_id="2", cseq=9
    )
    assert site.uris() == ["sip:1001@192.0.2.1:40001", "sip:1001@192.0.2.1:40009"]


def test_a_phone_that_leaves_out_its_instance(site: Site) -> None:
    """As some do when they connect again: it is the same by its Call-ID."""
    site.register(
        f"{private(5060)};{INSTANCE}", flow=("tcp", "192.0.2.1", 40000), call_id="a", cseq=1
    )
    site.register(private(5061), flow=("tcp", "192.0.2.1", 40001), call_id="a", cseq=2)
    assert site.uris() == ["sip:1001@10.0.0.5:5061"]


def test_both_contacts_of_a_phone_that_was_started_anew(site: Site) -> None:
    site.register(private(5060), private(5061), flow=("udp", "192.0.2.1", 1), call_id="a")
    site.register(private(6060), private(6061), flow=("udp", "192.0.2.1", 2), call_id="b")
    assert sorted(site.uris()) == ["sip:1001@10.0.0.5:6060", "sip:1001@10.0.0.5:6061"]


def test_a_binding_goes_with_its_connection(site: Site) -> None:
    by_tcp = ("tcp", "192.0.2.1", 40000)
    site.register(private(5060), flow=by_tcp, aor="1001")
    site.register(private(5060), flow=by_tcp, aor="1002")
    site.register("<sip:1001@192.0.2.7>", flow=("udp", "192.0.2.7", 40000), call_id="u")
    site.registrar.closed(("tcp", "192.0.2.1", 39999))
    assert (len(site.uris("1001")), len(site.uris("1002"))) == (2, 1)
    site.registrar.closed(by_tcp)
    assert (site.uris("1001"), site.uris("1002")) == (["sip:1001@192.0.2.7"], [])
    assert site.events[3:] == [
        "-1001 sip:1001@10.0.0.5:5060 closed",
        "-1002 sip:1001@10.0.0.5:5060 closed",
    ]
    assert len(site.registrar) == 1
    assert not site.registrar._by_connection


def test_what_comes_by_websocket_is_never_called_by_tcp(site: Site) -> None:
    flow = ("ws", "192.0.2.1", 40000)
    site.register("<sip:1@192.0.2.1:5062;transport=tcp>", flow=flow)
    site.registrar.closed(flow)
    assert site.uris() == []


def test_connections_without_end_shut_nobody_out(site: Site) -> None:
    for n in range(30):
        flow = ("tcp", "192.0.2.1", 40000 + n)
        assert site.register(private(5060 + n), flow=flow, call_id=f"c{n}").status == 200
        site.registrar.closed(flow)
    assert site.uris() == []


@pytest.mark.parametrize(
    ("contact", "anew"),
    [
        ("sip:1@192.0.2.1:5062;transport=tcp", 5062),
        ("sip:1@192.0.2.1;transport=TCP", 5060),
        # The connection's own port takes no connections; nor does what is not said to be TCP.
        ("sip:1@192.0.2.1:40000;transport=tcp", None),
        ("sip:1@192.0.2.1:5062", None),
        ("sip:1@10.0.0.5:5062;transport=tcp", None),
    ],
)
def test_a_phone_that_takes_connections_is_called_there(
    site: Site, contact: str, anew: int | None
) -> None:
    flow = ("tcp", "192.0.2.1", 40000)
    site.register(f"<{contact}>", flow=flow)
    (binding,) = site.registrar.contacts("1001")
    assert binding.target == flow, "as long as there is a connection it is used"
    site.registrar.closed(flow)
    expected = [("tcp", "192.0.2.1", anew)] if anew else []
    assert [one.target for one in site.registrar.contacts("1001")] == expected
    # The connection that a call made there goes when it is idle, and can be made again.
    site.registrar.closed(("tcp", "192.0.2.1", anew or 0))
    assert [one.target for one in site.registrar.contacts("1001")] == expected
    # The process that comes after takes up the same.
    other = Site()
    assert [one.target for one in other.registrar.restore("1001", [binding])] == expected
    site.register("*", expires="0")
    assert not site.registrar._by_connection


# --- time ----------------------------------------------------------------------------------------


def test_expiry(site: Site) -> None:
    assert site.registrar.expire(site.now) is None
    site.register("<sip:a@192.0.2.1>;expires=60", "<sip:b@192.0.2.2>;expires=100")
    assert site.registrar.expire(site.now) == 1060
    site.now = 1060
    assert site.uris() == ["sip:b@192.0.2.2"]
    assert site.registrar.expire(site.now) == 1100
    assert len(site.registrar) == 1
    site.now = 1100
    assert contacts_of(site.register()) == []
    assert site.events[2:] == ["-1001 sip:a@192.0.2.1 expired", "-1001 sip:b@192.0.2.2 expired"]
    assert site.registrar.expire(site.now) is None


# Where a sum of seconds has fewer bits behind the point than its parts.
@pytest.mark.parametrize("now", [0.1, 1000.1, 5000.3, 2**20 - 999.7, 2**28 - 0.3])
def test_nobody_is_told_more_than_what_was_asked_for(site: Site, now: float) -> None:
    for n in range(50):
        site.now = now + n * 0.0137
        assert contacts_of(site.register(CONTACT, expires="3600")) == [f"{CONTACT};expires=3600"]


def test_refreshing_phone_leaves_nothing_behind(site: Site) -> None:
    for _ in range(1000):
        site.now += 1
        site.register(CONTACT)
    assert len(site.registrar._due) <= 70
    site.now += 3600
    site.registrar.expire(site.now)
    assert not site.registrar._due
    assert not site.registrar._bindings


def test_lines_for_the_admin(site: Site) -> None:
    site.register("<sip:1002@[2001:db8::1]>;q=0.5", aor="1002", flow=("tcp", "2001:db8::1", 4000))
    site.register(CONTACT, expires="600")
    assert list(site.registrar.lines()) == [
        "1001  sip:1001@192.0.2.10:5060  at udp:192.0.2.10:5060  q=1  600 s left  Phone 1.0",
        "1002  sip:1002@[2001:db8::1]  at tcp:[2001:db8::1]:4000  q=0.5  3600 s left  Phone 1.0",
    ]


# --- properties ----------------------------------------------------------------------------------


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\r\n"), max_size=40)
        | st.text('<sip:a@b.c>;q=0.1",*?expires', max_size=60),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_contacts_come_are_answered(contacts: list[str]) -> None:
    site = Site()
    headers = {"to": ["<sip:1@x>"], "call-id": ["c"], "contact": contacts}
    request = Request("REGISTER", "sip:x", headers)
    result = site.registrar.process(request, "1001", PHONE)
    assert result.status in (200, 400, 403, 423)
    assert len(site.uris()) == len(site.registrar)
    for name, value in result.headers:
        if name == "Contact":  # can be read again by the phone
            parse_address(value)


class Bindings(RuleBasedStateMachine):
    """The registrar beside a dictionary of URI to (expiry, Call-ID, CSeq)."""

    @initialize()
    def start(self) -> None:
        self.site = Site(max_contacts=4, max_registrations=6)
        self.model: dict[str, dict[str, tuple[float, str, int]]] = {"1": {}, "2": {}}

    def live(self, aor: str) -> dict[str, tuple[float, str, int]]:
        return {uri: b for uri, b in self.model[aor].items() if b[0] > self.site.now}

    @rule(
        aor=st.sampled_from("12"),
        users=st.lists(st.sampled_from("abcdef"), unique=True, min_size=1, max_size=3),
        expires=st.lists(st.sampled_from([0, 30, 60, 90]), min_size=3, max_size=3),
        call_id=st.sampled_from("xy"),
        cseq=st.integers(1, 9),
    )
    def register(
        self, aor: str, users: list[str], expires: list[int], call_id: str, cseq: int
    ) -> None:
        before = self.live(aor)
        total = len(self.live("1")) + len(self.live("2"))
        pairs = [(f"sip:{user}@h", seconds) for user, seconds in zip(users, expires, strict=False)]
        wanted, after = 200, dict(before)
        for uri, seconds in pairs:
            if seconds == 30:
                wanted = 423
                break
            old = before.get(uri)
            if old and old[1] == call_id and cseq <= old[2]:
                wanted = 500
                break
            after.pop(uri, None)
            if seconds:
                after[uri] = (self.site.now + seconds, call_id, cseq)
        while len(after) > max(4, len(before)):
            del after[next(iter(after))]
        # What ran out at the other extension counts until it is swept.
        self.site.registrar.expire(self.site.now)
        if wanted == 200 and total + len(after) - len(before) > max(6, total):
            wanted = 503
        contacts = [f"<{uri}>;expires={seconds}" for uri, seconds in pairs]
        result = self.site.register(*contacts, aor=aor, call_id=call_id, cseq=cseq)
        assert result.status == wanted
        if wanted == 200:
            self.model[aor] = after
            assert len(contacts_of(result)) == len(after)

    @rule(aor=st.sampled_from("12"), call_id=st.sampled_from("xy"), cseq=st.integers(1, 9))
    def remove_all(self, aor: str, call_id: str, cseq: int) -> None:
        live = self.live(aor)
        same = [b[2] for b in live.values() if b[1] == call_id]
        result = self.site.register("*", expires="0", aor=aor, call_id=call_id, cseq=cseq)
        if any(cseq <= other for other in same):
            assert result.status == 500
        else:
            assert result.status == 200
            self.model[aor] = {}

    @rule(seconds=st.sampled_from([1, 29, 30, 60]))
    def wait(self, seconds: int) -> None:
        self.site.now += seconds

    @rule()
    def sweep(self) -> None:
        following = self.site.registrar.expire(self.site.now)
        count = len(self.live("1")) + len(self.live("2"))
        assert len(self.site.registrar) == count
        assert (following is None) <= (count == 0)
        if following is not None:
            assert following > self.site.now

    @invariant()
    def same_as_the_model(self) -> None:
        for aor in "12":
            actual = {
                b.uri: (b.expires_at, b.call_id, b.cseq) for b in self.site.registrar.contacts(aor)
            }
            assert actual == self.live(aor)

    @invariant()
    def known_by_their_addresses(self) -> None:
        there = {
            network_of(one.flow[1])
            for all_of_it in self.site.registrar._bindings.values()
            for one in all_of_it
        }
        assert self.site.registrar._networks.keys() == there
        assert all(map(self.site.registrar.is_at, there))

    @invariant()
    def events_add_up(self) -> None:
        for aor in "12":
            came = [e for e in self.site.events if e.startswith("+" + aor)]
            gone = [e for e in self.site.events if e.startswith("-" + aor)]
            there = len(came) - len(gone)
            assert there == len(self.site.registrar._bindings.get(aor, ()))


TestBindings = Bindings.TestCase
TestBindings.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
