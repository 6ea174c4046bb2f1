"""What a server has to know of its part in a call after a crash, besides who else takes part."""

from __future__ import annotations

import msgspec


class Standing(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """``listed``: who takes care of the call after whom, as its head said last. ``unseen``: entries
    newer than that stamp were written before the owner's clock was known. The others as in
    ``call.Call``: ``kept`` waits in ``Store.kept`` for its owner; a call that is alive again after
    that is ``revived``; ``learnt`` came from another server. ``left`` as in ``joined.Joined``.
    ``following``: those present that do not hold the call. ``claimed`` as in ``call.Call``.
    """

    listed: list[str] = []
    kept: bool = False
    revived: bool = False
    learnt: bool = False
    unseen: int | None = None
    left: list[str] = []
    following: list[str] = []
    claimed: bool = False


NOTHING_ELSE = Standing()
LEARNT = Standing(learnt=True)
