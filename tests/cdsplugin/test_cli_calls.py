"""``cds calls``, ``watch``, ``note``, ``set`` and ``cdr`` against a server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from api_sites import Site, sites, until
from cds_calls import answered_call
from click.testing import CliRunner, Result

from cdsplugin.cli import main

COLUMNS = "200"


@pytest.fixture
async def hq(tmp_path: Path):
    async with sites(tmp_path, "hq") as (site,):
        yield site


async def cds(site: Site, *args: str, token: str = "write-secret") -> Result:
    env = {"CDS_URL": site.url, "CDS_TOKEN": token, "COLUMNS": COLUMNS}
    return await asyncio.to_thread(CliRunner().invoke, main, args, env=env)


async def test_a_call_on_the_command_line(hq: Site, tmp_path: Path) -> None:
    hq.feed(answered_call("c1")[:7])
    listed = await cds(hq, "calls")
    assert listed.exit_code == 0, listed.output
    assert "c1" in listed.output
    assert "2001" in listed.output
    assert json.loads((await cds(hq, "calls", "--json", "--caller", "x")).output) == []
    # A process of its own: the runner of the others takes this one's output.
    watching = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", "from cdsplugin.cli import main; main()", "watch", "c1"],
        env={**os.environ, "CDS_URL": hq.url, "CDS_TOKEN": "read-secret"},
        stdout=subprocess.PIPE,
        text=True,
    )
    await until(lambda: hq.server.store.get("c1").clients[1:])
    noted = await cds(hq, "note", "c1", "calls back tomorrow")
    assert noted.output.endswith(" hq/crm: calls back tomorrow\n"), noted.output
    told = await cds(hq, "set", "c1", "account=4711", "note=a=b")
    assert "hq/crm: account = 4711\n" in told.output
    assert "hq/crm: note = a=b\n" in told.output
    typed = await cds(hq, "set", "--typed", "c1", 'tags=["a", 1]', "vip=true")
    assert 'tags = ["a", 1]' in typed.output
    assert hq.server.store.get("c1").data.value("vip") is True
    shown = await cds(hq, "calls", "c1")
    assert "account = 4711" in shown.output
    assert "calls back tomorrow" in shown.output
    hq.feed(answered_call("c1")[7:])
    hq.server.store.end("c1")
    seen, _ = await asyncio.to_thread(watching.communicate, timeout=10)
    assert watching.returncode == 0
    assert "hq/crm: calls back tomorrow" in seen
    assert seen.endswith("end of call\n")
    await hq.recorded("c1")
    for args in (("cdr",), ("cdr", str(hq.server.archive.path))):
        rows = json.loads((await cds(hq, *args, "--json", "--since", "2027-01-01")).output)
        assert [row["call_id"] for row in rows] == ["c1"]
    one = await cds(hq, "cdr", "c1")
    assert "calls back tomorrow" in one.output


async def test_what_applications_write_does_not_reach_a_terminal_as_it_is(hq: Site) -> None:
    hq.feed(answered_call("c1")[:7])
    noted = await cds(hq, "note", "c1", "a\x1b[2Jb\nc")
    assert noted.output.endswith(" hq/crm: a?[2Jb c\n"), noted.output
    told = await cds(hq, "set", "c1", "x=\x1b[31m")
    assert told.output.endswith("x = ?[31m\n")
    shown = await cds(hq, "calls", "c1")
    assert shown.output.replace("\n", "").isprintable()
    assert "a?[2Jb c" in shown.output


async def test_clear_errors(hq: Site) -> None:
    for args, token, says in (
        (("calls",), "", "Error: no token: give --token, or set CDS_TOKEN"),
        (("calls",), "wrong", "Error: 401: a valid bearer token is needed"),
        (("note", "c1", "x"), "read-secret", "Error: 403: the token `wall` may only read"),
        (("note", "none", "x"), "write-secret", "Error: 404: no live call has this callID here"),
        (("watch", "none"), "write-secret", "Error: 404: no live call"),
        (("set", "c1", "x"), "write-secret", "expected NAME=VALUE"),
        (("cdr", "none"), "write-secret", "Error: 404: no record"),
        (("cdr", "none.db"), "write-secret", "Error: there is no database none.db"),
        (("calls", "--url", "http://127.0.0.1:1"), "x", "http://127.0.0.1:1 does not answer: "),
        (("calls", "--url", "nonsense"), "x", "Error: --url nonsense: expected http://HOST:PORT"),
    ):
        result = await cds(hq, *args, token=token)
        assert result.exit_code != 0
        assert says in result.output, result.output
        assert "Traceback" not in result.output
