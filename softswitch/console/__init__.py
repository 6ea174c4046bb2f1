"""Commands that ask a running switch: ``softswitch status``."""

from softswitch.console.status import status

__all__ = ["status"]
