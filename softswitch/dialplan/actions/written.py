"""The actions that a dialplan may ask for, as they are written, and what is wrong between keys.

A new action is a file beside this one, its keys among the bases of ``ActionModel``, and a line in
``template``.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from softswitch.config import AS_IT_IS, NumberKeys, Shape, Where, YamlFile, did_you_mean
from softswitch.dialplan.actions.dial import DialKeys, read_dial
from softswitch.dialplan.actions.do import DoKeys, read_do
from softswitch.dialplan.actions.goto import GotoKeys, read_goto
from softswitch.dialplan.actions.kind import Action, Keys, Template
from softswitch.dialplan.actions.play import PlayKeys, read_play
from softswitch.dialplan.actions.reject import RejectKeys, read_reject

ALL: tuple[type[Keys], ...] = (DialKeys, DoKeys, GotoKeys, PlayKeys, RejectKeys)


class ActionModel(DialKeys, DoKeys, GotoKeys, PlayKeys, RejectKeys, NumberKeys):
    """What to do with a call: exactly one of ``dial``, ``do``, ``goto``, ``play`` and
    ``status``."""

    then: ActionModel | None = Field(
        default=None, description="what to do when what was played has ended"
    )
    otherwise: ActionModel | None = Field(
        default=None,
        alias="else",
        description="what to do when nobody answered, or when it cannot be played",
    )


class Shaped(NamedTuple):
    """An action with a number of its own."""

    action: Template
    shape: Shape

    def of(self, number: str, extensions: frozenset[str]) -> Action:
        """The action for its number."""
        return self.action.of(self.shape.of(number), extensions)


def template(action: ActionModel, timeout: float) -> Template:
    """What was written, without mistakes. ``timeout`` (seconds) is for who names none."""
    if action.do is not None:
        return read_do(action, action.shape.strip > 0)
    if action.goto is not None:
        return read_goto(action)
    if action.status is not None:
        return read_reject(action)
    otherwise = _inner(action.otherwise, timeout)
    if action.play is not None:
        return read_play(action, _inner(action.then, timeout), otherwise)
    return read_dial(action, timeout, otherwise)


def _inner(action: ActionModel | None, timeout: float) -> Template | None:
    """What is to be done after that, for a number in a form of its own."""
    return None if action is None else shaped(action, timeout)


def shaped(action: ActionModel, timeout: float) -> Template:
    """What was written of an action that is not a route's own: the number in the form that stands
    there."""
    found = template(action, timeout)
    return found if action.shape == AS_IT_IS else Shaped(found, action.shape)


def check_action(read: YamlFile, action: dict[str, object], where: Where, known: set[str]) -> None:
    """Note what concerns several keys of an action; looked for whatever else is wrong with it.

    ``known`` are the keys that may stand beside it.
    """
    keys = [kind.KEY for kind in ALL]
    given = [key for key in keys if action.get(key) is not None]
    misspelt = any(did_you_mean(key, keys).startswith(":") for key in action if key not in known)
    if not given and not misspelt:
        listed = ", ".join(f"`{key}`" for key in keys)
        read.at_key(where, f"nothing to do: expected one of {listed}")
    for extra in given[1:]:
        read.at_key((*where, extra), f"`{extra}` beside `{given[0]}`: expected only one of them")
    for key in dict.fromkeys(key for kind in ALL for key in kind.WITH):
        with_it = [kind.KEY for kind in ALL if key in kind.WITH]
        if action.get(key) is not None and given and not {*with_it} & {*given}:
            listed = " or ".join(f"`{one}`" for one in with_it)
            read.at_key((*where, key), f"`{key}` goes with {listed}, not with `{given[0]}`")
    for key in ("then", "else"):
        inner = action.get(key)
        if isinstance(inner, dict):
            check_action(read, inner, (*where, key), known)
