"""Voicemail as people have it: a switch with its workers, phones with audio, a lamp; all of them
processes, some of which are killed."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import struct
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from media.message_lamp import MessageLamp
from voicemail.inbox import StartInbox, read, running

import softswitch
from softswitch.lab.children import PhoneChild, SwitchChild
from softswitch.lab.ports import free_port

PIN = "246813579024"
CONFIG = """
switch: {{name: hq, listen: ["udp:127.0.0.1:{sip}"]}}
extensions:
  "1001": {{password: secret-1001, mailbox: true}}
  "1002": {{password: secret-1002}}
  "1003": {{password: secret-1003, mailbox: {{pin: "{pin}"}}}}
dialplan: plan.yaml
media: {{spare: 1, prompts: prompts}}
voicemail: {{silence: 1.5}}
log: {{level: debug}}
cds: {{database: hq.db, linger: 0.5}}
"""
PLAN = """
routes:
  - {match: "*97", play: mailbox}
  - {match: "*98", play: {mailbox: "1003"}}
  - {match: "1XXX", dial: extension, timeout: 1, else: {play: voicemail}}
"""
PATIENCE = 20.0


def shorter(folder: Path) -> None:
    """Each prompt in a moment: to be told of a message takes long enough to wait for."""
    folder.mkdir(parents=True)
    for prompt in (Path(softswitch.__file__).parent / "prompts" / "en").glob("*.wav"):
        with wave.open(str(folder / prompt.name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(2 * 400))


class Site:
    """The switch, and who uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.config = folder / "hq.yaml"
        self.config.write_text(CONFIG.format(sip=self.port, pin=PIN))
        (folder / "plan.yaml").write_text(PLAN)
        shorter(folder / "prompts" / "en")
        self.messages = folder / "voicemail"
        self.phones: list[PhoneChild] = []
        self.lamps: list[MessageLamp] = []
        self.said: list[str] = []
        self.start()

    def start(self) -> None:
        self.switch = SwitchChild("hq", self.config)
        self.switch.overheard = self.said.append
        self.switch.until_ready(PATIENCE)

    def phone(self, number: str, *options: str) -> PhoneChild:
        phone = PhoneChild(
            number,
            *("--registrar", f"127.0.0.1:{self.port}", "--user", number),
            *("--password", f"secret-{number}", *options),
        )
        self.phones.append(phone)
        phone.expect("registered", PATIENCE)
        return phone

    def lamp(self, number: str) -> MessageLamp:
        lamp = MessageLamp(self.port, number, f"secret-{number}")
        self.lamps.append(lamp)
        return lamp

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f"{what}: {self.switch.recently()}"
            time.sleep(0.005)

    def size(self, number: int) -> int:
        """Bytes of a message, or a greeting."""
        path = self.messages / f"{number}.wav"
        return path.stat().st_size if path.exists() else -1

    def records(self, number: int, seconds: float) -> float:
        """Wait until so much of it is on disk; since when it is recorded, as `time.monotonic`."""
        self.until(lambda: self.size(number) >= 0, f"recording of {number}")
        since = time.monotonic()
        self.until(lambda: self.size(number) >= 44 + 16000 * seconds, f"{seconds} s of {number}")
        return since

    def seconds(self, number: int) -> float:
        with wave.open(str(self.messages / f"{number}.wav")) as file:
            return file.getnframes() / file.getframerate()

    def greets(self, mailbox: str) -> list[tuple[int]]:
        """The number of its greeting."""
        with closing(sqlite3.connect(self.messages / "voicemail.db")) as database:
            return database.execute(
                "SELECT id FROM greetings WHERE mailbox = ?", (mailbox,)
            ).fetchall()

    def end(self) -> None:
        for lamp in self.lamps:
            lamp.close()
        for phone in self.phones:
            phone.stop()
        self.switch.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    one.end()


@pytest.fixture
def start() -> Iterator[StartInbox]:
    with running() as begin:
        yield begin


def call(phone: PhoneChild, number: str) -> None:
    phone.send(f"call {number}")
    phone.expect("answered", PATIENCE)


def speaks(site: Site, phone: PhoneChild, number: int, to: str = "1001") -> float:
    """Call, and be recorded as message of that number; since when."""
    call(phone, to)
    phone.send("dtmf #")
    return site.records(number, 2)


