"""Follow-me by SIPp: the phone rings out, the second of the list answers; the record says so."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import yaml

from bench.process import Process
from bench.sipp import HOST, run_sipp, sipp_callee
from softswitch.lab.ports import free_port
from tests.load.test_records import wait_for_final

CALLS = 3


def test_the_second_of_the_list_answers(tmp_path: Path) -> None:
    address = f"{HOST}:{free_port()}"
    remote, desk, mobile = free_port(), free_port(), free_port()
    config = {
        "switch": {"name": "load", "listen": [f"udp:{address}"]},
        "extensions": {
            "1001": {
                "password": "a",
                "follow": [{"to": "21", "timeout": 1}, {"to": "22", "timeout": 10}],
            }
        },
        "trunks": {
            # One of our switches: it may hear that its calls are forwarded.
            "remote": {"to": f"sip:{HOST}:{remote}", "switch": True, "keepalive": 0},
            "desk": {"to": f"sip:{HOST}:{desk}", "keepalive": 0},
            "mobile": {"to": f"sip:{HOST}:{mobile}", "keepalive": 0},
        },
        "dialplan": "dialplan.yaml",
        "cds": {"listen": f"tcp:{HOST}:{free_port()}", "database": "load.db", "linger": 0.5},
    }
    routes = [
        {"match": "1001", "from": "any", "dial": "extension"},
        {"match": "21", "dial": "trunk:desk"},
        {"match": "22", "dial": "trunk:mobile"},
    ]
    (tmp_path / "load.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "dialplan.yaml").write_text(yaml.safe_dump({"routes": routes}))
    command = [sys.executable, "-m", "softswitch.cli", "run", "load.yaml"]
    switch = Process(command, tmp_path, "load")
    try:
        switch.wait_until(lambda: "softswitch load ready" in switch.output())
        once = ("-m", str(CALLS))
        with (
            sipp_callee("uas-cancelled", port=desk, args=once) as first,
            sipp_callee("uas-answered", port=mobile, args=once) as second,
        ):
            caller = run_sipp(
                "uac-answered",
                address,
                calls=CALLS,
                rate=20,
                hold_ms=200,
                number="1001",
                port=remote,
                timeout=30.0,
            )
            for callee in (first, second):
                callee.sipp.ended(15)
        for result in (caller, first.counted, second.counted):
            assert (result.successful, result.failed) == (CALLS, 0), result
        rows = wait_for_final(tmp_path / "load.db", CALLS)
    finally:
        code = switch.stop(10)
    assert code == 0, switch.output()
    assert [(row["disposition"], row["answered_party"]) for row in rows] == [
        ("answered", "trunk:mobile")
    ] * CALLS
    with closing(sqlite3.connect(tmp_path / "load.db")) as database:
        talks = database.execute("SELECT from_party, to_party, how, by FROM cdr_talks").fetchall()
    expected = ("trunk:remote", "trunk:mobile", "forward", "extension:1001")
    assert talks == [expected] * CALLS
