"""What two servers say to each other: the frames of the link, as tagged msgpack arrays.

New fields go to the end, with a default, so that servers of different age understand each other; a
change that an older server would misunderstand raises ``VERSION``. ``sent`` and ``echo`` are the
sender's monotonic clock in microseconds and mean nothing to anyone else; ``utc`` is the sender's
wall clock.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from cdsplugin.data.entries import Log, Name, Property, Stamp

VERSION = 1
MAGIC = "cds"

CallId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Micros = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The first frame in each direction. ``instance`` differs after each start of the server.

    ``nonce`` is new for each connection, and empty where no secret is shared (``handshake``).
    """

    magic: str
    version: int
    server: Name
    instance: str
    nonce: bytes = b""


class Alive(msgspec.Struct, frozen=True, array_like=True, tag="alive"):
    """The source's "I'm alive", between servers that share live calls.

    ``echo`` is the ``sent`` of the last ``Alive`` that came, ``held`` how long ago that was (in
    microseconds); 0 and 0 if none came yet, and to have it answered at once.
    """

    utc: Stamp
    sent: Micros
    echo: Micros
    held: Micros
    answer: bool = False
    """To one who shares a call with us that we do not share with him (any more)."""


class Register(msgspec.Struct, frozen=True, array_like=True, tag="reg"):
    """Interest in a call. ``have``: for each author the newest stamp the registrant has.

    A first registration carries all entries the registrant has made so far (the owner cannot have
    any of them); a renewed one carries none, and the registrant sends what ``Registered.have``
    lacks.
    """

    call_id: CallId
    owner: Name
    sent: Micros
    have: dict[str, int]
    properties: list[Property]
    logs: list[Log]
    participants: list[Name] = []
    """The list as the registrant has it: for a caretaker that may know less."""
    before: Stamp = 0
    """With a first one: the registrant took part before and has forgotten the call, in which this
    was the newest stamp. What it wrote then, others may still have to hand over."""
    left: list[Name] = []
    """Who took part by way of the registrant, as by the caretaker, and has left the call there:
    the head need not wait for them to register again."""
    follows: bool = False
    """Nobody there has a part in the call that is not over: it need not go on for them. An older
    server takes it for one that holds the call."""
    apart: bool = False
    """The registrant records the call by itself should its owner say that it has none such. An
    older one counts on the owner."""
    behind: list[Name] = []
    """By way of whom the registrant took part before, and who may not have heard that it does no
    more."""


class Registered(msgspec.Struct, frozen=True, array_like=True, tag="ok"):
    """The owner's answer: its time, how new its copy is, and what the registrant lacks.

    A caretaker gives the owner's time as it knows it; 0 if it does not.
    """

    call_id: CallId
    utc: Stamp
    echo: Micros
    have: dict[str, int]
    properties: list[Property]
    logs: list[Log]
    participants: list[Name] = []
    """As in ``Listing``."""
    ahead: Micros = 0
    """By how much the call's time is ahead of the owner's clock, should that have been set since
    the call began."""
    since: Stamp = 0
    """If not 0: of the head's own authors it lacks nothing from this stamp on, whatever ``have``
    says, which asks for what it has lost of before. An older server sends both."""


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="no"):
    """The registration is not (or no more) accepted; ``reason`` is for a person to read.

    ``instead`` is the server to register with, empty if it is not known.
    """

    call_id: CallId
    reason: str
    instead: str = ""


class Listing(msgspec.Struct, frozen=True, array_like=True, tag="who"):
    """Who takes part in calls, in the order of their registration: while the owner is dead the
    first living one is the caretaker. Long lists are cut off."""

    calls: list[tuple[CallId, list[Name]]]
    moved: list[tuple[CallId, Name]] = []
    """Who took part by way of the receiver, and is registered with the sender now."""


class Update(msgspec.Struct, frozen=True, array_like=True, tag="upd"):
    """Entries that changed."""

    call_id: CallId
    properties: list[Property]
    logs: list[Log]


class Unregister(msgspec.Struct, frozen=True, array_like=True, tag="bye"):
    """The last local participant of the registrant has left the call."""

    call_id: CallId
    number: Micros = 0
    """Comes back in the answer, so that it is not taken for that to an earlier one."""


class Unregistered(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """The owner has everything that came before the ``Unregister`` on its disk."""

    call_id: CallId
    number: Micros = 0
    apart: bool = False
    """But it has not heard of the call from a switch of its own: it may say yet that it has none
    such."""


class EndOfCall(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """The owner (or the caretaker) ended the call, and the record is on its disk; these are all
    entries."""

    call_id: CallId
    properties: list[Property]
    logs: list[Log]
    foreign: str = ""
    """If the owner has no such call, and writes no record of it: the server that has to."""
    refused: list[Name] = []
    """Authors that wrote more than the head takes of them: what it has not is not recorded."""


class Switch(msgspec.Struct, frozen=True, array_like=True, tag="switch"):
    """A switch elsewhere greets the server that manages it.

    Its events are numbered from 1 on within ``spool``, a name made with them; it has those from
    ``first`` to ``last``. ``calls`` are those in progress then, ``passages`` for each of them the
    incoming legs of its passages; None: not known yet, or the switch is an older one.
    """

    spool: Name
    first: Micros
    last: Micros
    calls: list[CallId]
    passages: list[list[int]] | None = None


class SwitchState(msgspec.Struct, frozen=True, array_like=True, tag="state"):
    """The server's answer: the events up to ``number`` of that spool it has on its disk. Also sent
    when more of them are."""

    spool: Name
    number: Micros


class SwitchEvents(msgspec.Struct, frozen=True, array_like=True, tag="events"):
    """Events of a switch, encoded (``softswitch.events``), the first of them numbered ``first``."""

    first: Micros
    events: list[bytes]


Frame: TypeAlias = (
    Hello
    | Alive
    | Register
    | Registered
    | Refused
    | Listing
    | Update
    | Unregister
    | Unregistered
    | EndOfCall
    | Switch
    | SwitchState
    | SwitchEvents
)
