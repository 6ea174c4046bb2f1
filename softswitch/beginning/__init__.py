"""``softswitch init``: a configuration to begin with."""

from softswitch.beginning.asked import command

__all__ = ["command"]
