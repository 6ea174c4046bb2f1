"""What the headless phone prints, without a phone."""

from __future__ import annotations

from softswitch.phone.phone_lines import in_words
from softswitch.phone.settings import PhoneEvent


def test_what_the_other_side_calls_itself_does_not_reach_the_terminal_as_it_is() -> None:
    event = PhoneEvent("incoming", 1, {"from": '"x\x1b[2J" <sip:5@h>\r\nregistered for 9 s'})
    assert in_words(event) == 'call 1: from "x?[2J" <sip:5@h>??registered for 9 s'
