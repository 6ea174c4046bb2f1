"""Who asks and may, and who can be reached: authentication, registrar, trunks, lines,
destinations."""

from softswitch.parties.bindings import TEMPORARY, Binding
from softswitch.parties.callers import Callers
from softswitch.parties.parties import Parties
from softswitch.parties.registrar import Registrar, Settings
from softswitch.parties.registrations import REGISTRATION, Registrations
from softswitch.parties.screening import GuessLimits
from softswitch.parties.sources import Sources
from softswitch.parties.toll import Toll
from softswitch.parties.toll_rows import TOLL
from softswitch.parties.trunks import Trunks

__all__ = [
    "REGISTRATION",
    "TEMPORARY",
    "TOLL",
    "Binding",
    "Callers",
    "GuessLimits",
    "Parties",
    "Registrar",
    "Registrations",
    "Settings",
    "Sources",
    "Toll",
    "Trunks",
]
