"""``python -m softswitch.phone``: the softphone as a process of its own, for the lab and tests."""

from softswitch.phone.headless import command

command()
