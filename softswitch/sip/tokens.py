"""Tags, branches and Call-IDs (RFC 3261 §19.3: at least 32 bits of cryptographic randomness)."""

from __future__ import annotations

import os
from collections.abc import Callable

_POOL = 8192


class Tokens:
    """Random tokens from a pool that `source` fills: one system call for several hundred."""

    __slots__ = ("_at", "_pool", "_source")

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        self._source = source
        self._pool = ""
        self._at = 0

    def token(self, digits: int = 16) -> str:
        """`digits` hexadecimal digits, four random bits each."""
        at = self._at
        if at + digits > len(self._pool):
            self._pool = self._source(_POOL // 2).hex()
            at = 0
        self._at = at + digits
        return self._pool[at : at + digits]

    def branch(self) -> str:
        """A branch with the magic cookie of §8.1.1.7."""
        return "z9hG4bK" + self.token(20)
