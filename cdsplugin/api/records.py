"""The archive: call detail records, read from the database in threads, so that a slow query holds
up no call.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from sqlite_utils import Database

from cdsplugin.api.access import Access, guard
from cdsplugin.api.live import ANSWERS, CallId, Limit, Only
from cdsplugin.api.models import CdrPage
from cdsplugin.api.served import Served
from cdsplugin.archive import ReadError, read_record, read_records, reading_records
from cdsplugin.config import ApiSection

log = logging.getLogger("cdsplugin.api")

When = Annotated[
    str | None,
    Query(
        pattern=r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?Z?)?$",
        description="a day or a time in UTC, as 2026-01-31 or 2026-01-31T08:00:00Z",
    ),
]


def make_router(server: Served, section: ApiSection, access: Access) -> APIRouter:
    """The routes below ``/cdrs``."""
    router = APIRouter(tags=["records"], dependencies=[Depends(guard(access, write=False))])

    @router.get("/cdrs", responses={k: ANSWERS[k] for k in (401, 429, 503)})
    def cdrs(
        limit: Limit = 100,
        before: Annotated[
            str | None, Query(description="a callID: the page begins with the record before it")
        ] = None,
        since: When = None,
        until: When = None,
        caller: Only = None,
        callee: Only = None,
        dialled: Only = None,
        disposition: Only = None,
        switch: Only = None,
        owner: Only = None,
        account: Only = None,
    ) -> CdrPage:
        """List call detail records, the newest first.

        `since` and `until` (not included) are about the start of the calls; `account` is the
        property of that name, the others are columns.
        """
        asked = {
            "caller": caller,
            "callee": callee,
            "dialled": dialled,
            "disposition": disposition,
            "switch": switch,
            "owner": owner,
            "account": account,
        }
        chosen = {name: value for name, value in asked.items() if value is not None}
        size = min(limit, section.page)
        with _database(server) as db:
            rows = read_records(db, size + 1, before, chosen, since, until)
        more = len(rows) > size
        rows = rows[:size]
        return CdrPage(cdrs=rows, next=rows[-1]["call_id"] if more else None)

    @router.get("/cdrs/{call_id}", responses=ANSWERS)
    def cdr(call_id: CallId) -> dict[str, Any]:
        """Read a record with its legs, properties and log lines."""
        with _database(server) as db:
            found = read_record(db, call_id)
        if found is None:
            raise HTTPException(404, "no record has this callID")
        return found

    return router


@contextlib.contextmanager
def _database(server: Served) -> Iterator[Database]:
    try:
        with reading_records(server.archive.path) as db:
            yield db
    except ReadError as error:
        log.error("%s", error)
        raise HTTPException(503, "the archive cannot be read at present") from error
