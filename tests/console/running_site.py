"""A switch in a process of its own, with two trunks and a phone, and the commands that ask it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.switch_process import PATIENCE, PLAN, Peer, Running

CONFIG = """
switch: {{name: hq, site: Sunnyvale, listen: "udp:127.0.0.1:0"}}
extensions:
  "1001": {{password: secret}}
trunks:
  caller: {{to: "sip:127.0.0.1:{caller}", keepalive: 0}}
  callee: {{to: "sip:127.0.0.1:{callee}", keepalive: 0, max_calls: 7}}
  away: {{to: "sip:127.0.0.1:9", keepalive: 0.05}}
dialplan: plan.yaml
timers: {{t1: 0.01}}
"""


class Site:
    def __init__(self, folder: Path) -> None:
        self.caller, self.callee = Peer(), Peer()
        self.config = folder / "hq.yaml"
        text = CONFIG.format(caller=self.caller.port, callee=self.callee.port)
        self.config.write_text(text + self.more())
        (folder / "plan.yaml").write_text(PLAN)
        self.switch = Running(self.config)

    def more(self) -> str:
        """What else is in its configuration."""
        return ""

    def status(self, *options: str, config: bool = True) -> subprocess.CompletedProcess[str]:
        return self.command("status", *options, config=config)

    def command(self, *words: str, config: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "softswitch.cli", *words]
            + ([str(self.config)] if config else []),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd=self.config.parent,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    def told(self, *options: str) -> Any:
        done = self.status("--json", *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def close(self) -> None:
        if self.switch.process.poll() is None:
            self.switch.process.kill()
        self.switch.process.communicate()
        self.caller.socket.close()
        self.callee.socket.close()
