"""The dialplan: patterns, routes, actions, menus, and their YAML."""

from softswitch.dialplan.actions import Action, Do, Goto, Play, Plays
from softswitch.dialplan.loader import DialplanModel, load_dialplan
from softswitch.dialplan.menus import AGAIN, BACK, Choice, Menu
from softswitch.dialplan.plays import (
    Announcement,
    Clock,
    Echo,
    MailboxPlay,
    OwnNumber,
    Played,
    Tone,
    VoicemailPlay,
)
from softswitch.dialplan.plays import Menu as MenuPlay
from softswitch.dialplan.routing import Dialplan, Route, RouteTemplate
from softswitch.dialplan.sounds import OWN, NoSound, Sounds, check_wav
from softswitch.dialplan.streams import StreamPlay
from softswitch.dialplan.surroundings import Surroundings
from softswitch.dialplan.targets import Source, Stage, Stages, Target
from softswitch.dialplan.walking import Walk, Walked, keys_of, menus_told

__all__ = [
    "AGAIN",
    "BACK",
    "OWN",
    "Action",
    "Announcement",
    "Choice",
    "Clock",
    "Dialplan",
    "DialplanModel",
    "Do",
    "Echo",
    "Goto",
    "MailboxPlay",
    "Menu",
    "MenuPlay",
    "NoSound",
    "OwnNumber",
    "Play",
    "Played",
    "Plays",
    "Route",
    "RouteTemplate",
    "Sounds",
    "Source",
    "Stage",
    "Stages",
    "StreamPlay",
    "Surroundings",
    "Target",
    "Tone",
    "VoicemailPlay",
    "Walk",
    "Walked",
    "check_wav",
    "keys_of",
    "load_dialplan",
    "menus_told",
]
