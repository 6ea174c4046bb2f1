"""Which of many patterns match a number, in time that hardly grows with their count."""

from __future__ import annotations

from collections.abc import Iterable

from softswitch.config import Characters, Pattern


class _Node:
    __slots__ = ("ends", "onward", "opens")

    def __init__(self) -> None:
        self.onward: dict[Characters, _Node] = {}
        self.ends: list[int] = []
        self.opens: list[int] = []


class PatternTrie:
    """Patterns by their places. Regular expressions have none: each is tried on its own."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._root = _Node()
        self._regular: list[tuple[int, Pattern]] = []
        for index, pattern in enumerate(patterns):
            if pattern.places is None:
                self._regular.append((index, pattern))
                continue
            node = self._root
            for place in pattern.places:
                onward = node.onward.get(place)
                if onward is None:
                    onward = node.onward[place] = _Node()
                node = onward
            (node.opens if pattern.open else node.ends).append(index)

    def matching(self, number: str) -> list[int]:
        """The indices of all patterns that match, smallest first."""
        found = [index for index, pattern in self._regular if pattern.matches(number)]
        nodes = [self._root]
        for char in number:
            onward = []
            for node in nodes:
                found += node.opens
                onward += [
                    next_ for place, next_ in node.onward.items() if place is None or char in place
                ]
            nodes = onward
            if not nodes:
                break
        for node in nodes:
            found += node.opens
            found += node.ends
        found.sort()
        return found
