"""aiosip as a foreign client on a trunk: it places a call, and ends it.

It needs two names that Python has dropped (``collections.MutableMapping``, 3.10, and
``asyncio.coroutine``, 3.11), put back here for it alone. It has no transactions: the ACK is ours to
send. It cannot answer a challenge with ``qop``, so it comes in by the trunk's address.
"""

from __future__ import annotations

import asyncio
import collections
import collections.abc
import types
from typing import Any

import pytest
from running_switch import Interop

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)


@pytest.fixture
def aiosip(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(
        collections, "MutableMapping", collections.abc.MutableMapping, raising=False
    )
    monkeypatch.setattr(asyncio, "coroutine", types.coroutine, raising=False)
    try:
        import aiosip
    except ImportError as error:
        pytest.fail(f"aiosip is not there ({error}): pip install aiosip")
    return aiosip


async def until(phone: Any, kind: str, **facts: object) -> Any:
    return await asyncio.to_thread(phone.expect, kind, 10, **facts)


async def test_places_a_call_and_hangs_up(interop: Interop, aiosip: Any) -> None:
    ours = interop.phone("--answer")
    me = f"sip:carrier@127.0.0.1:{interop.proxy_port}"
    app = aiosip.Application(loop=asyncio.get_running_loop())
    host, port = interop.sip.split(":")
    dialog = await app.start_dialog(
        from_uri=me,
        to_uri=f"sip:1002@{interop.sip}",
        contact_uri=me,
        local_addr=("127.0.0.1", interop.proxy_port),
        remote_addr=(host, int(port)),
    )
    headers = {"Content-Type": "application/sdp", "Max-Forwards": "70"}
    answer = await asyncio.wait_for(dialog.invite(headers=headers, sdp=SDP), 10)
    assert answer.status_code == 200
    assert "m=audio" in str(answer.payload)
    common = {
        "From": answer.headers["From"],
        "To": answer.headers["To"],
        "Call-ID": answer.headers["Call-ID"],
        "Max-Forwards": "70",
    }
    number = answer.headers["CSeq"].split()[0]
    dialog.send_message("ACK", headers={**common, "CSeq": f"{number} ACK"})
    await until(ours, "answered")
    dialog.cseqs["BYE"] = int(number)  # it counts each method for itself, against §12.2.1.1
    bye = dialog.send_message("BYE", headers=dict(common))
    ended = await asyncio.wait_for(bye, 10)
    assert ended.status_code == 200
    await until(ours, "ended", by="remote", answered=True)
    (record,) = await asyncio.to_thread(interop.records, 1)
    assert (record["disposition"], record["hangup_by"]) == ("answered", "caller")
    for transport in app._transports.values():
        transport.close()
