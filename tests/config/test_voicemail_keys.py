"""`voicemail`, mailboxes of extensions, and what the dialplan plays of them: as written, and what
is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.config import ConfigErrors, Mailbox
from softswitch.configuration import Config, load_config
from softswitch.dialplan import MailboxPlay, VoicemailPlay
from softswitch.dialplan.actions.play import PlayTemplate


def read(
    folder: Path, voicemail: str = "{}", mailbox: str = "true", play: str = "mailbox"
) -> Config:
    (folder / "plan.yaml").write_text(f'routes:\n  - {{match: "*97", play: {play}}}\n')
    (folder / "hq.yaml").write_text(
        'switch: {name: hq, listen: ["udp:127.0.0.1:0"]}\n'
        f'extensions: {{"1001": {{password: a, mailbox: {mailbox}}}, "1002": {{password: b}}}}\n'
        f"voicemail: {voicemail}\n"
        "dialplan: plan.yaml\n"
    )
    return load_config(folder / "hq.yaml")


@pytest.mark.parametrize(
    ("mailbox", "meaning"),
    [
        ("true", Mailbox()),
        ("{}", Mailbox()),
        ('{pin: "0123"}', Mailbox("0123")),
        ("{mail: alice@example.com}", Mailbox("", "alice@example.com")),
        ('{pin: "123456789012", mail: a+b@x}', Mailbox("123456789012", "a+b@x")),
    ],
)
def test_mailboxes(tmp_path: Path, mailbox: str, meaning: Mailbox) -> None:
    config = read(tmp_path, mailbox=mailbox)
    assert config.extensions["1001"].mailbox == meaning
    assert config.extensions["1002"].mailbox is None


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    config = read(
        tmp_path, "{smtp: {host: mx, from: a@b, user: pbx, password: mail-secret}}", '{pin: "2468"}'
    )
    assert "2468" not in repr(config.extensions)
    assert "mail-secret" not in repr(config.voicemail)


def test_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path).voicemail
    assert settings.folder == tmp_path / "voicemail"
    assert (settings.seconds, settings.least, settings.silence) == (180, 1.5, 8)
    assert (settings.messages, settings.pin_tries, settings.smtp) == (100, 3, None)


def test_a_mail_server(tmp_path: Path) -> None:
    smtp = read(tmp_path, "{folder: /var/x, smtp: {host: mx, from: a@b.example}}").voicemail.smtp
    assert smtp is not None
    assert (smtp.host, smtp.port, smtp.security, smtp.user) == ("mx", 587, "starttls", "")
    assert (smtp.sender, smtp.attach, smtp.retry) == ("a@b.example", True, 60)


@pytest.mark.parametrize(
    ("play", "meaning"),
    [
        ("mailbox", MailboxPlay()),
        ('{mailbox: "1001"}', MailboxPlay("1001")),
        ("voicemail", VoicemailPlay()),
        ('{voicemail: {of: "1001"}}', VoicemailPlay("1001")),
    ],
)
def test_plays(tmp_path: Path, play: str, meaning: object) -> None:
    action = read(tmp_path, play=play).dialplan.routes[0].action
    assert isinstance(action, PlayTemplate)
    assert action.what == meaning


def test_a_greeting_of_the_route(tmp_path: Path) -> None:
    action = read(tmp_path, play="{voicemail: {greeting: welcome}}").dialplan.routes[0].action
    assert isinstance(action, PlayTemplate)
    assert isinstance(action.what, VoicemailPlay)
    assert [Path(path).name for path in action.what.greeting] == ["welcome.wav"]


@pytest.mark.parametrize(
    ("mailbox", "told"),
    [
        ("false", "found `false`: leave it out, or write `true`"),
        ('{pin: "99"}', "expected a PIN of 3 to 12 digits"),
        ('{pin: "1234567890123"}', "expected a PIN of 3 to 12 digits"),
        ('{pin: "12a4"}', "expected a PIN of 3 to 12 digits"),
        ('{pin: "١٢٣٤"}', "expected a PIN of 3 to 12 digits"),
        ("{mail: alice}", "found `alice`, expected an address such as alice@example.com"),
        ('{mail: "a@b, c@d"}', "expected an address"),
        ('{mail: "a@b\\r\\nBcc: c@d"}', "expected an address"),
        ("{mial: a@b}", "did you mean `mail`?"),
    ],
)
def test_mailboxes_that_may_not_be(tmp_path: Path, mailbox: str, told: str) -> None:
    with pytest.raises(ConfigErrors) as raised:
        read(tmp_path, mailbox=mailbox)
    said = str(raised.value)
    assert told in said, said
    assert "hq.yaml:2:" in said, said
    if "pin" in mailbox:
        said = said.replace(str(tmp_path), "")  # where digits may stand as well
        assert mailbox.split('"')[1] not in said, "it is a secret"


@pytest.mark.parametrize(
    ("voicemail", "told"),
    [
        ("{seconds: 0}", "seconds"),
        ("{least: -1}", "least"),
        ("{silence: 61}", "silence"),
        ("{messages: 0}", "messages"),
        ("{pin_tries: 0}", "pin_tries"),
        ("{fodler: x}", "did you mean `folder`?"),
        ("{smtp: {host: mx}}", "from"),
        ("{smtp: {from: a@b}}", "host"),
        ("{smtp: {host: mx, from: a@b, security: ssl}}", "security"),
        ("{smtp: {host: mx, from: a@b, retry: 0}}", "retry"),
        ("{smtp: {host: mx, from: a@b, port: 70000}}", "port"),
    ],
)
def test_settings_that_may_not_be(tmp_path: Path, voicemail: str, told: str) -> None:
    with pytest.raises(ConfigErrors) as raised:
        read(tmp_path, voicemail)
    said = str(raised.value)
    assert told in said, said
    assert "hq.yaml:3:" in said, said


@pytest.mark.parametrize(
    ("play", "told"),
    [
        ("mailbx", "did you mean `mailbox`?"),
        ('{mailbox: "1002"}', "found `1002`"),
        ('{voicemail: "1002"}', "found `1002`"),
        ("{voicemail: {greeting: wellcome}}", "did you mean `welcome`?"),
        ('{mailbox: {pin: "1"}}', "pin"),
    ],
)
def test_plays_that_may_not_be(tmp_path: Path, play: str, told: str) -> None:
    with pytest.raises(ConfigErrors) as raised:
        read(tmp_path, play=play)
    said = str(raised.value)
    assert told in said, said
    assert "plan.yaml:2:" in said, said
