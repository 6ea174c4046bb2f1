"""Phones in a page: JsSIP in a headless Chromium, a tab each.

The page is served here, says here what happens, and asks here what to do next.
"""

from __future__ import annotations

import http.server
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from softswitch.lab.children import LabError

HERE = Path(__file__).parent / "browser"
BUNDLE = HERE / "phone.bundle.js"
PATIENCE = 20.0


def require() -> None:
    """A check that did not run is a failure, with what to do about it."""
    if shutil.which("chromium") is None:
        pytest.fail("chromium is not there: apt-get install --no-install-recommends chromium")
    if not BUNDLE.exists():
        pytest.fail(f"{BUNDLE} is not there: npm ci && npm run build, in {HERE}")


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, browser: Browser) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.browser = browser

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that was closed while it waited: nobody is there to be told."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _answer(self, body: bytes, kind: str = "text/plain", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/phone.html":
            self._answer((HERE / "phone.html").read_bytes(), "text/html")
        elif address.path == "/phone.bundle.js":
            self._answer(BUNDLE.read_bytes(), "text/javascript")
        elif address.path == "/next":
            phone = self.server.browser.phones[parse_qs(address.query)["phone"][0]]
            try:
                self._answer(phone.orders.get(timeout=2).encode())
            except queue.Empty:
                self._answer(b"", status=204)
        else:
            self._answer(b"", status=404)

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.browser.phones[told["phone"]].told(told)
        self._answer(b"")


class BrowserPhone:
    """One page. `events` are what it has said."""

    def __init__(self, number: str) -> None:
        self.number = number
        self.orders: queue.Queue[str] = queue.Queue()
        self.events: list[dict[str, Any]] = []
        self._seen = 0
        self._changed = threading.Condition()

    def told(self, event: dict[str, Any]) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def send(self, order: str) -> None:
        """`call NUMBER`, `answer`, `hangup`, `hold`, `unhold`, `message NUMBER`."""
        self.orders.put(order)

    def expect(
        self, kind: str, seconds: float = PATIENCE, keep: bool = False, **facts: Any
    ) -> dict[str, Any]:
        """The next event of that kind and with these facts; those before it are passed over,
        unless they are to be kept: what comes next may have come before it."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for index in range(self._seen, len(self.events)):
                    event = self.events[index]
                    if event["event"] == kind and facts.items() <= event.items():
                        if not keep:
                            self._seen = index + 1
                        return event
                left = deadline - time.monotonic()
                if left <= 0:
                    raise LabError(f"page {self.number}: no {kind} {facts}: {self.events}")
                self._changed.wait(left)


class Browser:
    """A Chromium with a tab for each phone."""

    def __init__(self, folder: Path) -> None:
        self.phones: dict[str, BrowserPhone] = {}
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def phone(
        self, number: str, password: str, socket: str, domain: str, answers: bool = False
    ) -> BrowserPhone:
        """Open a page; it registers."""
        phone = self.phones[number] = BrowserPhone(number)
        asked = {"number": number, "password": password, "socket": socket, "domain": domain}
        if answers:
            asked["answers"] = "1"
        port = self._server.server_address[1]
        profile = self._folder / f"chromium-{number}"
        command = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-features=WebRtcHideLocalIpsWithMdns",
            "--ignore-certificate-errors",
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            "--autoplay-policy=no-user-gesture-required",
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
            f"http://127.0.0.1:{port}/phone.html?{urlencode(asked)}",
        ]
        with (self._folder / f"chromium-{number}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "HOME": str(self._folder)},
                    start_new_session=True,
                )
            )
        return phone

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._server.shutdown()
        self._server.server_close()
