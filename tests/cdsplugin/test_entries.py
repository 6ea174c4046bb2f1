"""Merging: whatever the order and however often, all copies end up the same."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cdsplugin.data.call_data import CallData, supersedes
from cdsplugin.data.entries import Log, Property

names = st.sampled_from(["caller", "note", "leg/hq/0"])
authors = st.sampled_from(["hq", "branch", "crm"])
stamps = st.integers(0, 6)
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text()
values = (
    scalars
    | st.lists(scalars, max_size=2)
    | st.dictionaries(st.text(max_size=2), scalars, max_size=2)
)
properties = st.lists(st.builds(Property, names, values, stamps, authors), max_size=8)
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
        {name: (entry.stamp, entry.author) for name, entry in data.properties.items()},
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
                written.append(Property(entry.name, entry.value, stamp, entry.author))
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
