"""What a route may ask for."""

from softswitch.dialplan.actions.dial import AllModel, Dial, DialTemplate, OrderModel
from softswitch.dialplan.actions.do import Do
from softswitch.dialplan.actions.goto import Goto
from softswitch.dialplan.actions.kind import Action, Asked, Plays, Template
from softswitch.dialplan.actions.play import Play, PlayTemplate
from softswitch.dialplan.actions.reject import Reject
from softswitch.dialplan.actions.written import (
    ActionModel,
    Shaped,
    check_action,
    shaped,
    template,
)

__all__ = [
    "Action",
    "ActionModel",
    "AllModel",
    "Asked",
    "Dial",
    "DialTemplate",
    "Do",
    "Goto",
    "OrderModel",
    "Play",
    "PlayTemplate",
    "Plays",
    "Reject",
    "Shaped",
    "Template",
    "check_action",
    "shaped",
    "template",
]
