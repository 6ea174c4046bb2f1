"""A way through menus and queues: what a caller hears, which keys it presses, and what it comes to.

As `softswitch.applications` has it for a call, without a call: for ``softswitch dialplan test``.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from softswitch.dialplan.actions import Action, Dial, Do, Goto, Play, Reject
from softswitch.dialplan.menus import BACK, Choice, Menu
from softswitch.dialplan.pages import PagePlay
from softswitch.dialplan.plays import ConferencePlay, Echo, QueuePlay, Tone
from softswitch.dialplan.plays import Menu as MenuPlay
from softswitch.dialplan.queues import Queue
from softswitch.dialplan.routing import Dialplan
from softswitch.dialplan.sounds import sound_name
from softswitch.dialplan.targets import Source, Stages

NOTHING: Final = "-"
"""Is written where a caller presses nothing, until the menu waits no longer."""
MOST_GOTO: Final = 5
MOST_ONWARD: Final = 50
_PAUSE: Final = ","
_GROUP: Final = re.compile(r"[0-9A-D*#]+|-")


def keys_of(text: str) -> tuple[str, ...]:
    """``2,1``: keys that are pressed one after the other, with a pause at each comma. Raises
    ValueError."""
    groups = [group.strip().upper() for group in text.split(_PAUSE)] if text.strip() else []
    for group in groups:
        if not _GROUP.fullmatch(group):
            raise ValueError(
                f"found `{group}`, expected keys (0-9, *, #, A-D) as in 2,1: a comma is a pause, "
                f"and `{NOTHING}` is who presses nothing"
            )
    return tuple(groups)


class Walked(msgspec.Struct, frozen=True):
    """What came of it. ``lines`` say what happens; ``stages`` are whom it rings in the end;
    ``mistake`` says why the keys and the menus do not fit (empty: they do)."""

    lines: tuple[str, ...]
    stages: Stages = ()
    mistake: str = ""


class _Seat:
    """What the caller is connected to: what is played, and if that is a menu, where in menus."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.names: list[str] = []
        self.menu: Menu | None = None
        self.left = 0  # tries
        self.otherwise_used = False


