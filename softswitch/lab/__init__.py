"""``softswitch lab``."""

from softswitch.lab.run import command

__all__ = ["command"]
