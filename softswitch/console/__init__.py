"""Commands that ask a running switch: ``softswitch status``, ``softswitch trace``, ``softswitch
ban``."""

from softswitch.console.ban import ban
from softswitch.console.status import status
from softswitch.console.trace import trace

__all__ = ["ban", "status", "trace"]
