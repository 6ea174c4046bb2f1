"""The lab's configurations: taken from ``dialplans``, moved to other ports, checked before use."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from softswitch.lab.children import LabError
from softswitch.lab.sites import check_ports, example_folder, prepare


def test_as_written_but_for_the_database(tmp_path: Path) -> None:
    folder = example_folder()
    hq, branch = prepare(folder, tmp_path, None)
    assert (hq.name, hq.sip, hq.api) == ("hq", "127.0.0.1:5060", "127.0.0.1:8080")
    assert (branch.name, branch.sip, branch.api) == ("branch", "127.0.0.1:5070", "127.0.0.1:8081")
    assert hq.phones["1001"].name == "Alice"
    assert branch.phones["2001"].name == "Bob"
    for name, site in (("hq", hq), ("branch", branch)):
        original = yaml.safe_load((folder / f"lab-{name}.yaml").read_text())
        written = yaml.safe_load(site.config.read_text())
        assert Path(written["dialplan"]).samefile(folder / original["dialplan"])
        assert Path(written["cds"]["database"]) == site.database == tmp_path / f"{name}.db"
        original["dialplan"], original["cds"]["database"] = (
            written["dialplan"],
            written["cds"]["database"],
        )
        assert written == original


def test_moved_ports_still_meet(tmp_path: Path) -> None:
    hq, branch = prepare(example_folder(), tmp_path, 21000)
    first, second = (yaml.safe_load(site.config.read_text()) for site in (hq, branch))
    assert hq.listens == (
        "udp:127.0.0.1:21000",
        "tcp:127.0.0.1:21000",
        "tcp:127.0.0.1:21001",
        "tcp:127.0.0.1:21002",
    )
    assert first["trunks"]["branch"]["to"] == f"sip:{branch.sip}"
    assert second["trunks"]["hq"]["to"] == f"sip:{hq.sip}"
    assert first["cds"]["peers"]["branch"] == second["cds"]["listen"] == "tcp:127.0.0.1:21004"
    assert second["cds"]["peers"]["hq"] == first["cds"]["listen"]
    assert first["trunks"]["pstn"]["to"] == "sip:127.0.0.1:5090"


def test_any_free_ports_are_free_and_distinct(tmp_path: Path) -> None:
    sites = prepare(example_folder(), tmp_path, 0)
    check_ports(sites)
    assert len({listen.rpartition(":")[2] for site in sites for listen in site.listens}) == 6


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_in_use_is_named(tmp_path: Path, kind: socket.SocketKind) -> None:
    sites = prepare(example_folder(), tmp_path, 0)
    port = int(sites[1].sip.rpartition(":")[2])
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", port))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        transport = "udp" if kind is socket.SOCK_DGRAM else "tcp"
        with pytest.raises(LabError, match=f"branch cannot listen on {transport} port {port} "):
            check_ports(sites)


def test_ports_beyond_the_last_one(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"65535"):
        prepare(example_folder(), tmp_path, 65533)


def test_a_folder_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"lab-hq\.yaml.*--config-dir"):
        example_folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [("switch: {name: hq", "expected"), ("switch: {name: hq}", "the lab needs"), ("", "the lab")],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "lab-hq.yaml").write_text(text)
    (tmp_path / "lab-branch.yaml").write_text(text)
    with pytest.raises(LabError, match=said) as caught:
        prepare(example_folder(tmp_path), tmp_path, None)
    assert "lab-hq.yaml" in str(caught.value)
