"""Verdicts as JUnit XML, as CI systems read it: one test case per call and expectation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from softswitch.phone.settings import PhoneError
from softswitch.phone.verdicts import Verdict

# What XML 1.0 has no way to write, not even escaped (its section 2.2).
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(suite: str, calls: Sequence[Sequence[Verdict]], at: float) -> bytes:
    """The document, UTF-8. ``calls`` are the verdicts of each call, ``at`` when the calls began
    (seconds since 1970, UTC)."""
    every = [verdict for verdicts in calls for verdict in verdicts]
    failures = sum(not verdict.met for verdict in every)
    counts = {"tests": str(len(every)), "failures": str(failures), "errors": "0"}
    root = ElementTree.Element("testsuites", counts)
    began = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    seconds = sum(max((v.seconds for v in verdicts), default=0.0) for verdicts in calls)
    table = ElementTree.SubElement(
        root,
        "testsuite",
        # Without its offset, as the schema that most readers go by has it.
        {"name": _text(suite), **counts, "skipped": "0", "time": f"{seconds:.3f}"}
        | {"timestamp": began.removesuffix("+00:00")},
    )
    for number, verdicts in enumerate(calls, 1):
        for verdict in verdicts:
            case = ElementTree.SubElement(
                table,
                "testcase",
                {
                    "classname": "softswitch.phone",
                    "name": _text(f"call {number}: {verdict.expected}"),
                    "time": f"{verdict.seconds:.3f}",
                },
            )
            if not verdict.met:
                said = _text(f"expected {verdict.expected}, found {verdict.found}")
                failure = {"message": said, "type": verdict.name}
                ElementTree.SubElement(case, "failure", failure).text = said
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def write_junit(file: Path, document: bytes) -> None:
    """Write it, whole. PhoneError if that cannot be done."""
    try:
        file.write_bytes(document)
    except OSError as error:
        raise PhoneError(f"cannot write {file}: {error.strerror or error}") from None


def _text(text: str) -> str:
    return _UNWRITABLE.sub("?", text)
