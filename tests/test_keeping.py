"""Messages are not kept under load, and again when it is over."""

from __future__ import annotations

from softswitch.trace import Dialogs
from softswitch.tracing import Keeping


def test_under_load_and_after() -> None:
    told: list[bool] = []
    keeping = Keeping(50, told.append)
    calls = 0
    for second, begun in enumerate([10, 50, 51, 500, 500, 3, 60, 0, 0, 0, 5]):
        calls += begun
        keeping.next_second(calls, 1000.0 + second)
    assert told == [False, True]
    assert keeping.on
    assert keeping.paused_at == 1002.0


def test_always() -> None:
    told: list[bool] = []
    keeping = Keeping(50, told.append)
    keeping.next_second(1000, 0.0)
    keeping.most = 0
    for _ in range(5):
        keeping.next_second(2000, 1.0)
    assert told == [False, True]
    keeping.next_second(99_000, 2.0)
    assert keeping.on


def test_what_ended_in_between_is_not_alive() -> None:
    dialogs = Dialogs(most=10)
    for number in range(5):
        dialogs.began(f"c{number}", f"s{number}", "extension:1001")
    dialogs.go_on({"c1"})
    assert dialogs.of("c1") == {"s1": "extension:1001"}
    assert dialogs.of("c3"), "it is remembered"
    for number in range(10, 25):
        dialogs.began(f"c{number}", f"s{number}", "")
        dialogs.ended(f"c{number}")
    assert dialogs.of("c3") == {}
    assert dialogs.of("c1")
