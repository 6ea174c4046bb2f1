"""Messages by mail, to a real server."""

from __future__ import annotations

import email
import email.policy
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from applications.speaking_world import tone_file
from hypothesis import given
from hypothesis import strategies as st
from voicemail.inbox import PLAIN, StartInbox, read, running

from softswitch.voicemail import Message
from softswitch.voicemail.mail import mail_of, send
from tests.signed import Authority


def message(
    folder: Path, caller: str = "1003", name: str = "Carol", call_id: str = "c1"
) -> Message:
    path = folder / "7.wav"
    if not path.exists():
        tone_file(path, 2)
    return Message(7, "1001", True, caller, name, call_id, 1_700_000_000.0, 2.0, str(path))


@pytest.fixture
def start() -> Iterator[StartInbox]:
    with running() as begin:
        yield begin


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """That of a server, by an authority that this machine believes."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("127.0.0.1"))
    return context


def test_a_mail(start: StartInbox, tmp_path: Path) -> None:
    inbox = start()
    settings = inbox.settings(security="none")
    one = message(tmp_path)
    send(mail_of(one, "alice@example.com", settings), settings)
    mail = read(inbox)
    assert inbox.envelopes[0].mail_from == "pbx@example.com"
    assert inbox.envelopes[0].rcpt_tos == ["alice@example.com"]
    assert mail["subject"] == "Message from Carol (1003)"
    assert mail["to"] == "alice@example.com"
    body = mail.get_body()
    assert body is not None
    text = body.get_content()
    assert "Carol (1003) has left a message of 2 s for 1001 at 2023-11-1" in text
    assert "Call c1" in text
    (sound,) = mail.iter_attachments()
    assert (sound.get_content_type(), sound.get_filename()) == ("audio/wav", "message-7.wav")
    assert sound.get_content() == Path(one.path).read_bytes()
    assert inbox.encrypted == [False]


def test_without_the_sound(tmp_path: Path) -> None:
    mail = mail_of(
        message(tmp_path), "alice@example.com", PLAIN.model_copy(update={"attach": False})
    )
    assert list(mail.iter_attachments()) == []


def test_somebody_has_taken_its_file_away(tmp_path: Path) -> None:
    """It is told all the same."""
    one = msgspec.structs.replace(message(tmp_path), path=str(tmp_path / "nowhere.wav"))
    assert list(mail_of(one, "alice@example.com", PLAIN).iter_attachments()) == []


def test_it_is_the_same_mail_each_time(tmp_path: Path) -> None:
    one = message(tmp_path)
    first, second = (mail_of(one, "alice@example.com", PLAIN) for _ in range(2))
    assert first["message-id"] == second["message-id"]
    assert first["message-id"].endswith("@example.com>")


def test_starttls(start: StartInbox, certificate: ssl.SSLContext, tmp_path: Path) -> None:
    inbox = start(tls_context=certificate, require_starttls=True)
    settings = inbox.settings()
    send(mail_of(message(tmp_path), "alice@example.com", settings), settings)
    assert inbox.encrypted == [True]


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
def test_tls_with_login(start: StartInbox, certificate: ssl.SSLContext, tmp_path: Path) -> None:
    inbox = start(ssl_context=certificate, auth_required=True, auth_require_tls=False)
    settings = inbox.settings(security="tls", user="pbx", password="mail-secret")
    mail = mail_of(message(tmp_path), "alice@example.com", settings)
    send(mail, settings)
    assert inbox.users == [b"pbx"]
    assert len(inbox.envelopes) == 1
    with pytest.raises(OSError, match="uthentication"):
        send(mail, settings.model_copy(update={"password": "wrong"}))
    with pytest.raises(OSError, match=r"[Aa]uthentication required"):
        send(mail, settings.model_copy(update={"user": ""}))
    assert len(inbox.envelopes) == 1


def test_a_certificate_that_nobody_believes(
    start: StartInbox, certificate: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said to it: neither the password nor the mail."""
    monkeypatch.delenv("SSL_CERT_FILE")
    inbox = start(tls_context=certificate)
    settings = inbox.settings(user="pbx", password="mail-secret")
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        send(mail_of(message(tmp_path), "alice@example.com", settings), settings)
    assert inbox.users == []
    assert inbox.envelopes == []


def test_a_server_without_tls_gets_no_password(start: StartInbox, tmp_path: Path) -> None:
    inbox = start(auth_require_tls=False)
    settings = inbox.settings(user="pbx", password="mail-secret")
    with pytest.raises(OSError, match="STARTTLS"):
        send(mail_of(message(tmp_path), "alice@example.com", settings), settings)
    assert inbox.users == []


def test_refused(start: StartInbox, tmp_path: Path) -> None:
    inbox = start()
    inbox.refusal = "550 No such user"
    settings = inbox.settings(security="none")
    with pytest.raises(OSError, match="No such user"):
        send(mail_of(message(tmp_path), "alice@example.com", settings), settings)


def test_it_has_the_mail_whatever_it_says_then(start: StartInbox, tmp_path: Path) -> None:
    """It is not sent again for that."""
    inbox = start()
    inbox.goodbye = "451 Something Else"
    settings = inbox.settings(security="none")
    send(mail_of(message(tmp_path), "alice@example.com", settings), settings)
    assert len(inbox.envelopes) == 1


@given(st.text(max_size=60), st.text(max_size=30), st.text(max_size=30))
def test_names_are_no_headers(tmp_path_factory: Any, name: str, caller: str, call_id: str) -> None:
    """Whatever a caller is called: the mail has the headers that it has, and one recipient."""
    folder = tmp_path_factory.getbasetemp()
    one = message(folder, caller, f"x\r\nBcc: eve@example.com\r\n\r\n{name}\ud800", call_id)
    mail = mail_of(one, "alice@example.com", PLAIN)
    read = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert sorted(key.lower() for key in read.keys()) == [  # noqa: SIM118
        "content-type",
        "date",
        "from",
        "message-id",
        "mime-version",
        "subject",
        "to",
    ]
    assert read["to"] == "alice@example.com"
    # Long lines are folded.
    assert " ".join(read["subject"].split()).startswith("Message from x Bcc: eve@example.com")
