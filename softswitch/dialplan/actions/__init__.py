"""What a route may ask for."""

from softswitch.dialplan.actions.dial import AllModel, Dial, DialTemplate, OrderModel
from softswitch.dialplan.actions.do import Do
from softswitch.dialplan.actions.kind import Action, Asked, Template
from softswitch.dialplan.actions.play import Play
from softswitch.dialplan.actions.reject import Reject
from softswitch.dialplan.actions.written import ActionModel, check_action, template

__all__ = [
    "Action",
    "ActionModel",
    "AllModel",
    "Asked",
    "Dial",
    "DialTemplate",
    "Do",
    "OrderModel",
    "Play",
    "Reject",
    "Template",
    "check_action",
    "template",
]
