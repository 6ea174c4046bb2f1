"""What a switch says: lines in text or JSON to standard error or a file, by area and level."""

from softswitch.log.areas import AREAS, LEVELS
from softswitch.log.calls import CallLog
from softswitch.log.lines import UNLIMITED, Log
from softswitch.log.rate import Rate
from softswitch.log.trace import SECRETS, SipTrace

__all__ = ["AREAS", "LEVELS", "SECRETS", "UNLIMITED", "CallLog", "Log", "Rate", "SipTrace"]
