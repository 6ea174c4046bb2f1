"""Who may use the API: bearer tokens with roles, and how often.

RFC 6750: 401 with ``WWW-Authenticate: Bearer`` without a valid token, 403 with
``insufficient_scope`` where the token's role does not reach; RFC 6585: 429 with ``Retry-After``.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import HTTPException, Security
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from cdsplugin.config import ApiSection


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows: its holder's name, and whether it may write."""

    name: str
    write: bool


class _Bucket:
    """A token bucket: ``level`` requests may come at once, ``rate`` a second in the long run."""

    __slots__ = ("at", "level")

    def __init__(self, level: float, at: float) -> None:
        self.level = level
        self.at = at


class Access:
    """Tokens and their rates. ``now`` is a monotonic clock in seconds."""

    def __init__(self, section: ApiSection, now: Callable[[], float]) -> None:
        self._tokens = [
            (grant.token.get_secret_value().encode(), Grant(grant.name, grant.role == "write"))
            for grant in section.grants()
        ]
        self._rate = section.rate
        self._burst = float(section.burst)
        self._now = now
        self._buckets = {grant: _Bucket(self._burst, now()) for _, grant in self._tokens}
        self.refused = 0
        self.limited = 0

    def grant(self, offered: str | None) -> Grant | None:
        """What a token allows; None if it is none of ours."""
        given = (offered or "").encode("utf-8", "surrogateescape")
        # All are compared, each in constant time: how long it takes tells nothing.
        found = [grant for token, grant in self._tokens if hmac.compare_digest(given, token)]
        return found[0] if found else None

    def wait(self, grant: Grant) -> float:
        """Count a request; 0, or the seconds after which it may come again."""
        bucket, now = self._buckets[grant], self._now()
        bucket.level = min(self._burst, bucket.level + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.level >= 1:
            bucket.level -= 1
            return 0.0
        self.limited += 1
        return (1 - bucket.level) / self._rate

    def admit(self, offered: str | None, *, write: bool) -> Grant:
        """The grant of a request. Raises HTTPException: 401, 403 or 429."""
        grant = self.grant(offered)
        if grant is None:
            self.refused += 1
            raise HTTPException(
                401, "a valid bearer token is needed", {"WWW-Authenticate": "Bearer"}
            )
        if (wait := self.wait(grant)) > 0:
            raise HTTPException(
                429,
                f"too many requests with this token (cds.api.rate: {self._rate:g} a second)",
                {"Retry-After": str(math.ceil(wait))},
            )
        if write and not grant.write:
            raise HTTPException(
                403,
                f"the token `{grant.name}` may only read",
                {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="write"'},
            )
        return grant


_scheme = HTTPBearer(
    auto_error=False, description="One of `cds.api.tokens`: `Authorization: Bearer TOKEN`"
)


def guard(access: Access, *, write: bool) -> Callable[..., Awaitable[Grant]]:
    """A dependency of routes: the grant of who asks."""

    async def admitted(
        given: HTTPAuthorizationCredentials | None = Security(_scheme),  # noqa: B008
    ) -> Grant:
        return access.admit(given.credentials.strip() if given is not None else None, write=write)

    return admitted


def offered_by(connection: HTTPConnection) -> tuple[str | None, str | None]:
    """The token of a WebSocket's handshake, and the subprotocol to accept with.

    Browsers cannot set headers there: they offer the subprotocols ``bearer`` and the token itself.
    """
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip(), None
    asked = [p.strip() for p in connection.headers.get("sec-websocket-protocol", "").split(",")]
    if len(asked) == 2 and asked[0] == "bearer":
        return asked[1], "bearer"
    return None, None
