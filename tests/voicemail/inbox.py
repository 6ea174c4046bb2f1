"""A mail server that keeps what comes."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from softswitch.config import SmtpModel

PLAIN = SmtpModel.model_validate({"host": "127.0.0.1", "from": "pbx@example.com"})


class Inbox:
    """A server that keeps what comes; `goodbye` is what it says to QUIT."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.encrypted: list[bool] = []
        self.users: list[bytes] = []
        self.refusal = ""
        self.goodbye = "221 Bye"
        self.controller: Controller | None = None

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refusal:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        transport = server.transport
        assert transport is not None
        self.encrypted.append(transport.get_extra_info("sslcontext") is not None)
        return "250 OK"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return self.goodbye

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append(data.login)
        return AuthResult(success=data.password == b"mail-secret", handled=False)

    def settings(self, **more: Any) -> SmtpModel:
        """How it is reached."""
        assert self.controller is not None
        return PLAIN.model_copy(update={"port": self.controller.port, **more})


def read(inbox: Inbox) -> EmailMessage:
    """The only mail."""
    (envelope,) = inbox.envelopes
    content = envelope.content
    assert isinstance(content, bytes)
    found = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


class AnyPort(Controller):
    """Listens at a free port."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


StartInbox = Callable[..., Inbox]


@contextmanager
def running() -> Iterator[StartInbox]:
    """Start such servers; they end with it."""
    inboxes: list[Inbox] = []

    def begin(port: int = 0, **options: Any) -> Inbox:
        inbox = Inbox()
        inbox.controller = AnyPort(
            inbox, "127.0.0.1", port, authenticator=inbox.authenticate, **options
        )
        inbox.controller.start()
        inboxes.append(inbox)
        return inbox

    yield begin
    for one in inboxes:
        assert one.controller is not None
        one.controller.stop()
