"""The headless softphone (pjsua2): ``softswitch phone``."""

from softswitch.phone.headless import command

__all__ = ["command"]
