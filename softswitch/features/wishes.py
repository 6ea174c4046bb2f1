"""What a phone has set, and its last numbers: in a row of the journal, to outlive the process.

A phone that was answered relies on what it has set, so that is on disk before the answer leaves.
The last numbers are written within ``softswitch.calls.journal.A_LITTLE``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec

from softswitch.calls import RowKind
from softswitch.config import ALWAYS, BUSY, CASES, NO_ANSWER, UNREACHABLE, FollowStep, Forwarding


class _Row(msgspec.Struct, frozen=True, array_like=True):
    extension: str
    forward: dict[str, str]
    after: float | None
    dnd: bool | None
    dialled: str
    caller: str
    follow: list[tuple[list[str], float]] | None = None
    agent: bool | None = None
    paused: bool = False


WISHES: Final = RowKind(b"w", _Row)


class Wishes:
    """Of one extension (`softswitch.calls.journal.Kept`).

    `forward` has numbers by ``config.CASES``, empty: no forwarding; `follow` the steps of where its
    calls find it, none: its phone. For what is not in it, and for None, the configuration says.
    `agent` is whether it is logged in to its queues, `paused` whether they are not to ring it.
    `dialled` and `caller` are the numbers that it has called last and that has called it last,
    empty: none.
    """

    __slots__ = (
        "after", "agent", "caller", "dialled", "dnd", "extension", "follow", "forward", "paused",
        "row",
    )  # fmt: skip

    def __init__(self, extension: str) -> None:
        self.extension = extension
        self.row = 0
        self.forward: dict[str, str] = {}
        self.after: float | None = None
        self.dnd: bool | None = None
        self.follow: tuple[FollowStep, ...] | None = None
        self.agent: bool | None = None
        self.paused = False
        self.dialled = ""
        self.caller = ""

    def written(self) -> bytes:
        """The row's bytes, as of now."""
        follow = self.follow
        return WISHES.encode(
            _Row(
                self.extension,
                self.forward,
                self.after,
                self.dnd,
                self.dialled,
                self.caller,
                None if follow is None else [(list(one.numbers), one.timeout) for one in follow],
                self.agent,
                self.paused,
            )
        )

    def __bool__(self) -> bool:
        """Whether there is anything."""
        said = self.forward or self.dnd is not None or self.follow is not None
        said = said or self.agent is not None or self.paused
        return bool(said or self.dialled or self.caller)

    def over(self, written: Forwarding) -> Forwarding:
        """What is in force, with what the configuration says of it."""
        here = self.forward
        if here:
            after = self.after or 0.0
            if NO_ANSWER not in here or (self.after is None and here[NO_ANSWER]):
                after = written.after
            written = replace(
                written,
                always=here.get(ALWAYS, written.always),
                busy=here.get(BUSY, written.busy),
                no_answer=here.get(NO_ANSWER, written.no_answer),
                unreachable=here.get(UNREACHABLE, written.unreachable),
                after=after,
            )
        if self.follow is not None:
            written = replace(written, follow=self.follow)
        return written if self.dnd is None else replace(written, dnd=self.dnd)

    def __repr__(self) -> str:
        return f"<what {self.extension} has set>"


def decode(row: bytes) -> Wishes:
    """What a row says. Raises msgspec.DecodeError if it is none."""
    read = WISHES.decode(row)
    wishes = Wishes(read.extension)
    wishes.forward = {case: number for case, number in read.forward.items() if case in CASES}
    wishes.after, wishes.dnd = read.after, read.dnd
    if read.follow is not None:
        wishes.follow = tuple([FollowStep(tuple(numbers), wait) for numbers, wait in read.follow])
    wishes.agent, wishes.paused = read.agent, read.paused
    wishes.dialled, wishes.caller = read.dialled, read.caller
    return wishes
