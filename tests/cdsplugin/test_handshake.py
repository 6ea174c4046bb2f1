"""The handshake without a network: who is let in, and what an attacker in the middle can do."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdsplugin.data.frames import Hello
from cdsplugin.link.complaints import Complaints
from cdsplugin.link.handshake import NONCE_BYTES, Handshake, HandshakeError, Proof

SECRET = b"a secret of some length"


def side(
    name: str, dialled: str | None, secret: bytes | None = SECRET, nonce: int = 0, start: str = "i"
) -> Handshake:
    return Handshake(name, start, dialled, secret, bytes([nonce or ord(name[0])]) * NONCE_BYTES)


def talk(one: Handshake, other: Handshake) -> list[Hello | Proof]:
    """Carry everything between the two; returns what was said."""
    said = []
    waiting = [(other, frame) for frame in one.begin() + other.begin()]
    while waiting:
        to, frame = waiting.pop(0)
        said.append(frame)
        back = one if to is other else other
        waiting += [(back, answer) for answer in to.receive(frame)]
    return said


def test_both_know_the_secret() -> None:
    hq, branch = side("hq", "branch"), side("branch", None)
    said = talk(hq, branch)
    assert [type(frame) for frame in said] == [Hello, Hello, Proof, Proof]
    assert hq.done
    assert branch.done
    assert hq.peer is not None
    assert hq.peer.server == "branch"
    assert SECRET not in msgspec.msgpack.encode(said)


def test_without_a_secret() -> None:
    hq, branch = side("hq", "branch", None), side("branch", None, None)
    assert [type(frame) for frame in talk(hq, branch)] == [Hello, Hello]
    assert hq.done
    assert branch.done


def test_who_only_connects_gets_no_proof() -> None:
    branch = side("branch", None)
    answer = branch.receive(side("hq", "branch").hello)
    assert [type(frame) for frame in answer] == [Hello]


@pytest.mark.parametrize(
    ("hq", "branch", "says"),
    [
        ({"secret": b"another one, as long"}, {}, "its proof is wrong"),
        ({"secret": None}, {}, r"\(hq\) has no cds.secret"),
        ({}, {"secret": None}, r"\(hq\) asks for a secret"),
        ({"dialled": "depot"}, {}, "calls itself branch, but cds.peers has it as depot"),
        ({"nonce": 7}, {"nonce": 7}, r"\(hq\) has no cds.secret"),
        ({"name": "branch"}, {}, "which is this server's name"),
    ],
)
def test_who_does_not_fit(hq: dict, branch: dict, says: str) -> None:
    one = side(**{"name": "hq", "dialled": "branch", **hq})
    other = side(**{"name": "branch", "dialled": None, **branch})
    with pytest.raises(HandshakeError, match=says):
        talk(one, other)
    assert not other.done
    assert not one.done


def test_the_name_in_the_certificate() -> None:
    for certified, right in ((frozenset({"hq"}), True), (frozenset({"depot", "HQ"}), False)):
        branch = side("branch", None)
        branch.certified = certified
        if right:
            branch.receive(side("hq", "branch").hello)
        else:
            with pytest.raises(HandshakeError, match="its certificate is that of HQ, depot"):
                branch.receive(side("hq", "branch").hello)


def test_a_handshake_that_was_overheard_cannot_be_repeated() -> None:
    hello, _, proof, _ = talk(side("hq", "branch"), side("branch", None))
    again = side("branch", None, nonce=9)
    again.receive(hello)
    with pytest.raises(HandshakeError, match="its proof is wrong"):
        again.receive(proof)
    assert not again.done


def test_a_dialler_does_not_believe_an_old_answer() -> None:
    _, hello, _, proof = talk(side("hq", "branch"), side("branch", None))
    hq = side("hq", "branch", nonce=9)
    hq.begin()
    hq.receive(hello)
    with pytest.raises(HandshakeError, match="its proof is wrong"):
        hq.receive(proof)
    assert not hq.done


def test_nobody_s_own_proof_convinces_it() -> None:
    hq = side("hq", "branch")
    (own,) = hq.begin()
    mirrored = Hello(own.magic, own.version, "branch", own.instance, own.nonce)
    with pytest.raises(HandshakeError, match=r"\(branch\) has no cds.secret"):
        hq.receive(mirrored)  # our own nonce
    (proof,) = hq.receive(Hello(own.magic, own.version, "branch", "i", b"x" * NONCE_BYTES))
    assert isinstance(proof, Proof)
    with pytest.raises(HandshakeError, match="its proof is wrong"):
        hq.receive(proof)
    assert not hq.done


def test_a_second_connection_cannot_be_used_to_answer_the_first() -> None:
    """The attacker is asked by ``hq`` and asks ``hq`` the same, as if it were ``branch``."""
    dialling, listening = side("hq", "branch", nonce=1), side("hq", None, nonce=2)
    (asked,) = dialling.begin()
    (answered,) = listening.receive(Hello("cds", 1, "branch", "i", asked.nonce))
    with pytest.raises(HandshakeError, match="this server's name"):
        dialling.receive(answered)
    (proof,) = dialling.receive(Hello("cds", 1, "branch", answered.instance, answered.nonce))
    with pytest.raises(HandshakeError, match="its proof is wrong"):
        listening.receive(proof)
    assert not dialling.done
    assert not listening.done


# The dialling side knows whom it dialled: no other server's name gets as far as a proof.
@pytest.mark.parametrize(
    ("which", "change"),
    [(0, "server"), (0, "instance"), (0, "nonce"), (1, "instance"), (1, "nonce")],
)
def test_what_is_changed_on_the_way_is_noticed(which: int, change: str) -> None:
    hq, branch = side("hq", "branch"), side("branch", None)
    other = {"server": "depot", "instance": "j", "nonce": b"y" * NONCE_BYTES}[change]
    (first,) = hq.begin()
    if which == 0:
        first = msgspec.structs.replace(first, **{change: other})
    (second,) = branch.receive(first)
    if which == 1:
        second = msgspec.structs.replace(second, **{change: other})
    (proof,) = hq.receive(second)
    with pytest.raises(HandshakeError, match="its proof is wrong"):
        branch.receive(proof)


def test_out_of_turn() -> None:
    proof = Proof(b"x" * 32)
    with pytest.raises(HandshakeError, match="nobody asked for"):
        side("branch", None).receive(proof)
    open_side = side("branch", None, None)
    open_side.receive(side("hq", "branch", None).hello)
    with pytest.raises(HandshakeError, match="nobody asked for"):
        open_side.receive(proof)
    twice = side("branch", None)
    twice.receive(side("hq", "branch").hello)
    with pytest.raises(HandshakeError, match="greets twice"):
        twice.receive(side("hq", "branch").hello)


words = st.text(max_size=8) | st.sampled_from(["cds", "hq", "branch", "i"])
nonces = st.binary(max_size=40) | st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)
hellos = st.builds(Hello, words, st.integers(0, 3), words, words, nonces)


@given(st.lists(hellos | st.builds(Proof, st.binary(max_size=40)), max_size=6), st.booleans())
def test_nothing_but_the_secret_opens(frames: list[Hello | Proof], dialling: bool) -> None:
    server = side("branch", "hq" if dialling else None)
    server.begin()
    for frame in frames:
        try:
            server.receive(frame)
        except HandshakeError:
            break
    assert not server.done


def test_complaints_are_few_and_forget_none() -> None:
    complaints = Complaints(lines=3, within=60, hosts=2)
    said = [complaints.about("a", now) for now in range(10)]
    assert said == ["", "", "; more from a will not be named for a while", *[None] * 7]
    assert complaints.about("b", 10) == ""
    assert complaints.about("a", 61) == " (as were 7 more from a that were not named)"
    for n in range(50):
        assert complaints.about(f"h{n}", 62) == ""
    assert len(complaints._told) == 2
