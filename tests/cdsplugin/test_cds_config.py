"""The section ``cds:``."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from cdsplugin.config import Address, CdsSection

DESIGN = """
listen: tcp:127.0.0.1:7400
peers: {branch: "tcp:127.0.0.1:7401"}
database: hq.db
alive_interval: 5
dead_after: 30
reregister_within: 300
linger: 30
api: {listen: "127.0.0.1:8080", tokens: ["hidden"]}
"""


def test_the_keys_of_the_design() -> None:
    cds = CdsSection.model_validate(yaml.safe_load(DESIGN))
    assert cds.listen == Address("127.0.0.1", 7400)
    assert cds.peers == {"branch": Address("127.0.0.1", 7401)}
    assert cds.database == Path("hq.db")
    assert cds.server is None
    assert cds.api.listen == Address("127.0.0.1", 8080)
    assert cds.api.tokens[0].get_secret_value() == "hidden"
    assert "hidden" not in repr(cds)
    assert "required" not in CdsSection.model_json_schema()


def test_addresses() -> None:
    cds = CdsSection.model_validate(
        {
            "database": "x",
            "listen": "tcp:[::1]:7400",
            "peers": {"b": "tcp:cds.example.com:7"},
            "secret_file": "secret",
        }
    )
    assert str(cds.listen) == "[::1]:7400"
    assert str(cds.peers["b"]) == "cds.example.com:7"
    assert CdsSection(database="x", listen="tcp:localhost:0").listen.loopback()
    again = CdsSection(database="x", listen=cds.listen, peers=cds.peers, secret_file="s")
    assert again.listen == cds.listen


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        ({"listen": "tcp:0.0.0.0:7400"}, "expected a loopback address"),
        ({"listen": "tcp:192.0.2.1:7400"}, "secured by `secret_file` or `tls`"),
        ({"listen": "tcp:example.com:7400"}, "expected a loopback address"),
        ({"listen": "udp:127.0.0.1:7400"}, "such as tcp:127.0.0.1:7400"),
        ({"listen": "tcp:127.0.0.1:99999"}, "such as tcp:127.0.0.1:7400"),
        ({"listen": 7400}, "such as tcp:127.0.0.1:7400"),
        ({"peers": {"b": "tcp:192.0.2.1:7400"}}, "`b` is on another machine"),
        ({"secret": "too short"}, "expected at least 16 characters"),
        ({"secret": "x" * 16, "secret_file": "f"}, "expected one of the two"),
        ({"tls": {"certificate": "c", "key": "k"}}, r"tls\.authority"),
        ({"peers": {"b ranch": "tcp:127.0.0.1:1"}}, "expected letters, digits"),
        ({"peers": {"branch": "127.0.0.1:1"}}, "such as tcp:"),
        ({"server": "hq", "peers": {"hq": "tcp:127.0.0.1:1"}}, "is this server itself"),
        ({"api": {"listen": "8080", "tokens": ["x"]}}, "such as 127.0.0.1:8080"),
        ({"api": {"listen": "127.0.0.1:8080", "tokens": []}}, "at least 1 item"),
        ({"api": {"listen": "127.0.0.1:8080", "tokens": [""]}}, "at least 1"),
        ({"dead_after": 5, "alive_interval": 5}, "must be longer than"),
        ({"linger": -1}, "greater than or equal to 0"),
        ({"synchronous": "off"}, "'normal' or 'full'"),
        ({"limits": {"call_entries": 0}}, "greater than or equal to 1"),
        ({"lingr": 3}, "Extra inputs"),
    ],
)
def test_mistakes(mistake: dict, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CdsSection.model_validate({"database": "hq.db", **mistake})
