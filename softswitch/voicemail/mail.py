"""Messages by mail (RFC 5321): one that cannot be sent is tried again until it is."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from datetime import datetime
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Final

from softswitch.config import SmtpModel
from softswitch.voicemail.store import Message

PATIENCE: Final = 30.0
"""Seconds that the server may take for each step."""


def mail_of(message: Message, to: str, settings: SmtpModel) -> EmailMessage:
    """The mail that brings a message. It is the same mail however often it is made."""
    who = _line(message.caller) or "somebody without a number"
    if message.caller_name and message.caller_name != message.caller:
        who = f"{_line(message.caller_name)} ({who})"
    mail = EmailMessage()
    mail["Subject"] = f"Message from {who}"
    mail["From"] = settings.sender
    mail["To"] = to
    mail["Date"] = formatdate(message.at)
    # Should it be sent twice after all, mailboxes know it by this.
    domain = settings.sender.partition("@")[2]
    mail["Message-ID"] = f"<voicemail.{message.id}.{round(message.at * 1e6)}@{domain}>"
    at = datetime.fromtimestamp(message.at).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    mail.set_content(
        f"{who} has left a message of {message.seconds:.0f} s for {message.mailbox} at {at}.\n"
        f"\nCall {_line(message.call_id)}\n"
    )
    if settings.attach:
        # Somebody has taken its file away: it is told all the same, and holds up no other.
        with contextlib.suppress(FileNotFoundError):
            mail.add_attachment(
                Path(message.path).read_bytes(),
                maintype="audio",
                subtype="wav",
                filename=f"message-{message.id}.wav",
            )
    return mail


def send(mail: EmailMessage, settings: SmtpModel) -> None:
    """Give it to the server. Raises OSError (smtplib's errors are)."""
    context = ssl.create_default_context()
    if settings.security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            settings.host, settings.port, timeout=PATIENCE, context=context
        )
    else:
        server = smtplib.SMTP(settings.host, settings.port, timeout=PATIENCE)
    try:
        if settings.security == "starttls":
            server.starttls(context=context)
        if settings.user:
            server.login(settings.user, settings.password)
        server.send_message(mail)
        # It has the mail by now, however it takes our leave.
        with contextlib.suppress(OSError):
            server.quit()
    finally:
        server.close()


def _line(text: str) -> str:
    """Without what would begin another header, or is no text."""
    shown = "".join(one if one.isprintable() else " " for one in text)
    return " ".join(shown.split())
