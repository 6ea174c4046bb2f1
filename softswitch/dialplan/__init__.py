"""The dialplan: patterns, routes, actions, and their YAML."""

from softswitch.dialplan.actions import Action
from softswitch.dialplan.loader import DialplanModel, DialplanWatch, Stamp, load_dialplan, stamp
from softswitch.dialplan.routing import Dialplan, Route
from softswitch.dialplan.surroundings import Surroundings
from softswitch.dialplan.targets import Source, Target

__all__ = [
    "Action",
    "Dialplan",
    "DialplanModel",
    "DialplanWatch",
    "Route",
    "Source",
    "Stamp",
    "Surroundings",
    "Target",
    "load_dialplan",
    "stamp",
]
