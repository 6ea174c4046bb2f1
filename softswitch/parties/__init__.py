"""Who asks and may, and who can be reached: authentication, registrar, trunks, lines,
destinations."""

from softswitch.parties.authentication import Authentication
from softswitch.parties.callers import Callers
from softswitch.parties.destinations import Destinations
from softswitch.parties.lines import Lines
from softswitch.parties.registered import say_registered, say_unregistered
from softswitch.parties.registering import Registering
from softswitch.parties.registrar import Registrar, Settings
from softswitch.parties.registrations import Registrations, is_registration
from softswitch.parties.screening import Guesses, GuessLimits
from softswitch.parties.sources import Sources
from softswitch.parties.trunk_checks import TrunkChecks
from softswitch.parties.trunks import Trunks

__all__ = [
    "Authentication",
    "Callers",
    "Destinations",
    "GuessLimits",
    "Guesses",
    "Lines",
    "Registering",
    "Registrar",
    "Registrations",
    "Settings",
    "Sources",
    "TrunkChecks",
    "Trunks",
    "is_registration",
    "say_registered",
    "say_unregistered",
]
