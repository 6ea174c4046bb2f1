"""Messages by mail (RFC 5321): one that cannot be sent is tried again until it is."""

from __future__ import annotations

import smtplib
import ssl
from datetime import datetime
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Final

from softswitch.config import SmtpModel
from softswitch.voicemail.store import Message

PATIENCE: Final = 30.0
"""Seconds that the server may take for each step."""


def mail_of(message: Message, to: str, settings: SmtpModel) -> EmailMessage:
    """The mail that brings a message."""
    who = message.caller or "somebody without a number"
    if message.caller_name and message.caller_name != message.caller:
        who = f"{message.caller_name} ({who})"
    mail = EmailMessage()
    mail["Subject"] = _line(f"Message from {who}")
    mail["From"] = settings.sender
    mail["To"] = to
    mail["Date"] = formatdate(message.at)
    mail["Message-ID"] = make_msgid(domain=settings.sender.partition("@")[2])
    at = datetime.fromtimestamp(message.at).strftime("%Y-%m-%d %H:%M")
    mail.set_content(
        f"{who} has left a message of {message.seconds:.0f} s for {message.mailbox} at {at}.\n"
        f"\nCall {message.call_id}\n"
    )
    if settings.attach:
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
    with server:
        if settings.security == "starttls":
            server.starttls(context=context)
        if settings.user:
            server.login(settings.user, settings.password)
        server.send_message(mail)


def _line(text: str) -> str:
    """Without what would begin another header."""
    return " ".join(text.split())
