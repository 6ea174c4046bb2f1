"""Commands that ask a running switch: ``softswitch status``, ``softswitch trace``."""

from softswitch.console.status import status
from softswitch.console.trace import trace

__all__ = ["status", "trace"]