class Walk:
    """Of one caller. `extensions` and menus are those of the dialplan; `goto` may lead on so
    often, and the caller may go on so often after something was played."""

    def __init__(
        self,
        dialplan: Dialplan,
        source: Source,
        at: float | None = None,
        most_goto: int = MOST_GOTO,
        most_onward: int = MOST_ONWARD,
    ) -> None:
        self._dialplan = dialplan
        self._source = source
        self._at = at
        self._most_goto = most_goto
        self._most_onward = most_onward
        self._keys: deque[str] = deque()
        self._lines: list[str] = []
        self._stages: Stages = ()
        self._mistake = ""
        self._gone = 0  # by goto, since something was played
        self._onward = 0
        self._seat: _Seat | None = None

    def walk(self, action: Action, keys: Iterable[str]) -> Walked:
        """Do what a route says, for a caller who presses these (`keys_of`)."""
        for group in keys:
            self._keys += [*group, _PAUSE]
        following: Action | None = action
        while following is not None:
            following = self._step(following)
        left = self._left()
        if left and not self._mistake:
            self._mistake = f"digits are left over: {left}; the caller is in no menu any more"
        return Walked(tuple(self._lines), self._stages, self._mistake)

    def _left(self) -> str:
        return "".join(self._keys).strip(_PAUSE)

    def _say(self, line: str, depth: int = 0) -> None:
        self._lines.append("  " * depth + line)

    # --- actions

    def _step(self, action: Action) -> Action | None:
        """Do one action; what follows from it, None: nothing."""
        if isinstance(action, Play):
            return self._play(action)
        if isinstance(action, Goto):
            return self._goto(action)
        if isinstance(action, Dial) and action.otherwise is not None and self._left():
            # Keys are for menus: that is where it leads.
            for line in msgspec.structs.replace(action, otherwise=None).told():
                self._say(line)
            self._say("nobody answers:")
            return action.otherwise
        for line in action.told():
            self._say(line)
        self._stages = action.stages
        in_vain = isinstance(action, Reject) or (isinstance(action, Do) and action.what != "park")
        return self._nobody() if in_vain and self._seat is not None else None

    def _goto(self, action: Goto) -> Action | None:
        self._gone += 1
        if self._gone > self._most_goto:
            self._say(f"go on with {action.number}: that goes in a circle")
            return self._nobody()
        route = self._dialplan.route(action.number, self._source, self._at)
        if route is None:
            self._say(f"go on with {action.number}: no route")
            return self._nobody()
        where = f"`{route.match}` at {route.where}, number {route.number}"
        self._say(f"go on with {action.number}: {where}")
        return route.action

    def _play(self, play: Play) -> Action | None:
        self._gone = 0
        self._seat = seat = _Seat(play)
        if isinstance(play.what, MenuPlay):
            seat.names.append(play.what.menu)
            return self._enter(seat)
        if isinstance(play.what, QueuePlay):
            return self._wait(seat, play.what)
        if isinstance(play.what, PagePlay):
            return self._page(seat, play.what)
        if isinstance(play.what, ConferencePlay):
            self._say(f"is in {play.what.told()}")
            return None  # whoever its leaders do not send away stays there
        self._say(f"hears {play.what.told()}")
        if isinstance(play.what, Echo) or (isinstance(play.what, Tone) and not play.what.seconds):
            return None  # it has no end
        if play.then is None:
            self._say("the switch hangs up")
            return None
        return self._go_on(play.then)

    def _go_on(self, action: Action) -> Action | None:
        self._gone = 0
        self._onward += 1
        if self._onward > self._most_onward:
            self._mistake = f"it has gone on {self._most_onward} times: that is a circle"
            return None
        return action

    def _nobody(self) -> Action | None:
        """Nobody is found: who came from a menu is there again."""
        seat = self._seat
        if seat is None:
            return None
        menu = seat.menu
        if menu is None:
            return self._otherwise(seat)
        seat.left -= 1
        if seat.left > 0:
            self._say(f"in menu {menu.name} again: hears not-available, {_heard(menu.say)}")
            return self._listen(seat, menu)
        return self._tried(seat, menu)

    def _otherwise(self, seat: _Seat) -> Action | None:
        action = seat.play.otherwise
        if action is None or seat.otherwise_used:
            self._say("the switch hangs up")
            return None
        seat.otherwise_used = True
        return self._go_on(action)

    # --- queues

    def _wait(self, seat: _Seat, what: QueuePlay) -> Action | None:
        """Until a key stands for something, or nobody has answered; with no keys left, for an
        agent."""
        queue = self._dialplan.queues[what.queue]
        self._say(f"waits in {what.told()}")
        while self._keys:
            key = self._keys.popleft()
            if key == NOTHING:
                self._say("no agent answers", 1)
                if queue.otherwise is None:
                    return self._otherwise(seat)
                return self._go_on(queue.otherwise.of(seat.play.number, self._dialplan.extensions))
            chosen = queue.choices.get(key)
            if chosen is not None:
                self._say(f"presses {key}", 1)
                return self._go_on(chosen.of(seat.play.number, self._dialplan.extensions))
            if key != _PAUSE:
                self._say(f"presses {key}, which stands for nothing", 1)
        self._stages = (queue.stage(),)
        self._say(f"for an agent: {', '.join(agent.told() for agent in queue.agents)}", 1)
        return None

    # --- pages

    def _page(self, seat: _Seat, what: PagePlay) -> Action | None:
        """Nobody picks up, if that is what the next key says."""
        self._say(f"is heard by a {what.told()}")
        while self._keys:
            key = self._keys.popleft()
            if key == NOTHING:
                self._say("nobody picks up", 1)
                return self._otherwise(seat)
            if key != _PAUSE:
                self._say(f"presses {key}, which stands for nothing", 1)
        self._stages = (what.stage(),)
        return None

    # --- menus

    def _enter(self, seat: _Seat) -> Action | None:
        name = seat.names[-1]
        menu = seat.menu = self._dialplan.menus[name]
        seat.left = menu.tries
        self._say(f"menu {name}: hears {_heard(menu.say)}")
        return self._listen(seat, menu)

    def _listen(self, seat: _Seat, menu: Menu) -> Action | None:
        """Until the keys stand for something, or for nothing."""
        pressed = ""
        while self._keys:
            key = self._keys.popleft()
            if key == _PAUSE and not pressed:
                continue
            if key == NOTHING:
                return self._again(seat, menu, "presses nothing", ())
            if key != _PAUSE:
                pressed += key
            found, more = menu.chosen(pressed, self._dialplan.extensions)
            if more and key != _PAUSE:
                continue
            if found is None:
                what = f"presses {pressed}, which stands for nothing"
                return self._again(seat, menu, what, menu.invalid)
            return self._take(seat, menu, pressed, found)
        known = [f"`{keys}`" for keys in menu.choices]
        known += ["an extension's number"] if menu.extensions else []
        self._mistake = f"digits are missing: menu `{menu.name}` waits for {' or '.join(known)}"
        return None

    def _again(self, seat: _Seat, menu: Menu, what: str, before: tuple[str, ...]) -> Action | None:
        seat.left -= 1
        if seat.left <= 0:
            self._say(f"{what}; that was the last try", 1)
            return self._tried(seat, menu)
        self._say(f"{what}: hears {_heard((*before, *menu.say))}", 1)
        return self._listen(seat, menu)

    def _tried(self, seat: _Seat, menu: Menu) -> Action | None:
        """That was the last try."""
        seat.menu = None
        if menu.otherwise is None:
            return self._otherwise(seat)
        self._say(f"else, after {_times(menu.tries)}:")
        return self._lead(seat, menu.otherwise.of(seat.play.number, self._dialplan.extensions))

    def _take(self, seat: _Seat, menu: Menu, pressed: str, found: Choice | str) -> Action | None:
        if isinstance(found, Choice) and found.word:
            back = found.word == BACK
            alone = back and len(seat.names) < 2
            where = "back, though there was no menu before" if alone else _WORDS[back]
            self._say(f"presses {pressed}: {where}", 1)
            if back and not alone:
                seat.names.pop()
            return self._enter(seat)
        what = ", an extension's number" if isinstance(found, str) else ""
        self._say(f"presses {pressed}{what}", 1)
        action = menu.action(found, seat.play.number, self._dialplan.extensions)
        return self._lead(seat, action)

    def _lead(self, seat: _Seat, action: Action) -> Action | None:
        """From a menu into another one at the same place, or out of it."""
        if isinstance(action, Play) and isinstance(action.what, MenuPlay):
            seat.names.append(action.what.menu)
            return self._enter(seat)
        return self._go_on(action)


