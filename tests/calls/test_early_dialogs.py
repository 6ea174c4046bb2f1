"""Early dialogs in which one side has agreed on what the other has not."""

from __future__ import annotations

from calls.call_world import ANSWER, HOLD, World
from calls.test_prack import REQUIRED, ends, placed, prack, reliably


def test_an_offer_to_who_has_not_answered_the_first(world: World) -> None:
    """The caller has an answer reliably that was none to the callee, whose next response is
    reliable: its PRACK may bring that one no other offer (RFC 3262 §5)."""
    a, b = placed(world, REQUIRED)
    b.reply(183, ANSWER)
    prack(a)
    b.reply(180, "", reliably(5))
    prack(a, HOLD)
    assert a.last.what == "488 PRACK"
    assert (b.last.what, b.last.body, b.last["rack"]) == ("PRACK", "", "5 1 INVITE")
    b.reply(200, to="PRACK")
    b.reply(200, ANSWER)
    a.ack()
    ends(world, a, b)
