"""Entries of call data: properties, logs, and how two copies of a call's data become one.

The source's "call data entries (e.g. properties and logs)". A property is replaced by a newer one
of the same name; a log line is never replaced. Merging is commutative, associative and idempotent,
so copies may be merged in any order and any number of times: the greater ``(stamp, author)`` wins,
and where both are equal (which authors that keep the rules never produce) the greater encoding, so
that even then all copies end up the same.

A stamp is an integer: microseconds since the Unix epoch, UTC, in the time base of the call's owner.
The stamps of one author strictly increase, and entries travel in the order in which they were
stamped; so one stamp per author (``CallData.have``) says exactly what a copy has.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = str | int | float | bool | dict[str, Scalar] | list[Scalar] | None
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Stamp = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class Property(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A named value. The one with the greatest ``(stamp, author)`` is the value of that name."""

    name: Name
    value: Value
    stamp: Stamp
    author: Name


class Log(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A line about the call, kept for good. ``(stamp, author)`` is its key."""

    stamp: Stamp
    author: Name
    text: str
