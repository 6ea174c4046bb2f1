"""Menus: callers press keys and go on in the dialplan (``menus:``)."""

from __future__ import annotations

from typing import Final

from softswitch.applications.seat import Application, Seat
from softswitch.dialplan import AGAIN, BACK, Choice, Menu, MenuPlay, Play

DEEPEST: Final = 20
"""Menus that one may be in, one within the other; the first of them are forgotten."""


class MenuApplication(Application):
    """One caller in menus. `play: {menu: NAME}` of a choice leads to another one at the same
    port; whatever else a choice says is for the dialplan."""

    NAME = MenuPlay.NAME

    def __init__(self, seat: Seat, settings: MenuPlay) -> None:
        super().__init__(seat)
        self._names = [settings.menu]
        self._menu: Menu | None = None
        self._pressed = ""
        self._left = 0  # tries
        self._swallows = False  # further keys of a number that there is not

    def began(self) -> None:
        """See `Application`."""
        self._enter()

    def _enter(self) -> None:
        """The menu at hand, from its beginning."""
        self._menu = menu = self.seat.menu(self._names[-1])
        if menu is None:
            # The dialplan has another one since.
            self.seat.otherwise()
            return
        self._left = menu.tries
        self.seat.note(menu=menu.name)
        self._ask()

    def _ask(self, before: tuple[str, ...] = ()) -> None:
        menu = self._menu
        assert menu is not None
        self._pressed = ""
        self._swallows = False
        self.seat.stop_waiting()
        self.seat.say_files([*before, *menu.say])

    def played(self) -> None:
        """See `Application`."""
        if self._menu is not None and not self._pressed:
            self.seat.wait(self._menu.timeout, self._nothing_came)

    def digit(self, digit: str) -> None:
        """See `Application`."""
        menu = self._menu
        if menu is None:
            return
        self.seat.note_digit(digit)
        if self._swallows:
            self.seat.wait(menu.digit_timeout, self._all_wrong)
            return
        if not self._pressed:
            self.seat.hush()
        self._pressed += digit
        found, more = menu.chosen(self._pressed, self.seat.around.dialplan.extensions)
        if more:
            self.seat.wait(menu.digit_timeout, self._no_more)
        elif found is None:
            self._wrong()
        else:
            self._take(found)

    def _no_more(self) -> None:
        menu = self._menu
        assert menu is not None
        found, _ = menu.chosen(self._pressed, self.seat.around.dialplan.extensions)
        if found is None:
            self._wrong()
        else:
            self._take(found)

    def _nothing_came(self) -> None:
        self._try_again(())

    def _wrong(self) -> None:
        """These keys stand for nothing. What the caller is still dialling belongs to them."""
        menu = self._menu
        assert menu is not None
        if menu.extensions or any(len(keys) > 1 for keys in menu.choices):
            self._swallows = True
            self.seat.wait(menu.digit_timeout, self._all_wrong)
        else:
            self._try_again(menu.invalid)

    def _all_wrong(self) -> None:
        menu = self._menu
        assert menu is not None
        self._swallows = False
        self._try_again(menu.invalid)

    def _try_again(self, before: tuple[str, ...]) -> None:
        """The menu once more, unless that was the last try."""
        menu = self._menu
        assert menu is not None
        self._left -= 1
        if self._left > 0:
            self._ask(before)
            return
        otherwise = menu.otherwise
        self._menu = None
        if otherwise is None:
            self.seat.otherwise()
            return
        extensions = self.seat.around.dialplan.extensions
        action = otherwise.of(self.seat.number, extensions)
        self.seat.note(choice="")
        if isinstance(action, Play) and isinstance(action.what, MenuPlay) and not action.otherwise:
            self._go_to(action.what.menu)
        else:
            self.seat.go_on(action)

    def _take(self, choice: Choice | str) -> None:
        menu = self._menu
        assert menu is not None
        keys, seat = self._pressed, self.seat
        seat.stop_waiting()
        way = f"{menu.name}:{keys}"
        before = seat.facts.get("choices", "")
        seat.note(choice=keys, choices=f"{before} {way}".strip()[-500:])
        if isinstance(choice, Choice) and choice.word:
            if choice.word == BACK and len(self._names) > 1:
                self._names.pop()
            if choice.word == AGAIN or choice.word == BACK:
                self._enter()
            return
        action = menu.action(choice, seat.number, seat.around.dialplan.extensions)
        if isinstance(action, Play) and isinstance(action.what, MenuPlay) and not action.otherwise:
            self._go_to(action.what.menu)
        else:
            self.seat.go_on(action)

    def _go_to(self, name: str) -> None:
        self._names.append(name)
        del self._names[:-DEEPEST]
        self._enter()

    def nobody(self, status: int, reason: str) -> None:
        """See `Application`: the caller chooses again."""
        menu = self._menu
        if menu is None:
            self.seat.otherwise()
            return
        seat = self.seat
        self._left -= 1
        prompt = seat.around.prompt("not-available")
        if self._left > 0:
            self._ask((prompt,) if prompt else ())
        else:
            self._left = 1
            self._try_again(())
