"""What an INVITE's failure means: for the caller, for the other targets, and for the record."""

from __future__ import annotations

from softswitch.sip import REASON_PHRASES

BUSY = frozenset((486, 600))
NO_ANSWER = frozenset((408, 480))
REJECTED = frozenset((401, 403, 407, 433, 603, 606, 607, 608))

# A carrier that says one of these speaks of the number, not of itself: no other trunk will do
# better. 403 is not among them, since it is also what a carrier says whose account is blocked or
# empty.
_OF_THE_NUMBER = frozenset((404, 410, 480, 484, 485, 486, 487, 488, 604))


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


def better(first: int, second: int) -> bool:
    """Whether of two failures the caller is told the second (§16.7 step 6): 6xx, 4xx, 5xx, 3xx; of
    equals the first."""
    return _rank(second) < _rank(first)


def _rank(status: int) -> tuple[int, int]:
    hundred = status // 100
    order = {6: 0, 4: 1, 5: 2, 3: 3}.get(hundred, 4)
    # Busy says more to a caller than an unreachable second phone.
    return (order, 0 if status in BUSY else 1)


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