def hangs_up(phone: PhoneChild) -> None:
    phone.send("hangup")
    phone.expect("ended", PATIENCE)


def test_a_message_is_left_and_heard(site: Site) -> None:
    """Nobody answers, a tone is left, the lamp goes on; its owner hears it and deletes it."""
    owner, caller, lamp = site.phone("1001"), site.phone("1002", "--tone", "660"), site.lamp("1001")
    lamp.until(0, 0)
    caller.send("call 1001")
    owner.expect("incoming", PATIENCE)
    caller.expect("answered", PATIENCE)
    caller.send("dtmf #")
    site.records(1, 2)
    hangs_up(caller)
    lamp.until(1, 0)
    call(owner, "*97")
    owner.send("dtmf 1")
    owner.expect_tone(660, PATIENCE)
    lamp.until(0, 1)
    owner.send("dtmf 3")
    lamp.until(0, 0)
    site.until(lambda: site.size(1) < 0, "its file is gone")
    owner.send("dtmf #")
    owner.expect("ended", PATIENCE, by="remote")


def test_silence_ends_a_message(site: Site) -> None:
    """What is said does not, however long; and the silence is not kept."""
    caller, lamp = site.phone("1002", "--tone", "660"), site.lamp("1001")
    call(caller, "1001")
    caller.send("dtmf #")
    since = site.records(1, 4)
    caller.send("tone 0")
    quiet = time.monotonic()
    lamp.until(1, 0)
    caller.expect("ended", PATIENCE, by="remote")
    assert site.seconds(1) == pytest.approx(quiet - since, abs=0.7)


def test_a_quiet_voice_is_no_silence(site: Site, tmp_path: Path) -> None:
    """Of -36 dB: louder than what is silence."""
    path = tmp_path / "quiet.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples_of_sine(500, 8000 * 20))
    caller = site.phone("1002", "--play", str(path))
    call(caller, "1001")
    caller.send("dtmf #")
    assert site.records(1, 4)
    hangs_up(caller)


def samples_of_sine(amplitude: int, count: int) -> bytes:
    return struct.pack(
        f"<{count}h",
        *(round(amplitude * math.sin(i * math.tau * 400 / 8000)) for i in range(count)),
    )


def test_two_callers_at_once(site: Site) -> None:
    one, two = site.phone("1002", "--tone", "660"), site.phone("1003", "--tone", "880")
    lamp = site.lamp("1001")
    for phone, number in ((one, 1), (two, 2)):
        speaks(site, phone, number)
    hangs_up(one)
    hangs_up(two)
    lamp.until(2, 0)
    owner = site.phone("1001")
    call(owner, "*97")
    owner.send("dtmf 1")
    owner.expect_tone(660, PATIENCE)
    owner.send("dtmf 2")
    owner.expect_tone(880, PATIENCE)


def test_a_greeting(site: Site) -> None:
    """The next caller hears it."""
    owner = site.phone("1001", "--tone", "880")
    call(owner, "*97")
    owner.send("dtmf 01")
    site.records(1, 2)
    owner.send("dtmf #")
    site.until(lambda: site.greets("1001") == [(1,)], "it is kept")
    assert site.seconds(1) > 1.5
    hangs_up(owner)
    caller = site.phone("1002", "--tone", "660")
    call(caller, "1001")
    caller.expect_tone(880, PATIENCE)
    assert site.records(2, 1)
    hangs_up(caller)


def test_the_pin(site: Site) -> None:
    """It is asked, and stands nowhere."""
    caller = site.phone("1002", "--tone", "660")
    speaks(site, caller, 1, "1003")
    hangs_up(caller)
    call(caller, "*98")
    caller.send("dtmf 11#")
    caller.send(f"dtmf {PIN}#")
    caller.send("dtmf 1")
    caller.expect_tone(660, PATIENCE)
    caller.send("dtmf 3")
    site.until(lambda: site.size(1) < 0, "it is deleted")
    hangs_up(caller)
    site.switch.stop()
    written = [path for path in site.folder.iterdir() if path.is_file() and path != site.config]
    assert len(written) > 2
    assert [path for path in written if PIN.encode() in path.read_bytes()] == []
    assert [line for line in site.said if PIN in line] == []


