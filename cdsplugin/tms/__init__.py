"""The TMS: what switches say becomes call data, wherever the switches are."""

from cdsplugin.tms.spool import Spool, SpoolError
from cdsplugin.tms.switch_client import PREFIX, SwitchClient
from cdsplugin.tms.switch_link import SwitchLink, SwitchLinkSettings
from cdsplugin.tms.tms import Tms

__all__ = [
    "PREFIX",
    "Spool",
    "SpoolError",
    "SwitchClient",
    "SwitchLink",
    "SwitchLinkSettings",
    "Tms",
]
