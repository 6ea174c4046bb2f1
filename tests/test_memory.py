"""What is kept for long is bounded, and what is not needed any more goes."""

from __future__ import annotations

import gc
import os
import sys
import weakref

import pytest

from softswitch import memory


class Node:
    other: Node


def test_empty_tables_get_small() -> None:
    table = dict.fromkeys(range(1000))
    members = set(range(1000))
    full = dict.fromkeys(range(1000))
    before = sys.getsizeof(table), sys.getsizeof(members), sys.getsizeof(full)
    for number in range(1000):
        del table[number]
        members.discard(number)
    assert (sys.getsizeof(table), sys.getsizeof(members)) == before[:2], "they stay by themselves"
    memory.give_back(table, members, full)
    assert sys.getsizeof(table) < 300
    assert sys.getsizeof(members) < 300
    assert len(full) == 1000


def test_giving_back_collects_cycles() -> None:
    cycle = Node()
    cycle.other = cycle
    gone = weakref.ref(cycle)
    gc.disable()
    try:
        del cycle
        assert gone() is not None
        memory.Tidying().finish()
        assert gone() is None
    finally:
        gc.enable()


def test_the_process_starts_over_once(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, list[str]]] = []
    monkeypatch.setenv("PYTHONMALLOC", "")  # so that it is put back
    monkeypatch.delenv("PYTHONMALLOC")
    monkeypatch.setattr(os, "execv", lambda path, arguments: started.append((path, arguments)))
    memory.prefer_system_malloc()
    assert started == [(sys.executable, sys.orig_argv)]
    assert os.environ["PYTHONMALLOC"] == "malloc"
    memory.prefer_system_malloc()
    assert len(started) == 1
    monkeypatch.setenv("PYTHONMALLOC", "pymalloc")
    memory.prefer_system_malloc()
    assert len(started) == 1
