"""What an INVITE's failure means: for the caller, for the other targets, and for the record."""

from __future__ import annotations

from softswitch.sip import REASON_PHRASES

BUSY = frozenset((486, 600))
NO_ANSWER = frozenset((408, 480))
NOT_ACCEPTABLE = frozenset((415, 488, 606))
"""What says that it is the offer that is not taken, or may be."""
REJECTED = frozenset((401, 403, 407, 433, 603, 606, 607, 608))

# A carrier that says one of these speaks of the number, not of itself: no other trunk will do
# better. 403 is not among them, since it is also what a carrier says whose account is blocked or
# empty.
_OF_THE_NUMBER = frozenset((404, 410, 480, 484, 485, 486, 487, 488, 604))
UNKNOWN_NUMBER = frozenset((404, 410, 484, 485))


def disposition(status: int) -> str:
    """The record's disposition for a call that failed with `status` (design: Commands, `cdrs`)."""
    if status in BUSY:
        return "busy"
    if status in NO_ANSWER:
        return "no-answer"
    if status in REJECTED:
        return "rejected"
    if status == 487:
        return "cancelled"
    return "failed"


def ends_search(kind: str, status: int) -> bool:
    """Whether this failure speaks of the callee, so that other ways to the same one are pointless.

    RFC 3261 §16.7 has it of a 6xx; of what a carrier says of a number, see above.
    """
    return status >= 600 or (kind == "trunk" and status in _OF_THE_NUMBER)


RANG_OUT = -1
"""A rank's status: somebody's phone rang, and nobody picked up."""


def better(first: int, second: int) -> bool:
    """Whether of two failures the caller is told the second; of equals the first.

    That is §16.7 step 6 (6xx, 4xx, 5xx, 3xx) but for what it leaves to taste. A phone that rang and
    was not picked up says most: of a group with one busy, one that declines and one that rings out,
    nobody has answered. Busy says more than a phone that is not there. And of a number that one
    carrier does not know it is not known that it does not exist, as long as another carrier, which
    was to have the call before or after it, has not answered or could not take it.
    """
    return _rank(second) < _rank(first)


def _rank(status: int) -> int:
    if status == RANG_OUT:
        return 0
    if status in BUSY and status < 600:
        return 2
    if status in UNKNOWN_NUMBER:
        return 5
    return {6: 1, 4: 3, 5: 4, 3: 6}.get(status // 100, 7)


def for_caller(status: int, reason: str) -> tuple[int, str]:
    """The status and phrase to pass on: a challenge meant for us, a redirect and a 503 are not.

    §16.7: a 503 would make the caller's proxy stop using this switch altogether.
    """
    if status in (401, 407):
        return 500, "Trunk Wants Authentication"
    if status == 503:
        return 500, reason or REASON_PHRASES[500]
    if 300 <= status < 400:
        return 480, "Redirected Nowhere"
    return status, reason or REASON_PHRASES.get(status, "")
