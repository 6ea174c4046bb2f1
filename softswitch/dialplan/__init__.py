"""The dialplan: patterns, routes, actions, and their YAML."""

from softswitch.dialplan.actions import Action, Do
from softswitch.dialplan.loader import DialplanModel, load_dialplan
from softswitch.dialplan.routing import Dialplan, Route, RouteTemplate
from softswitch.dialplan.surroundings import Surroundings
from softswitch.dialplan.targets import Source, Stage, Stages, Target

__all__ = [
    "Action",
    "Dialplan",
    "DialplanModel",
    "Do",
    "Route",
    "RouteTemplate",
    "Source",
    "Stage",
    "Stages",
    "Surroundings",
    "Target",
    "load_dialplan",
]