_WORDS: Final = {False: "the menu again", True: "back to the menu before"}


def _heard(paths: Iterable[str]) -> str:
    return ", ".join(sound_name(path) for path in paths)


def _times(tries: int) -> str:
    return f"{tries} tries" if tries > 1 else "one try"


def menus_told(dialplan: Dialplan, action: Action) -> list[str]:
    """The menus and queues that an action leads to, each with its choices, in lines."""
    lines: list[str] = []
    seen: set[tuple[str, str]] = set()
    waiting = deque(_menus_of(action))
    while waiting:
        kind, name, number = waiting.popleft()
        if (kind, name) in seen:
            continue
        seen.add((kind, name))
        if kind == QueuePlay.NAME:
            waiting += _queue_told(dialplan, dialplan.queues[name], number, lines)
            continue
        menu = dialplan.menus[name]
        lines.append(f"menu {name}: {_heard(menu.say)}")
        for keys, choice in menu.choices.items():
            lines += _entry(keys, choice.told(number, dialplan.extensions))
            if choice.action is not None:
                waiting += _menus_of(choice.action.of(number, dialplan.extensions))
        if menu.extensions:
            lines.append("  an extension's number: its phone")
        if menu.otherwise is not None:
            otherwise = menu.otherwise.of(number, dialplan.extensions)
            lines += _entry(f"else, after {_times(menu.tries)}", otherwise.told())
            waiting += _menus_of(otherwise)
    return lines


def _queue_told(
    dialplan: Dialplan, queue: Queue, number: str, lines: list[str]
) -> list[tuple[str, str, str]]:
    """Adds the lines of a queue; what it leads to."""
    found: list[tuple[str, str, str]] = []
    lines.append(f"{queue.told()}; hears {_heard((*queue.say, *queue.music)) or 'nothing'}")
    for key, choice in queue.choices.items():
        action = choice.of(number, dialplan.extensions)
        lines += _entry(key, action.told())
        found += _menus_of(action)
    if queue.otherwise is not None:
        otherwise = queue.otherwise.of(number, dialplan.extensions)
        when = f"after {queue.longest_wait:g} s, " if queue.longest_wait else ""
        nobody = "" if queue.waits else ", and with nobody logged in"
        lines += _entry(f"else, {when}with {queue.most} waiting{nobody}", otherwise.told())
        found += _menus_of(otherwise)
    return found


def _entry(what: str, told: list[str]) -> list[str]:
    if len(told) == 1:
        return [f"  {what}: {told[0].removeprefix('1. ')}"]
    return [f"  {what}:", *(f"    {line}" for line in told)]


def _menus_of(action: Action | None) -> Iterator[tuple[str, str, str]]:
    """The menus and queues that it leads to at once or later: what it is, its name, and the number
    that leads there."""
    if isinstance(action, Play):
        if isinstance(action.what, MenuPlay):
            yield MenuPlay.NAME, action.what.menu, action.number
        elif isinstance(action.what, QueuePlay):
            yield QueuePlay.NAME, action.what.queue, action.number
        yield from _menus_of(action.then)
        yield from _menus_of(action.otherwise)
    elif isinstance(action, Dial):
        yield from _menus_of(action.otherwise)
