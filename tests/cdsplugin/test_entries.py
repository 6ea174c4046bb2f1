"""Merging: whatever the order and however often, all copies end up the same."""

from __future__ import annotations

from itertools import permutations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cdsplugin.archive.disk import Entries
from cdsplugin.data.call_data import CallData, supersedes
from cdsplugin.data.entries import FIRST, LATER, Log, Once, Property
from cdsplugin.data.frames import Frame, Update

names = st.sampled_from(["caller", "note", "leg/hq/0"])
authors = st.sampled_from(["hq", "branch", "crm"])
stamps = st.integers(0, 6)
onces = st.sampled_from([0, FIRST, LATER])
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text()
values = (
    scalars
    | st.lists(scalars, max_size=2)
    | st.dictionaries(st.text(max_size=2), scalars, max_size=2)
)
properties = st.lists(st.builds(Property, names, values, stamps, authors, onces), max_size=8)
logs = st.lists(st.builds(Log, stamps, authors, st.sampled_from(["a", "b", ""])), max_size=5)
copies = st.tuples(properties, logs)


def copy_of(*parts: tuple[list[Property], list[Log]]) -> CallData:
    data = CallData()
    for those, lines in parts:
        data.merge(those, lines)
    return data


def exact(data: CallData) -> tuple[object, ...]:
    """Equality that tells 1 from True and 1.0."""
    encode = msgspec.msgpack.encode
    return (
        {name: encode(entry.value) for name, entry in data.properties.items()},
        {name: (e.stamp, e.author, e.once) for name, e in data.properties.items()},
        data.logs or {},
        data.newest,
    )


@given(copies, copies)
def test_merging_is_commutative(one: tuple, other: tuple) -> None:
    assert exact(copy_of(one, other)) == exact(copy_of(other, one))


@given(copies, copies, copies)
def test_merging_is_associative(a: tuple, b: tuple, c: tuple) -> None:
    bc = copy_of(b, c)
    left = copy_of(a, b, c)
    right = copy_of(a)
    right.merge(list(bc.properties.values()), bc.log_lines())
    # What lost inside ``bc`` is not in it any more; its stamp may have been the newest.
    right.newest = max(right.newest, bc.newest)
    assert exact(left) == exact(right)


@given(copies)
def test_merging_is_idempotent(one: tuple) -> None:
    data = copy_of(one)
    before = exact(data)
    assert data.merge(*one) == ([], [])
    assert exact(data) == before


@given(copies, copies)
def test_only_what_changed_is_returned(one: tuple, other: tuple) -> None:
    data = copy_of(one)
    old = dict(data.properties)
    changed, _ = data.merge(*other)
    for entry in changed:
        assert entry in other[0]
    for name, entry in data.properties.items():
        if old.get(name) is not entry:
            assert entry in changed


