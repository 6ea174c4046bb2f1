"""Entries of call data: properties, logs, and how two copies of a call's data become one.

The source's "call data entries (e.g. properties and logs)". A property is replaced by a newer one
of the same name; a log line is never replaced. Merging is commutative, associative and idempotent,
so copies may be merged in any order and any number of times: the entries of one name are in one
total order (``call_data.supersedes``), and the greatest stays. What was set is above what was set
``once``. Of what was set the greater ``(stamp, author)`` wins, of what was set once the smaller
``(once, stamp, author)``; where all of it is equal (which authors that keep the rules never
produce) the encoding decides, so that even then all copies end up the same.

So the first that sets a name once has it, also where others did too who had not heard of it;
whoever simply sets it replaces that, whenever it comes. Where a call begins is first by its nature:
that is what ``FIRST`` is for, since stamps of several servers are no more exact than their
knowledge of the owner's clock. Any total order would do for what else is built on merging: the
entry that wins in the end replaces whatever a copy has, so each copy that gets it tells it on, and
none lets go of it.

A stamp is an integer: microseconds since the Unix epoch, UTC, in the time base of the call's owner.
The stamps of one author strictly increase, and entries travel in the order in which they were
stamped; so one stamp per author (``CallData.have``) says exactly what a copy has, but for entries
that others have replaced.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias, final

import msgspec

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = str | int | float | bool | dict[str, Scalar] | list[Scalar] | None
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Stamp = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class Property(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A named value; of several of one name the module says which is the value of that name.

    ``once``: 0 if it was set; else it was only to be set if there was none: where the call began
    (``FIRST``), or further on (``LATER``). A server that is older than this field takes such an
    entry for one that was set.
    """

    name: Name
    value: Value
    stamp: Stamp
    author: Name
    once: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0


FIRST: Final = 1
LATER: Final = 2


@final
class Once(msgspec.Struct, frozen=True):
    """A value to be written (``CallData.write``) if the call has no property of that name, or one
    that was set once and should not have been. ``once`` as in ``Property``."""

    value: Value
    once: int


class Log(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A line about the call, kept for good. ``(stamp, author)`` is its key."""

    stamp: Stamp
    author: Name
    text: str
