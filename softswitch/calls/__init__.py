"""Calls: legs, searches, talks, transfers; journal and restore; refused calls."""

from softswitch.calls.call import Call
from softswitch.calls.caller_id import shown
from softswitch.calls.callid import CarriedCallID, make_call_id, read_call_id, take_up
from softswitch.calls.codes import BACK, COMPLETE, CONSULT, PAUSE, RECORD, TRANSFER, InCallCodes
from softswitch.calls.completing import (
    CALLEE_BUSY,
    CALLER_BUSY,
    REACHED,
    CompletingCall,
    Errand,
    in_use,
)
from softswitch.calls.core import (
    Applications,
    Bridged,
    Caller,
    CallSettings,
    Core,
    Features,
    KnownParties,
    LineCounts,
    Member,
    Opened,
    Passage,
    RecordedTalks,
    TappedTalks,
    TollLimits,
    TrunkStates,
)
from softswitch.calls.destination import Destination
from softswitch.calls.dialling import Dialling
from softswitch.calls.headers import (
    KNOWN_METHODS,
    METHODS,
    body_lines,
    contact_line,
    route_lines,
    unsupported,
)
from softswitch.calls.journal import CSEQ_AHEAD, Journal
from softswitch.calls.last_words import is_failure, is_goodbye
from softswitch.calls.leg import Leg, state_of
from softswitch.calls.numbers import LegNumbers
from softswitch.calls.paging import NOTHING_TO_HEAR, Paging, Wanted
from softswitch.calls.passing import PASSED, TO_CARRIERS
from softswitch.calls.records import FlowRecord, decode
from softswitch.calls.refusals import (
    DRAINING,
    LINE_FULL,
    LOOP,
    SUM_UP_EVERY,
    Refusals,
    reason_of_status,
    same_request,
)
from softswitch.calls.restoring import (
    RESTARTED,
    Flows,
    RestoredFlow,
    restore,
    restore_failure,
    restore_goodbye,
)
from softswitch.calls.row_kinds import RowKind
from softswitch.calls.search import FULL
from softswitch.calls.summons import BEING_TRANSFERRED, Waiting

__all__ = [
    "BACK",
    "BEING_TRANSFERRED",
    "CALLEE_BUSY",
    "CALLER_BUSY",
    "COMPLETE",
    "CONSULT",
    "CSEQ_AHEAD",
    "DRAINING",
    "FULL",
    "KNOWN_METHODS",
    "LINE_FULL",
    "LOOP",
    "METHODS",
    "NOTHING_TO_HEAR",
    "PASSED",
    "PAUSE",
    "REACHED",
    "RECORD",
    "RESTARTED",
    "SUM_UP_EVERY",
    "TO_CARRIERS",
    "TRANSFER",
    "Applications",
    "Bridged",
    "Call",
    "CallSettings",
    "Caller",
    "CarriedCallID",
    "CompletingCall",
    "Core",
    "Destination",
    "Dialling",
    "Errand",
    "Features",
    "FlowRecord",
    "Flows",
    "InCallCodes",
    "Journal",
    "KnownParties",
    "Leg",
    "LegNumbers",
    "LineCounts",
    "Member",
    "Opened",
    "Paging",
    "Passage",
    "RecordedTalks",
    "Refusals",
    "RestoredFlow",
    "RowKind",
    "TappedTalks",
    "TollLimits",
    "TrunkStates",
    "Waiting",
    "Wanted",
    "body_lines",
    "contact_line",
    "decode",
    "in_use",
    "is_failure",
    "is_goodbye",
    "make_call_id",
    "read_call_id",
    "reason_of_status",
    "restore",
    "restore_failure",
    "restore_goodbye",
    "route_lines",
    "same_request",
    "shown",
    "state_of",
    "take_up",
    "unsupported",
]