@given(copies, copies)
def test_what_a_copy_lacks_makes_both_equal(one: tuple, other: tuple) -> None:
    """With authors that keep the rules: strictly increasing stamps, delivered in order."""
    stamp = 0
    written: list[Property | Log] = []
    for those, lines in (one, other):
        for entry in [*those, *lines]:
            stamp += 1
            if isinstance(entry, Property):
                written.append(Property(entry.name, entry.value, stamp, entry.author, entry.once))
            else:
                written.append(Log(stamp, entry.author, entry.text))
    mine = CallData()
    owners = CallData()
    for at, entry in enumerate(written):
        for copy, has in (
            (mine, at < len(written) // 2 or entry.author == "branch"),
            (owners, entry.author != "branch" or at < 2),
        ):
            if has:
                copy.merge(
                    [entry] if isinstance(entry, Property) else [],
                    [entry] if isinstance(entry, Log) else [],
                )
    have_mine, have_owners = mine.have(), owners.have()
    to_mine, to_owner = owners.newer(have_mine), mine.newer(have_owners)
    mine.merge(*to_mine)
    owners.merge(*to_owner)
    assert exact(mine)[:3] == exact(owners)[:3]
    assert owners.newer(mine.have()) == ([], [])


def test_the_greater_stamp_wins_then_the_greater_author() -> None:
    old = Property("n", "x", 5, "hq")
    assert supersedes(Property("n", "a", 6, "branch"), old)
    assert not supersedes(Property("n", "z", 4, "zz"), old)
    assert supersedes(Property("n", "a", 5, "zz"), old)
    assert not supersedes(Property("n", "x", 5, "hq"), old)
    data = CallData([old])
    data.merge([Property("n", "y", 4, "zz")], [])
    assert data.value("n") == "x"
    assert data.value("other") is None


def test_written_entries_have_stamps_of_their_own() -> None:
    data = CallData()
    changed, added = data.write(100, "hq", {"a": 1, "b": {"x": None}}, ["one", "two"])
    assert [e.stamp for e in changed] == [100, 101]
    assert [e.stamp for e in added] == [102, 103]
    assert data.newest == 103
    assert data.have() == {"hq": 103}
    assert len(data) == 4
    assert data.newer({"hq": 101}) == ([], added)
    assert [line.text for line in data.log_lines()] == ["one", "two"]
    assert data == CallData(changed, added)
    assert data != CallData(changed)
    assert data.__eq__(1) is NotImplemented


@given(st.lists(st.builds(Property, st.just("n"), values, stamps, authors, onces)))
def test_entries_of_one_name_are_in_one_total_order(entries: list[Property]) -> None:
    """What `merge` keeps is the greatest, and of two different ones exactly one is the greater."""
    for one in entries:
        assert not supersedes(one, one)
        for other in entries:
            same = exact(CallData([one])) == exact(CallData([other]))
            assert supersedes(one, other) + supersedes(other, one) == (not same)
            for third in entries:
                if supersedes(one, other) and supersedes(other, third):
                    assert supersedes(one, third)


@given(st.lists(st.builds(Property, st.just("n"), st.text(), stamps, authors, onces)))
def test_who_wins_in_words(entries: list[Property]) -> None:
    """The last that was set. If none was, the first that was set once where the call began; if
    none was, the first that was set once."""
    if not entries:
        return
    set_, first, later = ([e for e in entries if e.once == once] for once in (0, FIRST, LATER))
    told, last = (set_, max) if set_ else (first or later, min)
    won = CallData(entries).properties["n"]
    assert (won.stamp, won.author) == last((e.stamp, e.author) for e in told)
    assert won.once == told[0].once


def test_the_first_that_sets_once_has_it_in_every_order() -> None:
    one, two, three = (Property("n", str(at), at, "branch", LATER) for at in (5, 6, 7))
    # Its stamp says otherwise, as somebody's clock was wrong.
    began = Property("n", "where the call began", 8, "hq", FIRST)
    early, late = Property("n", "early", 1, "crm"), Property("n", "late", 9, "crm")
    for some, won in (
        ((one, two, three), one),
        ((one, began, two), began),
        ((one, two, early), early),
        ((one, late, began), late),
        ((early, one, late), late),
    ):
        for order in permutations(some):
            assert CallData(order).properties["n"] is won


def test_writing_once_leaves_what_is_there() -> None:
    held = [Property("a", None, 5, "hq"), Property("b", "x", 6, "branch", LATER)]
    data = CallData(held)
    changed, _ = data.write(10, "hq", {n: Once("y", LATER) for n in "abc"}, [])
    assert changed == [Property("c", "y", 10, "hq", LATER)]
    assert (data.value("a"), data.value("b"), data.value("c")) == (None, "x", "y")
    assert data.write(20, "hq", {"c": Once("z", LATER)}, []) == ([], [])
    # Where the call began it is told late, after a restart: it was first all the same.
    changed, _ = data.write(25, "hq", {"a": Once("z", FIRST), "c": Once("z", FIRST)}, [])
    assert changed == [Property("c", "z", 25, "hq", FIRST)]
    changed, _ = data.write(30, "hq", {"c": "z"}, [])
    assert changed == [Property("c", "z", 30, "hq")], "what is set replaces it"


def test_entries_written_before_there_was_once_are_read() -> None:
    """Of an older server, and of a journal: four values instead of five, and none that is new."""
    encode = msgspec.msgpack.encode
    old = ["upd", "c1", [["n", "x", 5, "hq"]], []]
    assert msgspec.msgpack.decode(encode(old), type=Frame) == Update(
        "c1", [Property("n", "x", 5, "hq")], []
    )
    row = [0, "c1", "hq", [["n", "x", 5, "hq"]], []]
    assert msgspec.msgpack.decode(encode(row), type=Entries).properties[0].once == 0
    new = encode(Property("n", "x", 5, "hq", FIRST))
    assert msgspec.msgpack.decode(new, type=list)[:4] == ["n", "x", 5, "hq"], (
        "the rest is passed over"
    )
