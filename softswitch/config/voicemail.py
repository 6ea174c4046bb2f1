"""``voicemail:``, and the mailboxes of extensions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from softswitch.config.values import Count, Flag, Seconds, Section, Text

_PIN = re.compile(r"[0-9]{3,12}")
_MAIL = re.compile(r"[^@\s<>\"',;:]{1,64}@[A-Za-z0-9.-]{1,253}")


def _pin(text: str) -> str:
    if not _PIN.fullmatch(text):
        raise ValueError("expected a PIN of 3 to 12 digits")
    return text


def _mail(text: str) -> str:
    if not _MAIL.fullmatch(text):
        raise ValueError(f"found `{text}`, expected an address such as alice@example.com")
    return text


MailAddress = Annotated[Text, AfterValidator(_mail)]


class MailboxModel(Section):
    """``mailbox:`` of an extension; `true`: as it is."""

    pin: Annotated[Text, AfterValidator(_pin)] | None = Field(
        default=None, description="digits asked of who listens to it; without: its own phone may"
    )
    mail: MailAddress | None = Field(default=None, description="who gets its messages by mail")

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, value: Any) -> Any:
        if value is True:
            return {}
        if value is False:
            raise ValueError("found `false`: leave it out, or write `true`")
        return value


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Of an extension. ``pin`` and ``mail`` may be empty."""

    pin: str = field(default="", repr=False)
    mail: str = ""


class SmtpModel(Section):
    """``voicemail: smtp``, the server that takes mails."""

    host: Text = Field(description="its name or address")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=587, description="its port")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="how the connection is kept private"
    )
    user: Text = Field(default="", description="our user there; empty: none is asked for")
    password: Text = Field(default="", description="its password", repr=False)
    sender: MailAddress = Field(alias="from", description="the address that mails come from")
    attach: Flag = Field(default=True, description="whether the message goes along")
    retry: Seconds = Field(default=60.0, description="seconds until a mail is tried again")


class VoicemailModel(Section):
    """``voicemail:``, messages that callers leave."""

    folder: Path = Field(
        default=Path("voicemail"), description="where messages are kept, with their database"
    )
    seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        default=180.0, description="of a message, at most"
    )
    least: Annotated[float, Field(ge=0, le=60)] = Field(
        default=1.5, description="seconds of a message, at least: a shorter one is none"
    )
    silence: Annotated[float, Field(ge=0, le=60)] = Field(
        default=8.0, description="seconds of silence that end a message; 0: none do"
    )
    messages: Annotated[Count, Field(le=100_000)] = Field(
        default=100, description="messages of one mailbox, at most"
    )
    pin_tries: Annotated[Count, Field(le=20)] = Field(
        default=3, description="wrong PINs in one call, at most"
    )
    smtp: SmtpModel | None = Field(default=None, description="the server that takes mails")
