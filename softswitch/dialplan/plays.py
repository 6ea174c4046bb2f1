"""What the switch itself can play, and the settings of each: ``play:`` of a route or a menu.

Each has a struct, which is what its application works by (`softswitch.applications`), and a model,
which is how it is written. ``play: NAME`` takes the defaults of all settings; a setting that stands
for the whole may be written alone: ``play: {tone: 440}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from softswitch.config import (
    TEXTS,
    Count,
    Seconds,
    Section,
    Text,
    TimeZoneText,
    as_written,
    did_you_mean,
    one_or_more,
)
from softswitch.dialplan.pages import PageModel, PagePlay
from softswitch.dialplan.sounds import SoundText, sound_name
from softswitch.dialplan.streams import StreamModel, StreamPlay
from softswitch.dialplan.surroundings import surroundings


class Echo(msgspec.Struct, frozen=True):
    """Whoever calls hears itself."""

    NAME: ClassVar[str] = "echo"

    def told(self) -> str:
        """It in words."""
        return "echo"


class Tone(msgspec.Struct, frozen=True):
    """A tone of ``hz``, for so many seconds (0: until the caller hangs up)."""

    NAME: ClassVar[str] = "tone"

    hz: int = 1004
    seconds: float = 0.0

    def told(self) -> str:
        """It in words."""
        return f"tone of {self.hz} Hz" + (f", {self.seconds:g} s" if self.seconds else "")


class Announcement(msgspec.Struct, frozen=True):
    """Files (paths), one after the other, so many ``times``, with a ``pause`` of seconds between
    two."""

    NAME: ClassVar[str] = "announcement"

    say: tuple[str, ...]
    times: int = 1
    pause: float = 1.0

    def told(self) -> str:
        """It in words."""
        often = f", {self.times} times" if self.times > 1 else ""
        return f"announcement {', '.join(sound_name(path) for path in self.say)}{often}"


class MusicPlay(msgspec.Struct, frozen=True):
    """Files (paths), one after the other, again and again."""

    NAME: ClassVar[str] = "music"

    say: tuple[str, ...]

    def told(self) -> str:
        """It in words."""
        return f"music {', '.join(sound_name(path) for path in self.say)}"


class Menu(msgspec.Struct, frozen=True):
    """The menu of that name (``menus:``)."""

    NAME: ClassVar[str] = "menu"

    menu: str

    def told(self) -> str:
        """It in words."""
        return f"menu {self.menu}"


class ConferencePlay(msgspec.Struct, frozen=True):
    """The room of that name (``conferences:``). ``admitted``: the caller is let in, ``leads`` or
    not; before that it is asked who it is."""

    NAME: ClassVar[str] = "conference"

    room: str
    admitted: bool = False
    leads: bool = False

    def told(self) -> str:
        """It in words."""
        return f"conference {self.room}"


class Clock(msgspec.Struct, frozen=True):
    """The time of day and the date, in a time zone (empty: the switch's)."""

    NAME: ClassVar[str] = "time"

    zone: str = ""

    def told(self) -> str:
        """It in words."""
        return f"time in {self.zone}" if self.zone else "time"


class OwnNumber(msgspec.Struct, frozen=True):
    """The caller's number, digit by digit."""

    NAME: ClassVar[str] = "number"

    def told(self) -> str:
        """It in words."""
        return "the caller's number"


class VoicemailPlay(msgspec.Struct, frozen=True):
    """A message for the mailbox ``of`` an extension (empty: the one that was dialled) is recorded,
    after a ``greeting`` (paths; empty: the mailbox's own)."""

    NAME: ClassVar[str] = "voicemail"

    of: str = ""
    greeting: tuple[str, ...] = ()

    def told(self) -> str:
        """It in words."""
        return f"voicemail of {self.of}" if self.of else "voicemail of the number"


class MailboxPlay(msgspec.Struct, frozen=True):
    """Messages are listened to: those ``of`` an extension (empty: the one that calls)."""

    NAME: ClassVar[str] = "mailbox"

    of: str = ""

    def told(self) -> str:
        """It in words."""
        return f"mailbox of {self.of}" if self.of else "the caller's mailbox"


class QueuePlay(msgspec.Struct, frozen=True):
    """Waiting in the queue of that name (``queues:``) for an agent that has all of ``skills``."""

    NAME: ClassVar[str] = "queue"

    queue: str
    skills: tuple[str, ...] = ()

    def told(self) -> str:
        """It in words."""
        return f"queue {self.queue}" + (f" for {', '.join(self.skills)}" if self.skills else "")


Played: TypeAlias = (
    Echo
    | Tone
    | Announcement
    | MusicPlay
    | Menu
    | ConferencePlay
    | Clock
    | OwnNumber
    | VoicemailPlay
    | MailboxPlay
    | QueuePlay
    | StreamPlay
    | PagePlay
)


# How they are written


class EchoModel(Section):
    """``echo``."""

    def read(self) -> Echo:
        """As written."""
        return Echo()


class ToneModel(Section):
    """``tone``."""

    ALONE: ClassVar[str] = "hz"

    hz: int = Field(default=1004, ge=20, le=3800, description="its frequency")
    seconds: Seconds | None = Field(default=None, description="how long; without: until the end")

    def read(self) -> Tone:
        """As written."""
        return Tone(self.hz, self.seconds or 0.0)


class AnnouncementModel(Section):
    """``announcement``."""

    ALONE: ClassVar[str] = "say"

    say: Annotated[list[SoundText], BeforeValidator(one_or_more), Field(min_length=1), TEXTS] = (
        Field(description="prompts by name, or WAV files")
    )
    times: Annotated[Count, Field(le=1000)] = Field(default=1, description="how often")
    pause: Annotated[float, Field(ge=0, le=60)] = Field(
        default=1.0, description="seconds between two times"
    )

    def read(self) -> Announcement:
        """As written."""
        return Announcement(tuple(self.say), self.times, self.pause)


class MusicPlayModel(Section):
    """``music``."""

    ALONE: ClassVar[str] = "say"

    say: Annotated[list[SoundText], BeforeValidator(one_or_more), Field(min_length=1), TEXTS] = (
        Field(description="WAV files, or prompts by name")
    )

    def read(self) -> MusicPlay:
        """As written."""
        return MusicPlay(tuple(self.say))


class MusicModel(Section):
    """``music:`` of a dialplan, what is heard while nobody speaks."""

    hold: (
        Annotated[list[SoundText], BeforeValidator(one_or_more), Field(min_length=1), TEXTS] | None
    ) = Field(default=None, description="by who is on hold, parked, or waits for a transfer")
    ringing: (
        Annotated[list[SoundText], BeforeValidator(one_or_more), Field(min_length=1), TEXTS] | None
    ) = Field(default=None, description="by who goes on from a menu, while a phone rings")


def _menu(text: str, info: ValidationInfo) -> str:
    around = surroundings(info)
    known = around.menus if around is not None else None
    if known is not None and text not in known:
        hint = did_you_mean(text, sorted(known)) if known else ": there are no `menus`"
        raise ValueError(f"found `{text}`{hint}")
    return text


class MenuReference(Section):
    """``menu``."""

    ALONE: ClassVar[str] = "name"

    name: Annotated[Text, AfterValidator(_menu)] = Field(description="one of `menus`")

    def read(self) -> Menu:
        """As written."""
        return Menu(self.name)


def _room(text: str, info: ValidationInfo) -> str:
    around = surroundings(info)
    known = around.conferences if around is not None else None
    if known is not None and text not in known:
        hint = did_you_mean(text, sorted(known)) if known else ": there are no `conferences`"
        raise ValueError(f"found `{text}`{hint}")
    return text


class ConferenceReference(Section):
    """``conference``."""

    ALONE: ClassVar[str] = "room"

    room: Annotated[Text, AfterValidator(_room)] = Field(description="one of `conferences`")

    def read(self) -> ConferencePlay:
        """As written."""
        return ConferencePlay(self.room)


class ClockModel(Section):
    """``time``."""

    ALONE: ClassVar[str] = "zone"

    zone: TimeZoneText | None = Field(default=None, description="a time zone other than ours")

    def read(self) -> Clock:
        """As written."""
        return Clock(self.zone or "")


class OwnNumberModel(Section):
    """``number``."""

    def read(self) -> OwnNumber:
        """As written."""
        return OwnNumber()


def _mailbox(text: str, info: ValidationInfo) -> str:
    around = surroundings(info)
    known = around.mailboxes if around is not None else None
    if known is not None and text not in known:
        hint = did_you_mean(text, sorted(known)) if known else ": no extension has a `mailbox`"
        raise ValueError(f"found `{text}`{hint}")
    return text


class VoicemailPlayModel(Section):
    """``voicemail``."""

    ALONE: ClassVar[str] = "of"

    of: Annotated[Text, AfterValidator(_mailbox)] | None = Field(
        default=None, description="an extension with a mailbox; without: the number dialled"
    )
    greeting: (
        Annotated[list[SoundText], BeforeValidator(one_or_more), Field(min_length=1), TEXTS] | None
    ) = Field(default=None, description="what is heard before, whatever the mailbox has")

    def read(self) -> VoicemailPlay:
        """As written."""
        return VoicemailPlay(self.of or "", tuple(self.greeting or ()))


class MailboxPlayModel(Section):
    """``mailbox``."""

    ALONE: ClassVar[str] = "of"

    of: Annotated[Text, AfterValidator(_mailbox)] | None = Field(
        default=None, description="an extension with a mailbox; without: the one that calls"
    )

    def read(self) -> MailboxPlay:
        """As written."""
        return MailboxPlay(self.of or "")


def _queue(text: str, info: ValidationInfo) -> str:
    around = surroundings(info)
    known = around.queues if around is not None else None
    if known is not None and text not in known:
        hint = did_you_mean(text, sorted(known)) if known else ": there are no `queues`"
        raise ValueError(f"found `{text}`{hint}")
    return text


class QueueReference(Section):
    """``queue``."""

    ALONE: ClassVar[str] = "name"

    name: Annotated[Text, AfterValidator(_queue)] = Field(description="one of `queues`")
    skills: Annotated[list[Text], BeforeValidator(one_or_more), TEXTS] = Field(
        default=[], description="only agents that have all of these"
    )

    @model_validator(mode="after")
    def _known(self, info: ValidationInfo) -> QueueReference:
        around = surroundings(info)
        known = None if around is None or around.queues is None else around.queues.get(self.name)
        for skill in self.skills:
            if known is not None and skill not in known:
                hint = did_you_mean(skill, sorted(known)) if known else ": its agents have none"
                raise ValueError(f"found skill `{skill}`{hint}")
        return self

    def read(self) -> QueuePlay:
        """As written."""
        return QueuePlay(self.name, tuple(self.skills))


MODELS: Final[Mapping[str, type[Section]]] = {
    Announcement.NAME: AnnouncementModel,
    ConferencePlay.NAME: ConferenceReference,
    Echo.NAME: EchoModel,
    MailboxPlay.NAME: MailboxPlayModel,
    Menu.NAME: MenuReference,
    MusicPlay.NAME: MusicPlayModel,
    OwnNumber.NAME: OwnNumberModel,
    PagePlay.NAME: PageModel,
    QueuePlay.NAME: QueueReference,
    StreamPlay.NAME: StreamModel,
    Clock.NAME: ClockModel,
    Tone.NAME: ToneModel,
    VoicemailPlay.NAME: VoicemailPlayModel,
}
"""By the names that a dialplan has for them."""


def _not_one(value: dict[Any, Any]) -> str:
    """What is wrong where not one thing is named."""
    named = [name for name in value if name in MODELS]
    if not value:
        return "found nothing: what is to be played?"
    if len(named) == 1:
        more = ", ".join(f"`{key}`" for key in value if key not in MODELS)
        alone = getattr(MODELS[named[0]], "ALONE", None)
        first = f"{alone}: ..., " if alone else ""
        return (
            f"found {more} beside `{named[0]}`: settings stand within it: "
            f"{{{named[0]}: {{{first}SETTING: ...}}}}"
        )
    return "expected one thing to play"


class PlayModel(Section):
    """Exactly one of these."""

    announcement: AnnouncementModel | None = Field(
        default=None, description="prompts or files, one after the other"
    )
    conference: ConferenceReference | None = Field(
        default=None, description="a room with others, by its name"
    )
    echo: EchoModel | None = Field(default=None, description="callers hear themselves")
    mailbox: MailboxPlayModel | None = Field(default=None, description="listening to messages")
    menu: MenuReference | None = Field(default=None, description="a menu, by its name")
    music: MusicPlayModel | None = Field(default=None, description="files, again and again")
    number: OwnNumberModel | None = Field(default=None, description="the caller's number, read out")
    page: PageModel | None = Field(
        default=None, description="the caller is heard by many phones at once"
    )
    queue: QueueReference | None = Field(default=None, description="a queue, by its name")
    stream: StreamModel | None = Field(
        default=None, description="a program that hears and speaks, by its URL"
    )
    time: ClockModel | None = Field(default=None, description="time of day and date")
    tone: ToneModel | None = Field(default=None, description="a tone")
    voicemail: VoicemailPlayModel | None = Field(default=None, description="leaving a message")

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, value: Any) -> Any:
        """The long form of what was written in short."""
        value = as_written(value)
        if isinstance(value, str):
            if value not in MODELS:
                raise ValueError(f"found `{value}`{did_you_mean(value, sorted(MODELS))}")
            value = {value: {}}
        if not isinstance(value, dict):
            raise ValueError("expected the name of what to play, or {NAME: SETTINGS}")
        if len(value) != 1:
            raise ValueError(_not_one(value))
        ((name, given),) = value.items()
        if name not in MODELS:
            raise ValueError(f"found `{name}`{did_you_mean(str(name), sorted(MODELS))}")
        alone: str | None = getattr(MODELS[name], "ALONE", None)
        if not isinstance(given, dict):
            if given is None:
                given = {}
            elif alone is None:
                raise ValueError(f"`{name}` has no settings")
            else:
                given = {alone: given}
        return {name: given}

    def read(self) -> Played:
        """As written."""
        for name in MODELS:
            one = getattr(self, name)
            if one is not None:
                found: Played = one.read()
                return found
        raise AssertionError("nothing to play")