def recorder(path: Path) -> int:
    """The process that writes it."""
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            open_files = [os.readlink(one) for one in (process / "fd").iterdir()]
        except OSError:
            continue
        if str(path) in open_files:
            return int(process.name)
    raise AssertionError(f"nobody writes {path}")


def test_the_worker_is_killed(site: Site) -> None:
    """What was said until a second before is kept."""
    lamp = site.lamp("1001")
    caller = site.phone("1002", "--tone", "660")
    since = speaks(site, caller, 1)
    os.kill(recorder(site.messages / "1.wav"), signal.SIGKILL)
    killed = time.monotonic()
    lamp.until(1, 0)
    caller.expect("ended", PATIENCE, by="remote")
    assert killed - since - 1 < site.seconds(1) < killed - since + 0.5
    owner = site.phone("1001")
    call(owner, "*97")
    owner.send("dtmf 1")
    owner.expect_tone(660, PATIENCE)


def test_the_switch_is_killed(site: Site) -> None:
    """Likewise, at its next start; the lamp goes on by itself."""
    lamp = site.lamp("1001")
    lamp.until(0, 0)
    caller = site.phone("1002", "--tone", "660")
    since = speaks(site, caller, 1)
    site.switch.signal(signal.SIGKILL)
    killed = time.monotonic()
    site.switch.stop()
    site.start()
    lamp.until(1, 0)
    assert killed - since - 1 < site.seconds(1) < killed - since + 0.5
    owner = site.phone("1001")
    call(owner, "*97")
    owner.send("dtmf 1")
    owner.expect_tone(660, PATIENCE)
    lamp.until(0, 1)


def test_by_mail(site: Site, start: StartInbox) -> None:
    """The server is down until after the switch was killed: the message goes there then, once."""
    port = free_port()
    smtp = f"{{host: 127.0.0.1, port: {port}, security: none, from: pbx@x.example, retry: 0.2}}"
    text = site.config.read_text()
    text = text.replace("mailbox: true", "mailbox: {mail: alice@x.example}")
    site.config.write_text(text.replace("voicemail: {", f"voicemail: {{smtp: {smtp}, "))
    site.switch.stop()
    site.start()
    lamp = site.lamp("1001")
    caller = site.phone("1002", "--tone", "660")
    speaks(site, caller, 1)
    hangs_up(caller)
    lamp.until(1, 0)
    site.until(lambda: any("could not be mailed" in one for one in site.said), "it is tried")
    site.switch.signal(signal.SIGKILL)
    site.switch.stop()
    inbox = start(port=port)
    site.start()
    site.until(lambda: len(inbox.envelopes) == 1, "a mail")
    assert inbox.envelopes[0].rcpt_tos == ["alice@x.example"]
    (sound,) = read(inbox).iter_attachments()
    assert sound.get_content() == (site.messages / "1.wav").read_bytes()
    # The next one comes after it, and it comes once.
    speaks(site, caller, 2)
    hangs_up(caller)
    site.until(lambda: len(inbox.envelopes) >= 2, "a second mail")
    assert b"message-2.wav" in bytes(inbox.envelopes[1].content or b"")
    assert len(inbox.envelopes) == 2


def test_a_mailbox_that_a_reload_adds(site: Site) -> None:
    """SIGHUP, and the next unanswered call may leave a message."""
    text = site.config.read_text().replace("secret-1002}", "secret-1002, mailbox: true}")
    site.config.write_text(text)
    site.switch.signal(signal.SIGHUP)
    site.until(lambda: any("taken up" in line for line in site.said), "configuration taken up")
    lamp = site.lamp("1002")
    caller = site.phone("1003", "--tone", "660")
    speaks(site, caller, 1, "1002")
    hangs_up(caller)
    lamp.until(1, 0)


def test_a_folder_that_may_not_be_written(site: Site, tmp_path: Path) -> None:
    """Callers are told that something is wrong, and the switch goes on; so do messages, once it
    may be written."""
    site.switch.stop()
    kept = site.messages.with_name("kept")
    site.messages.rename(kept)
    site.messages.write_text("no folder")
    site.start()
    caller = site.phone("1002", "--tone", "660")
    call(caller, "1001")
    caller.expect("ended", PATIENCE, by="remote")
    site.messages.unlink()
    kept.rename(site.messages)
    speaks(site, caller, 1)
    hangs_up(caller)
