"""Who may ask, and who can be reached: registrar, trunks, lines, destinations."""

from softswitch.parties.destinations import Destinations
from softswitch.parties.lines import Lines
from softswitch.parties.registered import say_refused, say_registered, say_unregistered
from softswitch.parties.registrar import Registrar, Settings
from softswitch.parties.registrations import Registrations, is_registration
from softswitch.parties.screening import Guesses, GuessLimits
from softswitch.parties.trunks import Trunks

__all__ = [
    "Destinations",
    "GuessLimits",
    "Guesses",
    "Lines",
    "Registrar",
    "Registrations",
    "Settings",
    "Trunks",
    "is_registration",
    "say_refused",
    "say_registered",
    "say_unregistered",
]
