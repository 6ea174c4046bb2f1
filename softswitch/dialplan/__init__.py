"""The dialplan: patterns, routes, actions, menus, and their YAML."""

from softswitch.dialplan.actions import Action, Do, Goto, Play, Plays
from softswitch.dialplan.conferences import Conference
from softswitch.dialplan.loader import DialplanModel, load_dialplan
from softswitch.dialplan.menus import AGAIN, BACK, Choice, Menu
from softswitch.dialplan.pages import PagePlay
from softswitch.dialplan.plays import (
    Announcement,
    Clock,
    ConferencePlay,
    Echo,
    MailboxPlay,
    MusicPlay,
    OwnNumber,
    Played,
    QueuePlay,
    Tone,
    VoicemailPlay,
)
from softswitch.dialplan.plays import Menu as MenuPlay
from softswitch.dialplan.queues import (
    FEWEST_CALLS,
    IN_ORDER,
    LONGEST_IDLE,
    RING_ALL,
    ROUND_ROBIN,
    Queue,
    QueueAgent,
)
from softswitch.dialplan.routing import Dialplan, Route, RouteTemplate
from softswitch.dialplan.sounds import OWN, NoSound, Sounds, check_wav
from softswitch.dialplan.streams import StreamPlay
from softswitch.dialplan.surroundings import Surroundings
from softswitch.dialplan.targets import Source, Stage, Stages, Target
from softswitch.dialplan.walking import Walk, Walked, keys_of, menus_told

__all__ = [
    "AGAIN",
    "BACK",
    "FEWEST_CALLS",
    "IN_ORDER",
    "LONGEST_IDLE",
    "OWN",
    "RING_ALL",
    "ROUND_ROBIN",
    "Action",
    "Announcement",
    "Choice",
    "Clock",
    "Conference",
    "ConferencePlay",
    "Dialplan",
    "DialplanModel",
    "Do",
    "Echo",
    "Goto",
    "MailboxPlay",
    "Menu",
    "MenuPlay",
    "MusicPlay",
    "NoSound",
    "OwnNumber",
    "PagePlay",
    "Play",
    "Played",
    "Plays",
    "Queue",
    "QueueAgent",
    "QueuePlay",
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
