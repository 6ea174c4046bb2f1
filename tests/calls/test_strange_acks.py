"""An ACK of a 2xx that is not as RFC 3261 has it, and yet can be of one call alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, World


@pytest.mark.parametrize("same_branch", [True, False])
def test_a_to_tag_that_is_made_up(tmp_path: Path, same_branch: bool) -> None:
    """With the branch of its INVITE, as PyVoIP has it, it is of that; without it is of none."""
    world = World(tmp_path)
    alice = world.agent("10.1.0.1", "alice")
    pstn = world.agent("10.2.0.1", "pstn")
    line = alice.call("85550100")
    pstn.line.reply(200, ANSWER)
    was, line.remote = line.remote, "<sip:85550100@10.0.0.1>;tag=mine"
    branch = line.invite_branch if same_branch else ""
    line.send("ACK", cseq=line.invite_cseq, branch=branch)
    line.remote = was
    world.run(40)
    assert (line.last.what == "BYE") is not same_branch
    if same_branch:
        line.bye()
    else:
        line.reply(200, to="BYE")
    pstn.line.reply(200, to="BYE")
    world.end()
