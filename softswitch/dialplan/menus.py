"""``menus:``, what callers may choose among by pressing keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from softswitch.config import (
    TEXTS,
    Count,
    Flag,
    Seconds,
    Section,
    Text,
    Where,
    YamlFile,
    as_written,
    did_you_mean,
    one_or_more,
)
from softswitch.dialplan.actions import (
    Action,
    ActionModel,
    Dial,
    Template,
    check_action,
    shaped,
)
from softswitch.dialplan.sounds import SoundText
from softswitch.dialplan.targets import Stage, Target

AGAIN: Final = "again"
BACK: Final = "back"
_WORDS: Final = {AGAIN: "the menu again", BACK: "back to the menu before"}
_KEYS: Final = re.compile(r"[0-9A-D*#]{1,8}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Choice(msgspec.Struct, frozen=True):
    """What some keys stand for: an action, or one of ``AGAIN`` and ``BACK``."""

    action: Template | None
    word: str = ""

    def told(self, number: str, extensions: frozenset[str]) -> list[str]:
        """It in words, a line each; ``number`` led to the menu."""
        if self.action is None:
            return [_WORDS[self.word]]
        return self.action.of(number, extensions).told()


class Menu(msgspec.Struct, frozen=True):
    """``say`` is played (paths); who presses nothing for ``timeout`` seconds after it, or nothing
    more for ``digit_timeout`` after a key, has made a try, of ``tries``. Wrong keys make one too,
    and play ``invalid``. ``extensions``: numbers of phones may be dialled. After the last try it
    is ``otherwise`` (None: hung up). A phone whose number is dialled rings for ``no_answer``
    seconds."""

    name: str
    say: tuple[str, ...]
    choices: Mapping[str, Choice]
    extensions: bool = False
    timeout: float = 5.0
    digit_timeout: float = 2.0
    tries: int = 3
    invalid: tuple[str, ...] = ()
    otherwise: Template | None = None
    no_answer: float = 180.0

    def chosen(self, digits: str, extensions: frozenset[str]) -> tuple[Choice | str | None, bool]:
        """What these keys stand for (an extension: its number; None: nothing), and whether more
        keys could still stand for something else."""
        found: Choice | str | None = self.choices.get(digits)
        more = any(len(keys) > len(digits) and keys.startswith(digits) for keys in self.choices)
        if self.extensions:
            if found is None and digits in extensions:
                found = digits
            more = more or any(
                len(number) > len(digits) and number.startswith(digits) for number in extensions
            )
        return found, more

    def action(self, choice: Choice | str, number: str, extensions: frozenset[str]) -> Action:
        """What is to be done then. ``number`` led to the menu."""
        if isinstance(choice, str):
            return Dial((Stage((Target("extension", choice, choice),)),), self.no_answer)
        assert choice.action is not None
        return choice.action.of(number, extensions)


# How it is written


def _word(text: str) -> str:
    if text not in _WORDS:
        hint = did_you_mean(text, _WORDS)
        raise ValueError(f"found `{text}`{hint}, or an action such as {{dial: ...}}")
    return text


ChoiceModel = Annotated[
    Annotated[Annotated[Text, AfterValidator(_word)], Tag("<word>")]
    | Annotated[ActionModel, Tag("<action>")],
    Discriminator(lambda value: "<action>" if isinstance(value, dict | ActionModel) else "<word>"),
]
"""An action; or ``again``, or ``back``."""


def _keys(text: Any) -> str:
    text = as_written(text)
    if not isinstance(text, str) or not _KEYS.fullmatch(text):
        raise ValueError("expected keys: up to 8 of 0-9, *, # and A-D")
    return text


def menu_name(text: str) -> str:
    """A name that a menu may have. Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError("expected a name of letters, digits, `-` and `_`")
    return text


_Sounds = Annotated[list[SoundText], BeforeValidator(one_or_more), Field(min_length=1), TEXTS]


class MenuModel(Section):
    """A menu."""

    say: _Sounds = Field(description="what callers hear: prompts by name, or WAV files")
    choices: dict[Annotated[str, AfterValidator(_keys)], ChoiceModel] = Field(
        default={}, description="by keys, what they stand for"
    )
    extensions: Flag = Field(default=False, description="numbers of phones may be dialled")
    timeout: Seconds = Field(default=5.0, description="seconds to wait for the first key")
    digit_timeout: Seconds = Field(default=2.0, description="seconds to wait for another key")
    tries: Annotated[Count, Field(le=100)] = Field(
        default=3, description="how often the menu is heard before `else`"
    )
    invalid: _Sounds | None = Field(
        default=None, description="what is heard after keys that stand for nothing"
    )
    otherwise: ActionModel | None = Field(
        default=None, alias="else", description="what to do after the last try; without: hang up"
    )


def read_menu(name: str, model: MenuModel, timeout: float, invalid: str) -> Menu:
    """As written. ``timeout`` (seconds) is for who dials and names none, ``invalid`` the file that
    is heard where none is named."""
    choices = {
        keys: Choice(None, one) if isinstance(one, str) else Choice(shaped(one, timeout))
        for keys, one in model.choices.items()
    }
    otherwise = None if model.otherwise is None else shaped(model.otherwise, timeout)
    return Menu(
        name,
        tuple(model.say),
        choices,
        model.extensions,
        model.timeout,
        model.digit_timeout,
        model.tries,
        tuple(model.invalid or ([invalid] if invalid else [])),
        otherwise,
        timeout,
    )


def check_menus(read: YamlFile, known: set[str]) -> None:
    """Note what concerns several keys of an action in a menu; see `check_action`."""
    for where, action in _actions(read):
        check_action(read, action, where, known)


def _actions(read: YamlFile) -> Iterator[tuple[Where, dict[str, object]]]:
    menus = read.value.get("menus") if isinstance(read.value, dict) else None
    for name, menu in menus.items() if isinstance(menus, dict) else ():
        if not isinstance(menu, dict):
            continue
        choices = menu.get("choices")
        for keys, action in choices.items() if isinstance(choices, dict) else ():
            if isinstance(action, dict):
                yield ("menus", name, "choices", keys), action
        otherwise = menu.get("else")
        if isinstance(otherwise, dict):
            yield ("menus", name, "else"), otherwise
